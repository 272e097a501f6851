//! A heap where half-empty slabs of many classes would be most of the memory: each object is as long as it was asked for, and lies in
//! the shortest run of free memory that holds it in a few pages that have room.
//!
//! Two bits for each 8 bytes say where objects are (`grains.rs`), so a bad free is told from a good one as exactly as by slabs. An
//! operation takes a lock; a request looks at a number for each page, and at the bits of some pages that have room for it.

use core::alloc::Layout;
use core::marker::PhantomData;
use core::ops::Range;
use core::ptr::NonNull;

use super::grains::{GRAIN, Grains, Word};
use super::{HeapError, Objects};
use crate::cpu::Cpu;
use crate::error::Violation;
use crate::sync::Mutex;

/// A heap without slabs: what [`Heap::in_region`](super::Heap::in_region) makes of a region of less than 4 MiB.
///
/// It names every bad free, as a [`Heap`](super::Heap) does, in whose errors its objects are slot 0 of `small-heap`. It has no caches,
/// no debugging, no hardening, no samples, and nothing of it is recorded: those are a [`Heap`](super::Heap)'s.
pub struct SmallHeap<'r, C> {
    grains: Mutex<Grains<'r>, C>,
    /// The first grain.
    start: NonNull<u8>,
    hook: Mutex<fn(&HeapError), C>,
    region: PhantomData<&'r mut [u8]>,
}

// SAFETY: the pointer is to memory of no particular thread. What threads share is behind locks of CPUs that can be shared.
unsafe impl<C: Sync> Sync for SmallHeap<'_, C> {}
// SAFETY: likewise.
unsafe impl<C: Send> Send for SmallHeap<'_, C> {}

/// What a small heap holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct SmallStats {
    /// Live objects.
    pub objects: usize,
    /// Bytes of all live objects, each a multiple of 8.
    pub used: usize,
    /// Bytes that nobody uses.
    pub free: usize,
}

impl<'r, C: Cpu> SmallHeap<'r, C> {
    const NAME: &'static str = "small-heap";

    /// Bytes that so many need for bits and bounds: no fewer than for the grains that there will be.
    pub(super) const fn metadata(bytes: usize) -> usize {
        let bounds = Grains::bounds_for(bytes / GRAIN) * size_of::<u16>();
        Grains::words_for(bytes / GRAIN) * size_of::<Word>() + bounds.next_multiple_of(size_of::<Word>())
    }

    /// A heap of so many bytes from here on, all free but for bits and bounds.
    ///
    /// # Safety
    /// The memory is ours for `'r`, aligned to a [`Word`], and has room for bits and bounds.
    pub(super) unsafe fn new(start: NonNull<u8>, bytes: usize) -> Self {
        let metadata = Self::metadata(bytes);
        let count = (bytes - metadata) / GRAIN;
        let (words, bounds) = (Grains::words_for(count), Grains::bounds_for(count));
        // SAFETY: the bits lie at the start of the memory, which is aligned, and ours; it holds bytes, of which any sixteen are a
        // word, and any two a bound. The bounds lie behind them, and the grains behind both.
        let (words, bounds, first) = unsafe {
            let words = core::slice::from_raw_parts_mut::<'r, Word>(start.cast().as_ptr(), words);
            let behind = start.add(size_of_val(words));
            let bounds = core::slice::from_raw_parts_mut::<'r, u16>(behind.cast().as_ptr(), bounds);
            (words, bounds, start.add(metadata))
        };
        let grains = Grains::new(words, bounds, count, first.as_ptr().addr());
        let hook = Mutex::new("heap: error hook", HeapError::panic as fn(&HeapError));
        Self { grains: Mutex::new("heap: small region", grains), start: first, hook, region: PhantomData }
    }

    /// Chooses what becomes of errors that no caller can be told of: as [`Heap::set_error_hook`](super::Heap::set_error_hook).
    pub fn set_error_hook(&self, hook: fn(&HeapError)) {
        self.hook.with(|current| *current = hook);
    }

    /// How much it holds.
    pub fn stats(&self) -> SmallStats {
        self.grains.with(|grains| {
            let (objects, used) = grains.used();
            SmallStats { objects, used: used * GRAIN, free: (grains.count() - used) * GRAIN }
        })
    }

    /// Checks the invariants of the bits, with the lock held.
    ///
    /// # Errors
    /// The first [`Violation`].
    pub fn validate(&self) -> Result<(), Violation> {
        let checked = self.grains.with(|grains| grains.check());
        let start = self.start.as_ptr().addr();
        checked.map_err(|(grain, rule)| Violation { rule, address: (start + grain * GRAIN) as u64 })
    }

    /// Grains for so many bytes: one at least.
    fn grains_for(bytes: usize) -> usize {
        bytes.div_ceil(GRAIN).max(1)
    }

    /// The grains of the live object that starts at an address, and has this layout, if that is known.
    fn live(&self, grains: &Grains<'_>, address: usize, layout: Option<Layout>) -> Result<Range<usize>, HeapError> {
        let (cache, slot, start) = (Self::NAME, 0, self.start.as_ptr().addr());
        let distance = address.checked_sub(start).filter(|distance| distance / GRAIN < grains.count());
        let distance = distance.ok_or(HeapError::Foreign { address })?;
        let Some(object) = grains.around(distance / GRAIN) else {
            let is_free = distance % GRAIN == 0;
            return Err(if is_free {
                HeapError::DoubleFree { address, cache, slot }
            } else {
                HeapError::Foreign { address }
            });
        };
        let (offset, actual) = (distance - object.start * GRAIN, object.len() * GRAIN);
        match layout {
            _ if offset != 0 => Err(HeapError::Interior { address, cache, slot, offset }),
            Some(layout) if Self::grains_for(layout.size()) != object.len() => {
                Err(HeapError::WrongLayout { address, cache, slot, given: layout.size(), actual })
            }
            _ => Ok(object),
        }
    }

    /// Makes the live object that starts here one of layout `wanted` where it is. `Some`, and nothing changed, if there it cannot be
    /// one: how many bytes it has.
    fn resize(&self, object: NonNull<u8>, layout: Option<Layout>, wanted: Layout) -> Result<Option<usize>, HeapError> {
        let address = object.as_ptr().addr();
        self.grains.with(|grains| {
            let range = self.live(grains, address, layout)?;
            let fits = address % wanted.align() == 0 && grains.resize(range.clone(), Self::grains_for(wanted.size()));
            Ok((!fits).then_some(range.len() * GRAIN))
        })
    }
}

// SAFETY: the bits give each grain to one object at a time, as many in a row as its layout needs, from one on that is as aligned; the
// region is borrowed for as long as the heap can be asked.
unsafe impl<C: Cpu> Objects for &SmallHeap<'_, C> {
    fn allocate(self, layout: Layout) -> Option<NonNull<u8>> {
        let (count, align) = (SmallHeap::<C>::grains_for(layout.size()), layout.align().div_ceil(GRAIN));
        let first = self.grains.with(|grains| grains.take(count, align))?;
        // SAFETY: there are no other grains than those from `start` on.
        Some(unsafe { self.start.add(first * GRAIN) })
    }

    unsafe fn free(self, object: NonNull<u8>, layout: Option<Layout>) -> Result<(), HeapError> {
        self.grains.with(|grains| {
            let range = self.live(grains, object.as_ptr().addr(), layout)?;
            grains.give(range);
            Ok(())
        })
    }

    unsafe fn reallocate(
        self,
        object: NonNull<u8>,
        layout: Option<Layout>,
        wanted: Layout,
    ) -> Result<Option<NonNull<u8>>, HeapError> {
        let Some(held) = self.resize(object, layout, wanted)? else {
            return Ok(Some(object));
        };
        let Some(moved) = self.allocate(wanted) else {
            return Ok(None);
        };
        // SAFETY: both are live objects, and different ones, of at least as many bytes as are copied. By the contract of
        // `Objects::reallocate` nobody uses the old one any more.
        unsafe {
            moved.copy_from_nonoverlapping(object, held.min(wanted.size()));
            self.free(object, layout)?;
        }
        Ok(Some(moved))
    }

    fn object_size(self, object: NonNull<u8>) -> Result<usize, HeapError> {
        self.grains.with(|grains| Ok(self.live(grains, object.as_ptr().addr(), None)?.len() * GRAIN))
    }

    fn report(self, error: &HeapError) {
        let hook = self.hook.with(|hook| *hook);
        hook(error);
    }
}
