//! The heap, and what of C it does not know: objects whose size the caller does not say.

use core::alloc::Layout;
use core::ptr::NonNull;

use bifolio::frame::Order;
use bifolio::heap::{Heap, SizeClass};

use crate::mapped::{self, LARGEST_BLOCK, Place};
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

/// A layout of the object that starts here, if a live one does.
fn layout_of(object: NonNull<u8>) -> Option<Layout> {
    let small = SizeClass::all().map(SizeClass::size);
    let large = Order::all().map(|order| order.bytes() as usize).filter(|&bytes| bytes > SizeClass::MAX_SIZE);
    small
        .chain(large)
        .filter_map(|size| Layout::from_size_align(size, 8).ok())
        .find(|&layout| HEAP.is_live(object, layout))
}

/// How many bytes the object has that starts here. Ends the program if none does.
pub fn size_of_object(object: NonNull<u8>) -> usize {
    match mapped::find(object.as_ptr()) {
        Place::Start(bytes) => bytes,
        Place::Inside(offset) => {
            report::die(format_args!("bad free of {object:p}: {offset} bytes inside a mapped object"))
        }
        Place::Elsewhere => layout_of(object).unwrap_or_else(|| die_of(object)).size(),
    }
}

fn die_of(object: NonNull<u8>) -> ! {
    // SAFETY: nothing live starts here, so nothing is freed.
    match unsafe { HEAP.free(object, Layout::new::<u8>()) } {
        Err(error) => report::die(format_args!("{error}")),
        Ok(()) => report::die(format_args!("bad free of {object:p}")),
    }
}

/// Frees the object that starts here. Ends the program if none does.
///
/// # Safety
/// Nobody uses it any more.
#[inline]
pub unsafe fn free(object: NonNull<u8>) {
    // SAFETY: the caller's word.
    unsafe {
        if mapped::free(object.as_ptr()) {
            return;
        }
        let layout = layout_of(object).unwrap_or_else(|| die_of(object));
        if let Err(error) = HEAP.free(object, layout) {
            report::heap_error(&error);
        }
    }
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
    region::retire_cpu();
}

/// Gives back what nobody uses; whether there was any.
pub fn trim() -> bool {
    HEAP.shrink() > 0
}
