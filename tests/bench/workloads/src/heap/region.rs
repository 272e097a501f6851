//! Allocators over one region of memory, which have no lock: what a kernel's programmer puts around them.

use super::{Objects, aligned};
use crate::Locked;
use bifolio::allocator::Cpu;
use core::alloc::Layout;
use core::ptr::{self, NonNull};

/// A region of memory that one allocator has to itself, with unspecified contents.
pub trait Backing: Send + Sync + Sized {
    /// How many bytes it has.
    const SIZE: usize;

    /// A region.
    fn new() -> Self;

    /// Its first byte, aligned to 4 MiB.
    fn base(&self) -> NonNull<u8>;
}

/// An allocator over a region.
pub trait RegionHeap: Send {
    /// The package's name.
    const NAME: &'static str;

    /// How many bytes it is given, if there are that many.
    const MOST: usize = usize::MAX;

    /// An allocator over the region.
    ///
    /// # Safety
    /// The region is readable and writable, and the allocator's own while it lives.
    unsafe fn new(base: NonNull<u8>, size: usize) -> Self;

    /// Allocates an object.
    fn allocate(&mut self, layout: Layout) -> Option<NonNull<u8>>;

    /// Frees an object.
    ///
    /// # Safety
    /// [`allocate`](Self::allocate) returned it for this layout, and nobody uses it any more.
    unsafe fn free(&mut self, object: NonNull<u8>, layout: Layout);

    /// As [`Objects::reallocate`].
    ///
    /// # Safety
    /// The same.
    #[inline(always)]
    unsafe fn reallocate(&mut self, object: NonNull<u8>, layout: Layout, size: usize) -> Option<NonNull<u8>> {
        let moved = self.allocate(aligned(size, layout.align()))?;
        // SAFETY: two objects, each of at least as many bytes; by this function's contract the old one may be freed.
        unsafe {
            ptr::copy_nonoverlapping(object.as_ptr(), moved.as_ptr(), size.min(layout.size()));
            self.free(object, layout);
        }
        Some(moved)
    }
}

/// Such an allocator behind a spin lock, with its region.
pub struct InRegion<R, M, C> {
    heap: Locked<R, C>,
    /// Below what lies in it: it goes last.
    _memory: M,
}

impl<R: RegionHeap, M: Backing, C: Cpu> Objects for InRegion<R, M, C> {
    const NAME: &'static str = R::NAME;

    fn new() -> Self {
        let memory = M::new();
        // SAFETY: the region is new, and stays as long as the allocator.
        let heap = unsafe { R::new(memory.base(), M::SIZE.min(R::MOST)) };
        Self { heap: Locked::new(heap), _memory: memory }
    }

    #[inline(always)]
    fn allocate(&self, layout: Layout) -> Option<NonNull<u8>> {
        self.heap.with(|heap| heap.allocate(layout))
    }

    #[inline(always)]
    unsafe fn free(&self, object: NonNull<u8>, layout: Layout) {
        // SAFETY: the caller keeps the same contract.
        self.heap.with(|heap| unsafe { heap.free(object, layout) });
    }

    #[inline(always)]
    unsafe fn reallocate(&self, object: NonNull<u8>, layout: Layout, size: usize) -> Option<NonNull<u8>> {
        // SAFETY: the caller keeps the same contract.
        self.heap.with(|heap| unsafe { heap.reallocate(object, layout, size) })
    }
}
