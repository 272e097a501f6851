//! The slabs of one object size that have a free slot.
//!
//! A full slab is on no list: nothing looks for it until an object in it is freed, and then the page map leads there.
//! Fresh slabs and slabs that stop being full go to the front, which allocation takes from. A slab that becomes empty
//! goes to the back, if no empty slab is there yet, and else back to the page allocator at once. So a cache keeps one
//! empty slab at most, uses it last, and does not return and fetch frames by turns when a program allocates and frees
//! around the edge of a slab.

use core::ptr::NonNull;

use super::descriptor::{Owner, Slab};
use super::list::{List, Meta};

/// One cache's slabs. It is touched under its lock only.
pub(crate) struct Cache {
    owner: Owner,
    partial: List<Slab>,
    slabs: usize,
    slots: usize,
    frames: u64,
}

/// What became of a slot that was to be freed.
pub(crate) enum Freed {
    /// It is free.
    Kept,
    /// It is free, and with it the whole slab, which the cache has let go of.
    Emptied(Meta<Slab>),
    /// Nothing was changed: it was free already.
    Twice,
}

impl Cache {
    /// The cache with this number, without a slab.
    pub(crate) const fn new(number: usize) -> Self {
        Self {
            owner: Owner::cache(number),
            partial: List::new(),
            slabs: 0,
            slots: 0,
            frames: 0,
        }
    }

    /// Takes a slot. `None` if there is no slab with a free one.
    #[inline]
    pub(crate) fn take(&mut self) -> Option<NonNull<u8>> {
        let slab = self.partial.front()?;
        let object = slab.take();
        if slab.is_full() {
            self.retire(slab);
        }
        object
    }

    #[cold]
    fn retire(&mut self, slab: Meta<Slab>) {
        self.partial.remove(slab);
    }

    /// Frees a slot of a slab that this cache owns.
    #[inline]
    pub(crate) fn put(&mut self, slab: Meta<Slab>, slot: u16) -> Freed {
        debug_assert!(slab.owner() == self.owner);
        let was_full = slab.is_full();
        if !slab.put(slot) {
            return Freed::Twice;
        }
        if was_full {
            self.revive(slab);
        }
        if slab.is_empty() && self.partial.back() != Some(slab) {
            return self.settle(slab);
        }
        Freed::Kept
    }

    #[cold]
    fn revive(&mut self, slab: Meta<Slab>) {
        self.partial.push_front(slab);
    }

    /// Finds a place for a slab that has become empty.
    #[cold]
    fn settle(&mut self, slab: Meta<Slab>) -> Freed {
        if self.partial.back().is_some_and(|back| back.is_empty()) {
            self.let_go(slab);
            return Freed::Emptied(slab);
        }
        self.partial.remove(slab);
        self.partial.push_back(slab);
        Freed::Kept
    }

    /// Makes an open slab one of this cache's.
    pub(crate) fn adopt(&mut self, slab: Meta<Slab>) {
        slab.set_owner(self.owner);
        self.slabs += 1;
        self.slots += usize::from(slab.slots());
        self.frames += slab.order().frames();
        self.partial.push_front(slab);
    }

    fn let_go(&mut self, slab: Meta<Slab>) {
        self.partial.remove(slab);
        self.frames -= slab.order().frames();
        self.slots -= usize::from(slab.slots());
        self.slabs -= 1;
        slab.set_owner(Owner::TRANSIT);
    }

    /// Lets go of the empty slab that the cache keeps, if there is one.
    pub(crate) fn pop_empty(&mut self) -> Option<Meta<Slab>> {
        let slab = self.partial.back().filter(|back| back.is_empty())?;
        self.let_go(slab);
        Some(slab)
    }

    /// The number that the cache's slabs carry.
    pub(crate) fn owner(&self) -> Owner {
        self.owner
    }

    /// The slabs with a free slot.
    pub(crate) fn partial(&self) -> &List<Slab> {
        &self.partial
    }

    /// How many slabs the cache has.
    pub(crate) fn slabs(&self) -> usize {
        self.slabs
    }

    /// How many slots its slabs have, free or not.
    pub(crate) fn slots(&self) -> usize {
        self.slots
    }

    /// How many frames its slabs have.
    pub(crate) fn frames(&self) -> u64 {
        self.frames
    }
}
