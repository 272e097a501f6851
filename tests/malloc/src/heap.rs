//! The heap, and the little that C asks of it beyond what a heap in Rust is asked.

use core::alloc::Layout;
use core::ptr::NonNull;

use bifolio::heap::{Heap, HeapError, SizeClass};

use crate::region::{self, Regions};
use crate::thread::{CPUS, Thread};
use crate::{mapped, report, system};

/// The process's heap.
pub static HEAP: Heap<Regions, Thread, CPUS> = Heap::new(Regions);

/// Zeroing as many bytes or more is left to the system.
const LEFT_TO_SYSTEM: usize = 128 << 10;

/// Memory for `layout`.
#[inline]
pub fn allocate(layout: Layout) -> Option<NonNull<u8>> {
    HEAP.allocate(layout)
}

/// Memory for `layout` that holds zeros.
pub fn allocate_zeroed(layout: Layout) -> Option<NonNull<u8>> {
    let whole = layout.size() / system::PAGE * system::PAGE;
    if whole < LEFT_TO_SYSTEM {
        return HEAP.allocate_zeroed(layout);
    }
    let object = HEAP.allocate(layout)?;
    // SAFETY: the object is ours, and has that many bytes, in pages of its own.
    unsafe {
        if system::forget(object.as_ptr(), whole) {
            object.add(whole).write_bytes(0, layout.size() - whole);
        } else {
            object.write_bytes(0, layout.size());
        }
    }
    Some(object)
}

/// How many bytes the object has that starts here. Ends the program if none does.
#[inline]
pub fn size_of_object(object: NonNull<u8>) -> usize {
    HEAP.object_size(object).unwrap_or_else(|error| die(&error))
}

/// Frees the object that starts here. Ends the program if none does.
///
/// # Safety
/// Nobody uses it any more.
#[inline]
pub unsafe fn free(object: NonNull<u8>) {
    // SAFETY: nobody uses the object any more; that it is one is seen to by the heap.
    if let Err(error) = unsafe { HEAP.free_unsized(object) } {
        die(&error);
    }
}

#[cold]
fn die(error: &HeapError) -> ! {
    report::die(format_args!("{error}"))
}

/// Makes an object, which has `old` bytes now, suit `layout`, and moves it if need be. `None` if there is no memory for that:
/// it is as it was then.
///
/// # Safety
/// Nobody else uses it.
pub unsafe fn reallocate(object: NonNull<u8>, old: usize, layout: Layout) -> Option<NonNull<u8>> {
    let wastes_little = layout.size() >= old / 2 && old <= SizeClass::MAX_SIZE;
    if layout.size() <= old && wastes_little {
        return Some(object);
    }
    // SAFETY: nobody else uses the object.
    unsafe { HEAP.reallocate_unsized(object, layout) }.unwrap_or_else(|error| die(&error))
}

/// The calling CPU allocates no more for now.
pub fn retire_cpu() {
    HEAP.retire_cpu();
    region::retire_cpu();
}

/// Gives back what nobody uses; whether there was any.
pub fn trim() -> bool {
    let frames = HEAP.shrink();
    mapped::give_back_kept() > 0 || frames > 0
}
