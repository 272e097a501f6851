//! `linked_list_allocator`: one list of holes in order of address, and the first that is large enough.

use super::RegionHeap;
use core::alloc::Layout;
use core::ptr::NonNull;
use linked_list_allocator::Heap;

/// See the module.
pub struct LinkedList(Heap);

impl RegionHeap for LinkedList {
    const NAME: &'static str = "linked_list_allocator";

    unsafe fn new(base: NonNull<u8>, size: usize) -> Self {
        // SAFETY: by this function's contract the region is its own.
        Self(unsafe { Heap::new(base.as_ptr(), size) })
    }

    #[inline(always)]
    fn allocate(&mut self, layout: Layout) -> Option<NonNull<u8>> {
        self.0.allocate_first_fit(layout).ok()
    }

    #[inline(always)]
    unsafe fn free(&mut self, object: NonNull<u8>, layout: Layout) {
        // SAFETY: the caller keeps the same contract.
        unsafe { self.0.deallocate(object, layout) };
    }
}
