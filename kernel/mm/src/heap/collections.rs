//! The heap as the allocator of one collection, where the global allocator is another one or none.

use core::alloc::Layout;
use core::ptr::NonNull;

use allocator_api2::alloc::{AllocError, Allocator};

use super::{Heap, HeapError};
use crate::cpu::Cpu;
use crate::slab::source::PageSource;

/// What an allocator gives for no bytes: an address that fits, and no memory.
fn nothing(layout: Layout) -> NonNull<[u8]> {
    let address = NonNull::new(core::ptr::without_provenance_mut(layout.align()));
    NonNull::slice_from_raw_parts(address.expect("an alignment is not zero"), 0)
}

impl<S: PageSource, C: Cpu, const CPUS: usize> Heap<S, C, CPUS> {
    /// An object with all the bytes that it may use.
    fn whole(object: NonNull<u8>, layout: Layout) -> NonNull<[u8]> {
        NonNull::slice_from_raw_parts(object, Self::usable_size(layout).unwrap_or(layout.size()))
    }

    /// Resizes as the trait's functions do; what goes wrong beyond a shortage is reported.
    ///
    /// # Safety
    /// `object` is a live object of layout `old`, the caller's, who goes on with what is returned; neither layout is empty.
    unsafe fn resize(&self, object: NonNull<u8>, old: Layout, new: Layout) -> Result<NonNull<[u8]>, AllocError> {
        // SAFETY: the caller promises that the object is its own, and goes on with what is returned.
        match unsafe { self.relocate(object, Some(old), new) } {
            Ok(moved) => moved.map(|moved| Self::whole(moved, new)).ok_or(AllocError),
            Err(error) => {
                self.registry.report(&error);
                Err(AllocError)
            }
        }
    }
}

// SAFETY: objects stay valid until they are freed, whichever copy of the reference frees them: it is the same heap.
unsafe impl<S: PageSource, C: Cpu, const CPUS: usize> Allocator for &Heap<S, C, CPUS> {
    fn allocate(&self, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
        if layout.size() == 0 {
            return Ok(nothing(layout));
        }
        let object = Heap::allocate(self, layout).ok_or(AllocError)?;
        Ok(Heap::<S, C, CPUS>::whole(object, layout))
    }

    unsafe fn deallocate(&self, object: NonNull<u8>, layout: Layout) {
        if layout.size() == 0 {
            return;
        }
        // SAFETY: by the trait's contract the object is of this allocator, with a layout that fits, and is used no more.
        let freed: Result<(), HeapError> = unsafe { self.free(object, layout) };
        if let Err(error) = freed {
            self.registry.report(&error);
        }
    }

    unsafe fn grow(&self, object: NonNull<u8>, old: Layout, new: Layout) -> Result<NonNull<[u8]>, AllocError> {
        if old.size() == 0 {
            return Allocator::allocate(self, new);
        }
        // SAFETY: by the trait's contract the object is of this allocator, with `old` for its layout; `new` is not smaller.
        unsafe { self.resize(object, old, new) }
    }

    unsafe fn shrink(&self, object: NonNull<u8>, old: Layout, new: Layout) -> Result<NonNull<[u8]>, AllocError> {
        if new.size() == 0 {
            // SAFETY: by the trait's contract the object is of this allocator, with `old` for its layout, and is used no more.
            unsafe { self.deallocate(object, old) };
            return Ok(nothing(new));
        }
        // SAFETY: by the trait's contract the object is of this allocator, with `old` for its layout; `new` is not empty.
        unsafe { self.resize(object, old, new) }
    }
}
