//! Nothing at all: what the harness itself costs.

use std::alloc::Layout;
use std::cell::UnsafeCell;
use std::hint::black_box;
use std::ptr::NonNull;
use workloads::heap::Objects;

/// Gives out the same memory, always.
pub struct NoHeap(Box<UnsafeCell<[u64; 1024]>>);

// SAFETY: nobody reads what is written there.
unsafe impl Sync for NoHeap {}

impl Objects for NoHeap {
    const NAME: &'static str = crate::case::HARNESS;

    fn new() -> Self {
        Self(Box::new(UnsafeCell::new([0; 1024])))
    }

    #[inline(always)]
    fn allocate(&self, _: Layout) -> Option<NonNull<u8>> {
        NonNull::new(self.0.get().cast())
    }

    #[inline(always)]
    fn allocate_zeroed(&self, layout: Layout) -> Option<NonNull<u8>> {
        self.allocate(layout)
    }

    #[inline(always)]
    unsafe fn free(&self, object: NonNull<u8>, _: Layout) {
        black_box(object);
    }

    #[inline(always)]
    unsafe fn reallocate(&self, object: NonNull<u8>, _: Layout, _: usize) -> Option<NonNull<u8>> {
        Some(object)
    }
}
