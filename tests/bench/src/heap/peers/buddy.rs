//! `buddy_system_allocator`: its `Heap`, lists of free blocks in the free blocks.

use buddy_system_allocator::Heap;
use std::alloc::Layout;
use std::ptr::NonNull;
use workloads::heap::RegionHeap;

/// What its `LockedHeap` has inside, with as many orders as its documentation takes.
pub struct Buddies(Heap<32>);

impl RegionHeap for Buddies {
    const NAME: &'static str = "buddy_system_allocator";

    unsafe fn new(base: NonNull<u8>, size: usize) -> Self {
        let mut heap = Heap::empty();
        // SAFETY: by this function's contract the region is its own.
        unsafe { heap.init(base.addr().get(), size) };
        Self(heap)
    }

    #[inline(always)]
    fn allocate(&mut self, layout: Layout) -> Option<NonNull<u8>> {
        self.0.alloc(layout).ok()
    }

    #[inline(always)]
    unsafe fn free(&mut self, object: NonNull<u8>, layout: Layout) {
        // SAFETY: the caller keeps the same contract.
        unsafe { self.0.dealloc(object, layout) };
    }
}
