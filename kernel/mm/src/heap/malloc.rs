//! The C library's way to ask for memory: by size alone, and back by address alone.
//!
//! Programs that were written for `malloc` do not know the layouts of their objects when they free them. A [`Malloc`] is a
//! heap as they want it, in plain Rust: what is null or `errno` in C is an error here that says what is wrong.

use core::alloc::Layout;
use core::ptr::NonNull;

use super::{Heap, HeapError, MAX_CPUS, PageSource};
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

/// A heap with the functions of C's `<stdlib.h>`.
///
/// Memory from any of them may be given to any of them. What is at least 16 bytes long is aligned to 16.
pub struct Malloc<'h, S, C, const CPUS: usize = MAX_CPUS> {
    heap: &'h Heap<S, C, CPUS>,
}

impl<S, C, const CPUS: usize> Clone for Malloc<'_, S, C, CPUS> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S, C, const CPUS: usize> Copy for Malloc<'_, S, C, CPUS> {}

/// What C asks for when it says nothing of alignment.
fn layout_of(size: usize) -> Result<Layout, MallocError> {
    layout_at(if size < MAX_ALIGN { MIN_ALIGN } else { MAX_ALIGN }, size)
}

fn layout_at(align: usize, size: usize) -> Result<Layout, MallocError> {
    Layout::from_size_align(size, align).map_err(|_| MallocError::InvalidAlignment { align, size })
}

impl<'h, S: PageSource, C: Cpu, const CPUS: usize> Malloc<'h, S, C, CPUS> {
    /// The C functions of this heap.
    pub const fn new(heap: &'h Heap<S, C, CPUS>) -> Self {
        Self { heap }
    }

    /// The heap, for those who know their layouts.
    pub const fn heap(&self) -> &'h Heap<S, C, CPUS> {
        self.heap
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
        self.heap.allocate_zeroed(layout).ok_or(MallocError::OutOfMemory(layout))
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
        let moved = unsafe { self.heap.reallocate_unsized(object, wanted) }?;
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
        unsafe { self.heap.free_unsized(object) }
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
        self.heap.object_size(object)
    }

    fn allocate(&self, layout: Layout) -> Result<NonNull<u8>, MallocError> {
        self.heap.allocate(layout).ok_or(MallocError::OutOfMemory(layout))
    }

    /// # Safety
    /// As for [`free`](Self::free).
    unsafe fn free_as(&self, object: *mut u8, layout: Layout) -> Result<(), MallocError> {
        let Some(object) = NonNull::new(object) else {
            return Ok(());
        };
        // SAFETY: the caller promises that the object, if it is live, is its own, and used no more.
        unsafe { self.heap.free(object, layout) }.map_err(MallocError::from)
    }
}
