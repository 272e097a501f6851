//! `rlsf`: TLSF, two levels of bins under bitmaps, a header in front of each block.

use rlsf::Tlsf;
use std::alloc::Layout;
use std::ptr::{self, NonNull};
use workloads::heap::RegionHeap;

/// With bins for blocks of up to 4 GiB, 16 to a power of two.
pub struct Rlsf(Tlsf<'static, u32, u16, 28, 16>);

impl RegionHeap for Rlsf {
    const NAME: &'static str = "rlsf";

    unsafe fn new(base: NonNull<u8>, size: usize) -> Self {
        let mut tlsf = Tlsf::new();
        let region = NonNull::new(ptr::slice_from_raw_parts_mut(base.as_ptr(), size)).expect("the base is not 0");
        // SAFETY: by this function's contract the region is its own.
        unsafe { tlsf.insert_free_block_ptr(region) }.expect("the region has room for a block");
        Self(tlsf)
    }

    #[inline(always)]
    fn allocate(&mut self, layout: Layout) -> Option<NonNull<u8>> {
        self.0.allocate(layout)
    }

    #[inline(always)]
    unsafe fn free(&mut self, object: NonNull<u8>, layout: Layout) {
        // SAFETY: the caller keeps the same contract.
        unsafe { self.0.deallocate(object, layout.align()) };
    }

    #[inline(always)]
    unsafe fn reallocate(&mut self, object: NonNull<u8>, layout: Layout, size: usize) -> Option<NonNull<u8>> {
        // SAFETY: the caller keeps the same contract.
        unsafe { self.0.reallocate(object, workloads::heap::aligned(size, layout.align())) }
    }
}
