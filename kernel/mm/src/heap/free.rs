//! What a free does when the quick way does not lead there.

use core::alloc::Layout;
use core::ptr::NonNull;

use super::diagnose::Wanted;
use super::slow::{Freed, SlotId};
use super::{Entered, Heap, HeapError, SizeClass};
use crate::allocator::HeapCall;
use crate::cpu::Cpu;
use crate::hardening::Hardening;
use crate::slab::arena::{Arena, ArenaId};
use crate::slab::debug::Site;
use crate::slab::descriptor::Slab;
use crate::slab::list::Meta;
use crate::slab::per_cpu::PerCpu;
use crate::slab::source::PageSource;

impl<S: PageSource, C: Cpu, const CPUS: usize> Heap<S, C, CPUS> {
    /// Frees the slot that starts at `address`, if it is of the right cache, where the quick way did not. Leaves the arena. Whether that was
    /// done: if not, nothing was.
    #[inline(always)]
    pub(super) fn free_by_map(&self, entered: Entered<'_, C>, address: usize, cache: Option<u16>) -> bool {
        match entered.own() {
            Some(_) => self.free_further(entered, address, cache),
            None => self.put_closed(entered, address, cache),
        }
    }

    /// [`free_by_map`](Self::free_by_map) where the CPU is in its arena: the slab is not remembered, belongs elsewhere then, or is another's.
    #[inline(always)]
    fn free_further(&self, entered: Entered<'_, C>, address: usize, cache: Option<u16>) -> bool {
        let own = entered.place.own();
        let arena = own.arena();
        // SAFETY: we are inside an arena.
        let slab = unsafe { self.registry.map.find(address) };
        let is_right = cache.is_none_or(|cache| slab.cache() == cache);
        let Some(slot) = slab.slot_at(address).filter(|_| is_right) else { return false };
        if slab.arena() != arena.id() {
            return self.put_remotely(entered.place, slab, slot).is_ok();
        }
        own.remember(address, slab);
        let freed = self.put_own(arena, slab, slot);
        drop(entered);
        match freed {
            Freed::Done => true,
            Freed::Surplus(emptied) => {
                self.close(emptied);
                true
            }
            _ => false,
        }
    }

    /// Frees a slot of a slab of this arena.
    #[inline(always)]
    fn put_own(&self, arena: &Arena, slab: Meta<Slab>, slot: usize) -> Freed {
        // The quick way may have counted this free already.
        if slab.until.get() >= 0 && slab.put(slot) {
            return Freed::Done;
        }
        // Still less where an interrupt handler was quicker than the code that it interrupted.
        let is_due = slab.until.get() == -1;
        if !slab.put_any(slot) {
            return Freed::Twice(SlotId::of(slab, slot));
        }
        arena.refile(slab, is_due).map_or(Freed::Done, Freed::Surplus)
    }

    /// Frees a slot of another arena than that of the CPU in this place. `Err`, and nothing changed, if it is free already, or in none.
    #[inline(always)]
    pub(super) fn put_remotely(&self, place: &PerCpu, slab: Meta<Slab>, slot: usize) -> Result<(), ()> {
        let owner = slab.arena();
        if !owner.is_there() {
            return Err(());
        }
        let to = slab.put_remotely(slot)?;
        self.hand_over(slab, to);
        // Of the shared arena they are nobody's.
        if owner != ArenaId::SHARED {
            place.remote_frees.increment();
        }
        Ok(())
    }

    /// Frees an object of a size class or of frames, where the quick way did not. All ways are called last, as in
    /// [`allocate_of`](Self::allocate_of); and what [`free_otherwise`](Self::free_otherwise) is to be told stays where it is: it comes first.
    #[cold]
    #[inline(never)]
    pub(super) fn free_slowly(
        &self,
        object: NonNull<u8>,
        layout: Layout,
        site: Site,
        entered: Option<Entered<'_, C>>,
    ) -> Result<(), HeapError> {
        let Some(entered) = entered else { return self.free_otherwise(object, layout, site) };
        match entered.own() {
            Some(_) => self.free_further_of(object, layout, site, entered),
            None => self.free_closed_of(object, layout, site, entered),
        }
    }

    /// [`free_further`](Self::free_further) for what has a layout.
    #[cold]
    #[inline(never)]
    fn free_further_of(
        &self,
        object: NonNull<u8>,
        layout: Layout,
        site: Site,
        entered: Entered<'_, C>,
    ) -> Result<(), HeapError> {
        let class = SizeClass::of_sized(layout.size(), layout.align());
        let free = |class: SizeClass| self.free_further(entered, object.as_ptr().addr(), Some(class.number()));
        if class.is_some_and(free) { Ok(()) } else { self.free_otherwise(object, layout, site) }
    }

    /// Frees an object of frames, or one that is in no slab of any arena.
    #[cold]
    #[inline(never)]
    pub(super) fn free_otherwise(&self, object: NonNull<u8>, layout: Layout, site: Site) -> Result<(), HeapError> {
        match SizeClass::of(layout) {
            None => self.free_large(object, layout),
            Some(class) => self.free_any(object, Some(Wanted::Layout(layout)), Some(class.number()), site),
        }
    }

    /// [`free_slowly`](Self::free_slowly) for an object whose layout was not said.
    #[cold]
    pub(super) fn free_unsized_slowly(
        &self,
        entered: Entered<'_, C>,
        object: NonNull<u8>,
        site: Site,
    ) -> Result<(), HeapError> {
        if self.free_by_map(entered, object.as_ptr().addr(), None) {
            return Ok(());
        }
        match self.object_layout(object) {
            Some(layout) => self.free_large(object, layout),
            None => self.free_any(object, None, None, site),
        }
    }

    /// Frees the slot that starts at `object`, if it is of the right cache, where one is said.
    pub(super) fn free_any(
        &self,
        object: NonNull<u8>,
        wanted: Option<Wanted>,
        cache: Option<u16>,
        site: Site,
    ) -> Result<(), HeapError> {
        let address = object.as_ptr().addr();
        let call = HeapCall::Free { address: self.number_of(object), cache };
        let done = |freed: &Freed| matches!(freed, Freed::Done).then_some(0);
        match self.recorded(call, done, || self.put_and_close(address, cache)) {
            Freed::Done => Ok(()),
            Freed::Twice(slot) => Err(self.double_free(slot)),
            Freed::Refused | Freed::Surplus(_) => {
                self.free_watched(object, wanted, site).unwrap_or_else(|| Err(self.diagnose(object, wanted)))
            }
        }
    }

    /// Frees a slot, and closes the slab that is too many then.
    pub(super) fn put_and_close(&self, address: usize, cache: Option<u16>) -> Freed {
        match self.in_arena(|arena| self.put_slowly(arena, address, cache)) {
            Freed::Surplus(slab) => {
                self.close(slab);
                Freed::Done
            }
            freed => freed,
        }
    }

    fn put_slowly(&self, arena: &Arena, address: usize, cache: Option<u16>) -> Freed {
        // SAFETY: we are inside an arena.
        let slab = unsafe { self.registry.map.find(address) };
        let is_right = cache.is_none_or(|cache| slab.cache() == cache) && slab.arena().is_there();
        let Some(slot) = slab.slot_at(address).filter(|_| is_right) else {
            return Freed::Refused;
        };
        if slab.arena() != arena.id() {
            if !slab.is_free(slot) {
                // SAFETY: the object is live, and by the contract of `free` nobody uses it.
                unsafe { self.init(slab.cache(), slab.slot(slot), slab.size(), Hardening::INIT_ON_FREE) };
            }
            let freed = self.put_remotely(self.per_cpu(arena.id().index()), slab, slot);
            return freed.map_or_else(|()| Freed::Twice(SlotId::of(slab, slot)), |()| Freed::Done);
        }
        let freed = self.put_own(arena, slab, slot);
        if matches!(freed, Freed::Done | Freed::Surplus(_)) {
            // SAFETY: the slot is free, and nobody is given it before this CPU leaves the arena.
            unsafe { self.init(slab.cache(), slab.slot(slot), slab.size(), Hardening::INIT_ON_FREE) };
        }
        freed
    }
}
