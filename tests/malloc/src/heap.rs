//! The heap, and what of C it does not know: objects whose size the caller does not say.

use core::alloc::Layout;
use core::ptr::NonNull;

use bifolio::heap::{Heap, HeapError};

use crate::mapped::{self, LARGEST_BLOCK};
use crate::region::{self, Regions};
use crate::thread::Thread;
use crate::{report, system};

/// The process's heap.
pub static HEAP: Heap<Regions, Thread> = Heap::new(Regions);

/// Zeroing as many bytes or more is left to the system.
const LEFT_TO_SYSTEM: usize = 128 << 10;

/// Memory for `layout`.
#[inline]
pub fn allocate(layout: Layout) -> Option<NonNull<u8>> {
    if layout.size().max(layout.align()) > LARGEST_BLOCK {
        return mapped::allocate(layout.size().max(1), layout.align());
    }
    HEAP.allocate(layout)
}

/// Memory for `layout` that holds zeros.
pub fn allocate_zeroed(layout: Layout) -> Option<NonNull<u8>> {
    let object = allocate(layout)?;
    if layout.size().max(layout.align()) > LARGEST_BLOCK {
        return Some(object);
    }
    // SAFETY: the object is ours and has that many bytes, in pages of its own if it is so large.
    unsafe {
        let whole = layout.size() / system::PAGE * system::PAGE;
        if whole < LEFT_TO_SYSTEM || !system::forget(object.as_ptr(), whole) {
            object.write_bytes(0, layout.size());
        } else {
            object.add(whole).write_bytes(0, layout.size() - whole);
        }
    }
    Some(object)
}

/// Whether the address can only be that of an object outside of the heap's regions: one with a mapping of its own.
#[inline]
fn is_mapped(object: NonNull<u8>) -> bool {
    object.as_ptr().addr().is_multiple_of(system::PAGE) && !region::holds(object.as_ptr())
}

/// How many bytes the object has that starts here. Ends the program if none does.
#[inline]
pub fn size_of_object(object: NonNull<u8>) -> usize {
    if is_mapped(object) {
        return mapped::size_of_object(object);
    }
    HEAP.object_size(object).unwrap_or_else(|error| die(object, error))
}

/// Frees the object that starts here. Ends the program if none does.
///
/// # Safety
/// Nobody uses it any more.
#[inline]
pub unsafe fn free(object: NonNull<u8>) {
    // SAFETY: the caller's word.
    unsafe {
        if is_mapped(object) {
            mapped::free(object);
        } else if let Err(error) = HEAP.free_unsized(object) {
            die(object, error);
        }
    }
}

#[cold]
fn die(object: NonNull<u8>, error: HeapError) -> ! {
    mapped::die_if_inside(object);
    report::die(format_args!("{error}"))
}

/// Changes an object's size, which is `old` now, and moves it if need be. `None` if there is no memory for that: it is as
/// it was then. The new object suits `layout`.
///
/// # Safety
/// Nobody else uses it.
pub unsafe fn reallocate(object: NonNull<u8>, old: usize, layout: Layout) -> Option<NonNull<u8>> {
    if old > LARGEST_BLOCK && layout.size() > LARGEST_BLOCK {
        // SAFETY: the caller's word.
        return unsafe { mapped::resize(object.as_ptr(), layout.size()) };
    }
    let moved = allocate(layout)?;
    // SAFETY: both are live objects, and different ones, of at least as many bytes as are copied.
    unsafe {
        moved.copy_from_nonoverlapping(object, old.min(layout.size()));
        free(object);
    }
    Some(moved)
}

/// The calling CPU allocates no more for now.
pub fn retire_cpu() {
    HEAP.retire_cpu();
    region::retire_cpu();
}

/// Gives back what nobody uses; whether there was any.
pub fn trim() -> bool {
    HEAP.shrink() > 0
}
