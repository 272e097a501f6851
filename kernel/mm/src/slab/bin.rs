//! The slabs of one cache in one arena.
//!
//! Allocation takes slots from one slab at a time, the current one, word by word. When nothing is free in it, the fullest
//! of the others follows: so those that are emptier get the time to empty, and their frames go back. For that they are
//! kept on lists by the quarter of their slots that is free. A slab moves from list to list as slots are freed, and knows
//! after how many frees that will next be so; no other free has to think of it.
//!
//! A slab that is empty is kept, so that a program that allocates and frees around the edge of a slab does not fetch and
//! return frames by turns; one for each bin, and what is above that goes back.

use core::cell::Cell;
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicU64, Ordering};

use super::descriptor::Slab;
use super::list::{Linked, List, Meta};

/// Parts that the fill of a slab is told apart by.
const QUARTERS: usize = 4;
/// The list of slabs without a free slot.
const FULL: usize = QUARTERS;
/// The list of slabs without a live object.
const EMPTY: usize = QUARTERS + 1;
const LISTS: usize = QUARTERS + 2;

/// One cache's slabs in one arena. Only who has the arena to itself touches it.
pub(crate) struct Bin {
    /// The word of the current slab's bitmap that is laid open, or one that never has a free slot.
    word: Cell<*const AtomicU64>,
    /// The first slot of that word.
    first: Cell<*mut u8>,
    /// Bytes in a slot of the current slab.
    size: Cell<usize>,
    current: Cell<Option<Meta<Slab>>>,
    /// Of the slabs that are not current: by the quarter of the slots that is free, then the full ones, then the empty ones.
    lists: [List<Slab>; LISTS],
}

impl Bin {
    /// How many empty slabs a bin keeps.
    const KEPT: usize = 1;

    /// A bin without a slab.
    pub(crate) const fn new() -> Self {
        Self {
            word: Cell::new(Meta::no_word()),
            first: Cell::new(ptr::null_mut()),
            size: Cell::new(0),
            current: Cell::new(None),
            lists: [const { List::new() }; LISTS],
        }
    }

    /// Takes the lowest free slot of the word that is laid open. `None` if it has none: [`take_any`](Self::take_any) then
    /// lays open another.
    #[inline]
    pub(crate) fn take(&self) -> Option<NonNull<u8>> {
        // SAFETY: a word of a slab that this bin has (invariant *Ownership*), or the one that is always there.
        let word = unsafe { &*self.word.get() };
        let free = word.load(Ordering::Relaxed);
        if free == 0 {
            return None;
        }
        word.store(free & (free - 1), Ordering::Relaxed);
        let offset = free.trailing_zeros() as usize * self.size.get();
        // SAFETY: a set bit is a slot of an open slab (invariant *Block*), so the address lies in its block, which is not
        // at address zero.
        Some(unsafe { NonNull::new_unchecked(self.first.get().add(offset)) })
    }

    /// Takes a slot of the current slab, or else of the fullest of the others. `None` if no slab of the bin has any.
    pub(crate) fn take_any(&self) -> Option<NonNull<u8>> {
        self.take().or_else(|| {
            if !self.open_word() {
                self.set_aside();
                self.make_current(self.pop()?);
            }
            self.take()
        })
    }

    fn open_word(&self) -> bool {
        let word =
            self.current.get().and_then(|slab| slab.open_word().map(|(word, first)| (ptr::from_ref(word), first)));
        if let Some((word, first)) = word {
            self.word.set(word);
            self.first.set(first);
        }
        word.is_some()
    }

    /// Makes a slab that is on no list the current one, in place of none.
    fn make_current(&self, slab: Meta<Slab>) {
        debug_assert!(self.current.get().is_none());
        self.current.set(Some(slab));
        self.size.set(slab.size());
        // The current slab stays where it is whatever is freed in it.
        slab.look_after(u32::MAX);
        self.open_word();
    }

    /// Has no current slab any more: what was current goes to the list that it belongs on.
    pub(crate) fn set_aside(&self) {
        if let Some(slab) = self.current.take() {
            self.word.set(Meta::no_word());
            slab.close_word();
            self.file(slab);
        }
    }

    /// Takes the fullest slab with a free slot off its list.
    pub(crate) fn pop(&self) -> Option<Meta<Slab>> {
        let slab = [0, 1, 2, 3, EMPTY].iter().find_map(|&list| self.lists[list].front())?;
        self.lists[slab.list()].remove(slab);
        Some(slab)
    }

    /// Puts a slab that is on no list on the one where it belongs.
    pub(crate) fn file(&self, slab: Meta<Slab>) {
        let (free, slots) = (usize::from(slab.free()), usize::from(slab.slots()));
        let (list, frees) = match free {
            0 => (FULL, 1),
            // No free is to be expected in a slab where all slots are.
            _ if free == slots && !slab.is_announced() => (EMPTY, usize::MAX),
            _ => {
                let quarter = (free * QUARTERS / slots).min(QUARTERS - 1);
                // The least number of free slots that the next list is for.
                let next = if quarter == QUARTERS - 1 { slots } else { ((quarter + 1) * slots).div_ceil(QUARTERS) };
                (quarter, next.saturating_sub(free).max(1))
            }
        };
        slab.set_list(list);
        slab.look_after(u32::try_from(frees).unwrap_or(u32::MAX));
        // What was touched last is used next.
        self.lists[list].push_front(slab);
    }

    /// Looks where a slab of the bin belongs, now that slots of it are free.
    pub(crate) fn refile(&self, slab: Meta<Slab>) {
        if self.current.get() == Some(slab) {
            slab.look_after(u32::MAX);
        } else {
            self.lists[slab.list()].remove(slab);
            self.file(slab);
        }
    }

    /// Takes in a slab that nobody else has; it becomes the current one if none has a free slot.
    pub(crate) fn adopt(&self, slab: Meta<Slab>) {
        let is_exhausted = self.current.get().is_none_or(|current| current.free() == 0);
        if is_exhausted {
            self.set_aside();
            self.make_current(slab);
        } else {
            self.file(slab);
        }
    }

    /// Whether there are more empty slabs than the bin keeps.
    pub(crate) fn has_surplus(&self) -> bool {
        self.lists[EMPTY].iter().nth(Self::KEPT).is_some()
    }

    /// Takes out an empty slab, of those that are not current.
    pub(crate) fn pop_empty(&self) -> Option<Meta<Slab>> {
        let slab = self.lists[EMPTY].back()?;
        self.lists[EMPTY].remove(slab);
        Some(slab)
    }

    /// Takes out any slab that is not current.
    pub(crate) fn pop_any(&self) -> Option<Meta<Slab>> {
        let slab = self.lists.iter().find_map(List::front)?;
        self.lists[slab.list()].remove(slab);
        Some(slab)
    }

    /// Whether the bin has no slab.
    pub(crate) fn is_vacant(&self) -> bool {
        self.current.get().is_none() && self.lists.iter().all(|list| list.front().is_none())
    }

    /// The slab that slots are taken from.
    pub(crate) fn current(&self) -> Option<Meta<Slab>> {
        self.current.get()
    }

    /// The word that is laid open.
    pub(crate) fn word(&self) -> *const AtomicU64 {
        self.word.get()
    }

    /// All slabs of the bin, each once.
    pub(crate) fn slabs(&self) -> impl Iterator<Item = Meta<Slab>> {
        self.current.get().into_iter().chain(self.lists.iter().flat_map(List::iter))
    }

    /// Whether a slab is where it belongs.
    pub(crate) fn is_in_place(&self, slab: Meta<Slab>) -> bool {
        if self.current.get() == Some(slab) {
            return !slab.links().is_linked();
        }
        let (free, slots) = (usize::from(slab.free()), usize::from(slab.slots()));
        slab.links().is_linked()
            && match slab.list() {
                FULL => free == 0,
                EMPTY => free == slots,
                quarter => free > 0 && (free * QUARTERS / slots).min(QUARTERS - 1) == quarter,
            }
    }
}
