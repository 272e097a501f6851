//! `slab_allocator_rs`: eight lists of free blocks, each with an eighth of the region from the start, and never more.

use slab_allocator_rs::Heap;
use std::alloc::Layout;
use std::ptr::NonNull;
use workloads::heap::RegionHeap;

/// See the module.
pub struct Slabs(Heap);

impl RegionHeap for Slabs {
    const NAME: &'static str = "slab_allocator_rs";

    /// It writes to all of its memory at the start.
    const MOST: usize = 256 << 20;

    unsafe fn new(base: NonNull<u8>, size: usize) -> Self {
        // SAFETY: by this function's contract the region is its own.
        Self(unsafe { Heap::new(base.addr().get(), size) })
    }

    #[inline(always)]
    fn allocate(&mut self, layout: Layout) -> Option<NonNull<u8>> {
        self.0.allocate(layout).ok()
    }

    #[inline(always)]
    unsafe fn free(&mut self, object: NonNull<u8>, layout: Layout) {
        // SAFETY: the caller keeps the same contract.
        unsafe { self.0.deallocate(object, layout) };
    }
}
