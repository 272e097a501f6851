//! The slabs of one object size that have a free slot.
//!
//! A full slab is on no list: nothing looks for it until an object in it is freed, and then the page map leads there.
//! Fresh slabs and slabs that stop being full go to the front, which allocation takes from. A slab that becomes empty
//! goes to the back, if no empty slab is there yet, and else back to the page allocator at once. So a cache keeps one
//! empty slab at most, uses it last, and does not return and fetch frames by turns when a program allocates and frees
//! around the edge of a slab.
//!
//! Taking and freeing a slot come in two parts. Mostly a slab stays where it is on the list; those cases are `take` and
//! `put`, small enough to be inlined, and without a call that would make them keep a stack frame. Where more is to do
//! they do nothing, and the caller, without the lock, turns to `take_any` or `put_any`, which know all cases.

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
        Self { owner: Owner::cache(number), partial: List::new(), slabs: 0, slots: 0, frames: 0 }
    }

    /// Takes a slot, unless that would fill a slab: `None`, and nothing changed, if it would, or if there is no slab with
    /// a free slot. [`take_any`](Self::take_any) then says which.
    #[inline]
    pub(crate) fn take(&mut self) -> Option<NonNull<u8>> {
        self.partial.front()?.take()
    }

    /// Takes a slot, and the slab off the list if that was its last. `None` if there is no slab with a free slot.
    pub(crate) fn take_any(&mut self) -> Option<NonNull<u8>> {
        let slab = self.partial.front()?;
        slab.take().or_else(|| {
            self.partial.remove(slab);
            slab.take_last()
        })
    }

    /// Frees a slot of a slab that this cache owns, unless the slab's place on the list would change with that, or the
    /// slot is free: `false`, and nothing changed. [`put_any`](Self::put_any) then says which.
    #[inline]
    pub(crate) fn put(&mut self, slab: Meta<Slab>, slot: u16) -> bool {
        debug_assert!(slab.owner() == self.owner);
        let stays = !slab.is_full() && (slab.used() > 1 || self.partial.back() == Some(slab));
        stays && slab.put(slot)
    }

    /// Frees a slot of a slab that this cache owns, and finds the slab its place.
    pub(crate) fn put_any(&mut self, slab: Meta<Slab>, slot: u16) -> Freed {
        let was_full = slab.is_full();
        if !slab.put(slot) {
            return Freed::Twice;
        }
        if was_full {
            self.partial.push_front(slab);
        }
        if slab.is_empty() && self.partial.back() != Some(slab) {
            return self.settle(slab);
        }
        Freed::Kept
    }

    /// Finds a place for a slab that has become empty and is not the last.
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
