//! What is wrong with a free.

use core::alloc::Layout;
use core::ptr::NonNull;

use super::{Heap, HeapError, Large, SizeClass};
use crate::allocator::Cpu;
use crate::slab::descriptor::{Owner, Slab};
use crate::slab::list::Meta;
use crate::slab::source::PageSource;

impl<S: PageSource, C: Cpu, const CPUS: usize> Heap<S, C, CPUS> {
    /// What is wrong with freeing `object`, as a `layout` if that was said; looked at with the heap at a standstill.
    #[cold]
    pub(super) fn diagnose(&self, object: NonNull<u8>, layout: Option<Layout>) -> HeapError {
        let address = object.as_ptr().addr();
        if let Some(judged) = self.judge_debugged(object, layout) {
            return judged.map_or_else(|error| error, |(cache, slot)| HeapError::DoubleFree { address, cache, slot });
        }
        self.stopped(|_| {
            // SAFETY: the heap stands still.
            let Some((slab, cache)) = (unsafe { self.slab_around(address) }) else {
                return HeapError::Foreign { address };
            };
            let offset = address - slab.base().addr();
            let actual = slab.object_size();
            let slot = offset / actual;
            // A run is one object, and has no slots.
            if slot >= usize::from(slab.slots().max(1)) {
                return HeapError::Foreign { address };
            }
            let (slot, offset) = (slot as u16, offset % actual);
            if offset != 0 {
                return HeapError::Interior { address, cache, slot, offset };
            }
            let is_live = slab.is_run() || !self.is_free(slab, slot);
            match layout {
                Some(layout) if is_live && Self::usable_size(layout) != Some(actual) => {
                    HeapError::WrongLayout { address, cache, slot, given: layout.size(), actual }
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
    unsafe fn slab_around(&self, address: usize) -> Option<(Meta<Slab>, &'static str)> {
        // SAFETY: the heap stands still.
        let slab = unsafe { self.registry.map.last_until(address) }?;
        let is_inside = address.wrapping_sub(slab.base().addr()) < slab.bytes();
        Some((slab, Self::name(slab.owner()).filter(|_| is_inside)?))
    }

    /// The name of the cache that owns a slab; `None` if none does.
    pub(super) fn name(owner: Owner) -> Option<&'static str> {
        match owner {
            Owner::LARGE => Some(Large::NAME),
            _ => SizeClass::all().nth(owner.cache().into()).map(|class| class.geometry().name),
        }
    }
}
