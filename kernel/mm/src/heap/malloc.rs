//! The C library's way to ask for memory: by size alone, and back by address alone.
//!
//! Programs that were written for `malloc` do not know the layouts of their objects when they free them. A [`Malloc`] is a
//! heap as they want it, in plain Rust: what is null or `errno` in C is an error here that says what is wrong.

use core::alloc::Layout;
use core::ptr::NonNull;

use super::{Heap, HeapError, PageSource};
use crate::cpu::Cpu;
use crate::error::table::errors;

/// The alignment of whatever is large enough to need it: that of C's `max_align_t`.
const MAX_ALIGN: usize = 16;
/// The alignment of everything smaller.
const MIN_ALIGN: usize = 8;

errors! {
    /// Why there is no memory, or none was freed. Nothing has changed.
    pub enum MallocError {
        /// The heap has no room for an object like this, or there is no such object: `ENOMEM`.
        OutOfMemory(layout: Layout) => ("no memory for {} bytes aligned to {}", layout.size(), layout.align()),
        /// So many elements of this size are more than there are addresses: `ENOMEM`.
        TooMany {
            /// How many elements.
            count: usize,
            /// Bytes in each.
            size: usize,
        } => "{count} times {size} bytes are more than there can be",
        /// No address is aligned to this: it is no power of two, or the size is too large for it: `EINVAL`.
        InvalidAlignment {
            /// The alignment that was asked for.
            align: usize,
            /// The size that was asked for.
            size: usize,
        } => "{size} bytes cannot be aligned to {align}",
        /// What was given is no live object, or another one than was said.
        NoObject(error: HeapError) => from,
    }
}

/// Where objects are to be had by their layouts: what C's functions, and a global allocator, need of a heap.
///
/// # Safety
/// What is allocated is as long and as aligned as its layout says, below no other live object, and stays so until it is freed.
pub unsafe trait Objects: Copy {
    /// Allocates memory for a layout, with unspecified contents; `None` if there is none.
    fn allocate(self, layout: Layout) -> Option<NonNull<u8>>;

    /// Frees an object, of this layout if that is known.
    ///
    /// # Errors
    /// There is no such object; what is there instead is named, and nothing has changed.
    ///
    /// # Safety
    /// If the object is live, it is the caller's, and nobody uses it any more.
    unsafe fn free(self, object: NonNull<u8>, layout: Option<Layout>) -> Result<(), HeapError>;

    /// Makes an object, of this layout if that is known, one of layout `wanted`, and keeps what it holds. `Ok(None)` if there is no
    /// memory for that; the object is then as it was.
    ///
    /// # Errors
    /// As for [`free`](Self::free).
    ///
    /// # Safety
    /// As for [`free`](Self::free); the caller goes on with what is returned.
    unsafe fn reallocate(
        self,
        object: NonNull<u8>,
        layout: Option<Layout>,
        wanted: Layout,
    ) -> Result<Option<NonNull<u8>>, HeapError>;

    /// How many bytes the live object that starts here may use.
    ///
    /// # Errors
    /// No live object starts here; what is here instead is named.
    fn object_size(self, object: NonNull<u8>) -> Result<usize, HeapError>;

    /// Does what is to be done with an error that no caller can be told of.
    fn report(self, error: &HeapError);
}

// SAFETY: a heap gives such memory.
unsafe impl<S: PageSource, C: Cpu, const CPUS: usize> Objects for &Heap<S, C, CPUS> {
    #[inline]
    fn allocate(self, layout: Layout) -> Option<NonNull<u8>> {
        Heap::allocate(self, layout)
    }

    #[inline]
    unsafe fn free(self, object: NonNull<u8>, layout: Option<Layout>) -> Result<(), HeapError> {
        // SAFETY: by the contract of `Objects::free` nobody uses the object any more, if it is live.
        unsafe {
            match layout {
                Some(layout) => Heap::free(self, object, layout),
                None => self.free_unsized(object),
            }
        }
    }

    unsafe fn reallocate(
        self,
        object: NonNull<u8>,
        layout: Option<Layout>,
        wanted: Layout,
    ) -> Result<Option<NonNull<u8>>, HeapError> {
        // SAFETY: by the contract of `Objects::reallocate` nobody uses the object any more, if it is live, but what is returned.
        unsafe { self.relocate(object, layout, wanted) }
    }

    fn object_size(self, object: NonNull<u8>) -> Result<usize, HeapError> {
        Heap::object_size(self, object)
    }

    fn report(self, error: &HeapError) {
        self.registry.report(error);
    }
}

/// A heap with the functions of C's `<stdlib.h>`.
///
/// Memory from any of them may be given to any of them. What is at least 16 bytes long is aligned to 16.
#[derive(Clone, Copy)]
pub struct Malloc<H>(H);

/// What C asks for when it says nothing of alignment.
fn layout_of(size: usize) -> Result<Layout, MallocError> {
    layout_at(if size < MAX_ALIGN { MIN_ALIGN } else { MAX_ALIGN }, size)
}

fn layout_at(align: usize, size: usize) -> Result<Layout, MallocError> {
    Layout::from_size_align(size, align).map_err(|_| MallocError::InvalidAlignment { align, size })
}

impl<H: Objects> Malloc<H> {
    /// The C functions of this heap.
    pub const fn new(heap: H) -> Self {
        Self(heap)
    }

    /// The heap, for those who know their layouts.
    pub const fn heap(&self) -> H {
        self.0
    }

    /// Allocates `size` bytes with unspecified contents. No bytes are an object too, unlike all others.
    ///
    /// # Errors
    /// [`MallocError::OutOfMemory`].
    pub fn malloc(&self, size: usize) -> Result<NonNull<u8>, MallocError> {
        self.allocate(layout_of(size)?)
    }

    /// Allocates `count` elements of `size` bytes, all zero.
    ///
    /// # Errors
    /// [`MallocError::TooMany`] or [`MallocError::OutOfMemory`].
    pub fn calloc(&self, count: usize, size: usize) -> Result<NonNull<u8>, MallocError> {
        let bytes = count.checked_mul(size).ok_or(MallocError::TooMany { count, size })?;
        let layout = layout_of(bytes)?;
        let object = self.allocate(layout)?;
        // SAFETY: the object is ours, and this long.
        unsafe { object.write_bytes(0, bytes) };
        Ok(object)
    }

    /// Allocates `size` bytes aligned to `align`, a power of two. The size need not be a multiple of it.
    ///
    /// # Errors
    /// [`MallocError::InvalidAlignment`] or [`MallocError::OutOfMemory`].
    pub fn aligned_alloc(&self, align: usize, size: usize) -> Result<NonNull<u8>, MallocError> {
        self.allocate(layout_at(align, size)?)
    }

    /// Resizes an object, where it is if it can stay there, and keeps what it holds; null is allocated anew. An object of no
    /// bytes is still one, and is to be freed.
    ///
    /// # Errors
    /// As for [`malloc`](Self::malloc) and [`free`](Self::free); the object is then as it was.
    ///
    /// # Safety
    /// As for [`free`](Self::free); the caller goes on with what is returned.
    pub unsafe fn realloc(&self, object: *mut u8, size: usize) -> Result<NonNull<u8>, MallocError> {
        let wanted = layout_of(size)?;
        let Some(object) = NonNull::new(object) else {
            return self.allocate(wanted);
        };
        // SAFETY: the caller promises that the object, if it is live, is its own, and goes on with what is returned.
        let moved = unsafe { self.0.reallocate(object, None, wanted) }?;
        moved.ok_or(MallocError::OutOfMemory(wanted))
    }

    /// Frees an object; null is none, and nothing is done.
    ///
    /// # Errors
    /// [`HeapError`] if it is no live object's start. The heap is unchanged.
    ///
    /// # Safety
    /// If the object is live, it is the caller's, and nobody uses it any more.
    pub unsafe fn free(&self, object: *mut u8) -> Result<(), HeapError> {
        let Some(object) = NonNull::new(object) else {
            return Ok(());
        };
        // SAFETY: the caller promises that the object, if it is live, is its own, and used no more.
        unsafe { self.0.free(object, None) }
    }

    /// Frees an object that was allocated with this size, by any function but [`aligned_alloc`](Self::aligned_alloc).
    ///
    /// # Errors
    /// As for [`free`](Self::free), and if it has another size.
    ///
    /// # Safety
    /// As for [`free`](Self::free).
    pub unsafe fn free_sized(&self, object: *mut u8, size: usize) -> Result<(), MallocError> {
        // SAFETY: the caller promises that the object, if it is live, is its own, and used no more.
        unsafe { self.free_as(object, layout_of(size)?) }
    }

    /// Frees an object that [`aligned_alloc`](Self::aligned_alloc) gave for this alignment and size.
    ///
    /// # Errors
    /// As for [`free_sized`](Self::free_sized).
    ///
    /// # Safety
    /// As for [`free`](Self::free).
    pub unsafe fn free_aligned_sized(&self, object: *mut u8, align: usize, size: usize) -> Result<(), MallocError> {
        // SAFETY: the caller promises that the object, if it is live, is its own, and used no more.
        unsafe { self.free_as(object, layout_at(align, size)?) }
    }

    /// How many bytes of a live object may be used: at least as many as it was asked for.
    ///
    /// # Errors
    /// As for [`free`](Self::free).
    pub fn object_size(&self, object: NonNull<u8>) -> Result<usize, HeapError> {
        self.0.object_size(object)
    }

    fn allocate(&self, layout: Layout) -> Result<NonNull<u8>, MallocError> {
        self.0.allocate(layout).ok_or(MallocError::OutOfMemory(layout))
    }

    /// # Safety
    /// As for [`free`](Self::free).
    unsafe fn free_as(&self, object: *mut u8, layout: Layout) -> Result<(), MallocError> {
        let Some(object) = NonNull::new(object) else {
            return Ok(());
        };
        // SAFETY: the caller promises that the object, if it is live, is its own, and used no more.
        unsafe { self.0.free(object, Some(layout)) }.map_err(MallocError::from)
    }
}
