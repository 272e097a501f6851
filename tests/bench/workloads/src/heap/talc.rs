//! `talc`: bins of free chunks under a bitmap, headers at the end of each chunk.

use super::RegionHeap;
use core::alloc::Layout;
use core::ptr::NonNull;
use talc::DefaultBinning;
use talc::base::Talc;
use talc::source::Manual;

/// With the binning that it comes with, over one region that it is given at once.
pub struct DefaultTalc(Talc<Manual, DefaultBinning>);

impl RegionHeap for DefaultTalc {
    const NAME: &'static str = "talc";

    unsafe fn new(base: NonNull<u8>, size: usize) -> Self {
        let mut talc = Talc::new(Manual);
        // SAFETY: by this function's contract the region is its own.
        unsafe { talc.claim(base.as_ptr(), size) }.expect("the region has room for its lists");
        Self(talc)
    }

    #[inline(always)]
    fn allocate(&mut self, layout: Layout) -> Option<NonNull<u8>> {
        // SAFETY: no layout of a workload has size 0.
        unsafe { self.0.allocate(layout) }
    }

    #[inline(always)]
    unsafe fn free(&mut self, object: NonNull<u8>, layout: Layout) {
        // SAFETY: the caller keeps the same contract.
        unsafe { self.0.deallocate(object.as_ptr(), layout) };
    }

    #[inline(always)]
    unsafe fn reallocate(&mut self, object: NonNull<u8>, layout: Layout, size: usize) -> Option<NonNull<u8>> {
        // SAFETY: the caller keeps the same contract, and no size of a workload is 0.
        if unsafe { self.0.try_realloc_in_place(object.as_ptr(), layout, size) } {
            return Some(object);
        }
        let moved = self.allocate(super::aligned(size, layout.align()))?;
        // SAFETY: two objects, and it grew; by this function's contract the old one may be freed.
        unsafe {
            core::ptr::copy_nonoverlapping(object.as_ptr(), moved.as_ptr(), layout.size());
            self.free(object, layout);
        }
        Some(moved)
    }
}
