//! What is wrong with a free.

use core::alloc::Layout;
use core::ptr::NonNull;

use super::{Heap, HeapError, Large, Sample, SizeClass};
use crate::cpu::Cpu;
use crate::frame::FRAME_SIZE;
use crate::slab::arena::ArenaId;
use crate::slab::debug::Records;
use crate::slab::descriptor::Slab;
use crate::slab::list::Meta;
use crate::slab::source::PageSource;

/// What somebody took an object for that he wanted to free.
#[derive(Clone, Copy)]
pub(super) enum Wanted {
    /// One that was allocated with this layout.
    Layout(Layout),
    /// One of the cache with this number, whose objects have this size.
    Cache(u16, usize),
}

impl Wanted {
    /// Its size, in bytes.
    pub(super) fn given(self) -> usize {
        match self {
            Self::Layout(layout) => layout.size(),
            Self::Cache(_, size) => size,
        }
    }

    /// The number of the cache that it is to be of, if that is known.
    pub(super) fn cache(self) -> Option<u16> {
        match self {
            Self::Layout(layout) => SizeClass::of(layout).map(SizeClass::number),
            Self::Cache(number, _) => Some(number),
        }
    }

    /// Whether it would be of the cache with this number, which is no large object's.
    pub(super) fn is_of(self, cache: u16) -> bool {
        self.cache() == Some(cache)
    }
}

impl<S: PageSource, C: Cpu, const CPUS: usize> Heap<S, C, CPUS> {
    /// What is wrong with freeing `object`, as what was said; looked at with the heap at a standstill.
    #[cold]
    pub(super) fn diagnose(&self, object: NonNull<u8>, wanted: Option<Wanted>) -> HeapError {
        let address = object.as_ptr().addr();
        if let Some(judged) = self.judge_sample(object, wanted) {
            let twice = |Sample { cache, .. }| HeapError::DoubleFree { address, cache, slot: 0 };
            return judged.map_or_else(|error| error, twice);
        }
        if let Some(judged) = self.judge_debugged(object, wanted) {
            return judged.map_or_else(|error| error, |(cache, slot)| HeapError::DoubleFree { address, cache, slot });
        }
        self.stopped(|all| {
            // SAFETY: the heap stands still.
            let Some((slab, cache)) = (unsafe { self.slab_around(&all.records, address) }) else {
                return HeapError::Foreign { address };
            };
            let (offset, actual) = (address - slab.base().addr(), slab.object_size());
            let slot = offset / actual;
            // A run is one object, and has no slots.
            if slot >= usize::from(slab.slots().max(1)) {
                return HeapError::Foreign { address };
            }
            let (slot, offset) = (slot as u16, offset % actual);
            if offset != 0 {
                return HeapError::Interior { address, cache, slot, offset };
            }
            let is_live = slab.is_run() || !slab.is_free(slot.into());
            let is_wanted = |wanted: Wanted| match wanted {
                Wanted::Layout(layout) if slab.is_run() => Self::usable_size(layout) == Some(actual),
                _ => wanted.is_of(slab.cache()),
            };
            let is_destroyed = all.records.get(slab.cache()).is_some_and(|record| record.is_destroyed);
            match wanted {
                _ if is_live && is_destroyed => HeapError::Destroyed { address, cache, slot },
                Some(wanted) if is_live && !is_wanted(wanted) => {
                    HeapError::WrongLayout { address, cache, slot, given: wanted.given(), actual }
                }
                // It is free, or was when it was to be freed, and has been allocated again since.
                _ => HeapError::DoubleFree { address, cache, slot },
            }
        })
    }

    /// The slab or large object that `address` lies in, and its cache's name.
    ///
    /// Of a large object only the first frame leads to its descriptor, and it may be of any length.
    ///
    /// # Safety
    /// The heap stands still, for as long as the slab is used.
    pub(super) unsafe fn slab_around(&self, records: &Records, address: usize) -> Option<(Meta<Slab>, &'static str)> {
        // SAFETY: the heap stands still.
        let last = |address: usize| unsafe { self.registry.map.last_until(address) };
        let slab = match last(address)? {
            // A run that begins in this frame behind the address: what is before it may reach into the frame.
            behind if behind.base().addr() > address => last((address & !(FRAME_SIZE as usize - 1)).checked_sub(1)?)?,
            slab => slab,
        };
        let is_inside = slab.arena() != ArenaId::TRANSIT && address.wrapping_sub(slab.base().addr()) < slab.bytes();
        Some((slab, name(records, slab.cache()).filter(|_| is_inside)?))
    }
}

/// The name of the cache with this number; `None` if there is none.
pub(super) fn name(records: &Records, cache: u16) -> Option<&'static str> {
    if cache == Slab::LARGE {
        return Some(Large::NAME);
    }
    let class = SizeClass::all().nth(cache.into()).map(|class| class.geometry().name);
    class.or_else(|| records.iter().find(|record| record.number == cache).map(|record| record.name))
}
