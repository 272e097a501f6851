//! Planted errors: each must be named exactly, with the right cache and slot, and change nothing.

use std::alloc::{GlobalAlloc, Layout};
use std::cell::Cell;
use std::ptr::{NonNull, without_provenance_mut};

use bifolio::heap::HeapError;

use super::{RECENT, Round, group};

thread_local! {
    pub(super) static HEARD: Cell<Option<HeapError>> = const { Cell::new(None) };
}

impl Round<'_> {
    /// Frees what is not to be freed, or not so.
    pub(super) fn free_badly(&mut self) {
        let any = self.layout();
        let recent = self.recent[self.random.below(RECENT as u64) as usize];
        let (address, layout) = match self.random.below(10) {
            // What was freed lately, by this CPU or another, with the same layout or not.
            0..3 => recent,
            3 => (recent.0, any),
            // A live object with another layout.
            4 => self.nth().map_or(recent, |index| (self.live[index].start(), any)),
            // Inside of a live object.
            5 | 6 => self.nth().map_or(recent, |index| {
                let object = self.live[index];
                let inside = self.random.below(object.layout.size() as u64) as usize;
                (object.start() + inside, object.layout)
            }),
            // What the heap keeps for itself.
            7 => {
                let own = self.blocks().own();
                (own.map_or(recent.0, |own| own + self.random.below(512) as usize * 8), any)
            }
            // Anywhere in memory, at a slot's start more often than not.
            8 => {
                let (start, bytes) = self.blocks().memory();
                let at = start + self.random.below(bytes as u64) as usize;
                (if self.random.per_mille(700) { at & !63 } else { at }, any)
            }
            // Somebody else's, near or far; the same address but for the bits above those of any map.
            _ => {
                let (start, bytes) = self.blocks().memory();
                let local = (&raw const any).addr();
                let far =
                    [8, 4096, local, start - 16, start + bytes, recent.0 | 1 << 63, recent.0 ^ 1 << 47, usize::MAX];
                (self.random.one_of(&far), any)
            }
        };
        let Some(address) = NonNull::new(without_provenance_mut(address)) else {
            return;
        };
        self.plant(address, layout);
    }

    fn plant(&mut self, address: NonNull<u8>, layout: Layout) {
        let Err(mut expected) = self.blocks().verdict(address.as_ptr().addr(), Some(layout)) else {
            return;
        };
        let is_tail =
            self.blocks().is_debugged(address.as_ptr().addr()) && matches!(expected, HeapError::Foreign { .. });
        self.tally.count(group::BAD_FREES, kind(&expected));
        let before = (self.blocks().frames(), self.blocks().count());
        // SAFETY: by the oracle's word no object that lives starts here with such a layout.
        let named = unsafe {
            match self.random.below(12) {
                10 => {
                    // Without a layout none can be wrong; what is live then must not be tried.
                    let Err(error) = self.blocks().verdict(address.as_ptr().addr(), None) else { return };
                    expected = error;
                    self.heap.free_unsized(address)
                }
                11 => {
                    let Err(error) = self.blocks().verdict(address.as_ptr().addr(), None) else { return };
                    expected = error;
                    self.heap.object_size(address).map(drop)
                }
                0 => self.heap.reallocate(address, layout, 1 + layout.size() / 2).map(drop),
                1 => {
                    self.heap.set_error_hook(|error| HEARD.set(Some(*error)));
                    self.heap.dealloc(address.as_ptr(), layout);
                    self.heap.set_error_hook(HeapError::panic);
                    HEARD.take().map_or(Ok(()), Err)
                }
                _ => self.heap.free(address, layout),
            }
        };
        if is_tail && named.is_err_and(|error| kind(&error) != "foreign") {
            // The oracle does not know how many slots there are that no object was seen in.
            return;
        }
        assert_eq!(named, Err(expected), "freeing {address:p} as {layout:?} on CPU {}", self.cpu);
        assert!(!self.heap.is_live(address, layout));
        assert_eq!((self.blocks().frames(), self.blocks().count()), before, "a bad free has moved pages");
    }
}

fn kind(error: &HeapError) -> &'static str {
    match error {
        HeapError::Foreign { .. } => "foreign",
        HeapError::Interior { .. } => "interior",
        HeapError::DoubleFree { .. } => "double",
        HeapError::WrongLayout { .. } => "wrong layout",
        HeapError::Overwritten { .. } => "overwritten",
        HeapError::Destroyed { .. } => "destroyed",
        HeapError::Leaked { .. } => "leaked",
        HeapError::Refused { .. } => "refused",
        _ => unreachable!("an error that the model does not know: {error}"),
    }
}
