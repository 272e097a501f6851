//! What is wrong with a free.

use core::alloc::Layout;
use core::ptr::NonNull;

use super::{Heap, HeapError, Large, SizeClass};
use crate::allocator::Cpu;
use crate::frame::Order;
use crate::slab::descriptor::{Owner, Slab};
use crate::slab::list::Meta;
use crate::slab::source::PageSource;

impl<S: PageSource, C: Cpu, const CPUS: usize> Heap<S, C, CPUS> {
    /// What is wrong with freeing `object`, as a `layout` if that was said; looked at with the heap at a standstill.
    #[cold]
    pub(super) fn diagnose(&self, object: NonNull<u8>, layout: Option<Layout>) -> HeapError {
        let address = object.as_ptr().addr();
        self.stopped(|_| {
            // SAFETY: the heap stands still.
            let Some((slab, cache)) = (unsafe { self.slab_around(address) }) else {
                return HeapError::Foreign { address };
            };
            let offset = address - slab.base().addr();
            let slot = offset / slab.size();
            if slot >= usize::from(slab.slots()) {
                return HeapError::Foreign { address };
            }
            let (slot, offset) = (slot as u16, offset % slab.size());
            if offset != 0 {
                return HeapError::Interior { address, cache, slot, offset };
            }
            match layout {
                Some(layout) if !slab.is_free(slot) && Self::usable_size(layout) != Some(slab.size()) => {
                    HeapError::WrongLayout { address, cache, slot, given: layout.size(), actual: slab.size() }
                }
                // It is free, or was when it was to be freed, and has been allocated again since.
                _ => HeapError::DoubleFree { address, cache, slot },
            }
        })
    }

    /// The slab or large block that `address` lies in, and its cache's name.
    ///
    /// Only the first frame of a block of one slot leads to its descriptor, but blocks are aligned to their size: the
    /// block around an address starts at one of as many addresses as there are orders.
    ///
    /// # Safety
    /// The heap stands still, for as long as the slab is used.
    unsafe fn slab_around(&self, address: usize) -> Option<(Meta<Slab>, &'static str)> {
        Order::all().find_map(|order| {
            // SAFETY: the heap stands still.
            let slab = unsafe { self.registry.map.find(address & !(order.bytes() as usize - 1)) };
            let cache = Self::name(slab.owner())?;
            let is_inside = address.wrapping_sub(slab.base().addr()) < slab.order().bytes() as usize;
            is_inside.then_some((slab, cache))
        })
    }

    /// The name of the cache that owns a slab; `None` if none does.
    pub(super) fn name(owner: Owner) -> Option<&'static str> {
        match owner {
            Owner::LARGE => Some(Large::NAME),
            _ => SizeClass::all().nth(owner.cache().into()).map(|class| class.geometry().name),
        }
    }
}
