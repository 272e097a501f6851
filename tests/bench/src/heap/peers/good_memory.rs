//! `good_memory_allocator`: bins of free chunks, a header in front of each.

use good_memory_allocator::Allocator;
use std::alloc::Layout;
use std::ptr::NonNull;
use workloads::heap::RegionHeap;

/// With the bins that it comes with. It must not move, since its chunks point to it.
pub struct GoodMemory(Box<Allocator>);

// SAFETY: its pointers lead into its region and to itself, and all of that goes along.
unsafe impl Send for GoodMemory {}

impl RegionHeap for GoodMemory {
    const NAME: &'static str = "good_memory_allocator";

    unsafe fn new(base: NonNull<u8>, size: usize) -> Self {
        let mut allocator = Box::new(Allocator::empty());
        // SAFETY: by this function's contract the region is its own.
        unsafe { allocator.init(base.addr().get(), size) };
        Self(allocator)
    }

    #[inline(always)]
    fn allocate(&mut self, layout: Layout) -> Option<NonNull<u8>> {
        // SAFETY: no layout of a workload has size 0.
        NonNull::new(unsafe { self.0.alloc(layout) })
    }

    #[inline(always)]
    unsafe fn free(&mut self, object: NonNull<u8>, _: Layout) {
        // SAFETY: the caller keeps the same contract.
        unsafe { self.0.dealloc(object.as_ptr()) };
    }

    #[inline(always)]
    unsafe fn reallocate(&mut self, object: NonNull<u8>, layout: Layout, size: usize) -> Option<NonNull<u8>> {
        // SAFETY: the caller keeps the same contract.
        NonNull::new(unsafe { self.0.realloc(object.as_ptr(), layout, size) })
    }
}
