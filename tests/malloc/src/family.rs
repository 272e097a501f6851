//! The functions that C programs call. What they do in every corner is what the manual pages of the GNU C library say,
//! and C23 where that has the function and the library does not.
//!
//! Memory is aligned to 16 bytes, or to 8 if it is for no more than 8. What cannot be had is a null pointer with `errno`
//! set. What is freed and was never allocated, or is freed twice, or is not the start of an object, ends the program with a line
//! that says so.

use core::alloc::Layout;
use core::ffi::{c_int, c_void};
use core::ptr::{self, NonNull};

use crate::thread::inside;
use crate::{heap, report, system};

/// The alignment that suits every type of C's.
const MAX_ALIGN: usize = 16;

/// The layout for `size` bytes as `malloc` gives them. `None` if no object is that large.
#[inline]
fn layout(size: usize) -> Option<Layout> {
    Layout::from_size_align(size, if size <= 8 { 8 } else { MAX_ALIGN }).ok()
}

/// What C is given: the object, or null and an error.
#[inline]
fn give(object: Option<NonNull<u8>>) -> *mut c_void {
    match object {
        Some(object) => object.as_ptr().cast(),
        None => refuse(libc::ENOMEM),
    }
}

#[cold]
fn refuse(error: c_int) -> *mut c_void {
    *system::errno() = error;
    ptr::null_mut()
}

fn aligned(align: usize, size: usize) -> Option<NonNull<u8>> {
    let layout = Layout::from_size_align(size, align.max(layout(size)?.align())).ok()?;
    inside(|| heap::allocate(layout))
}

/// Allocates `size` bytes.
#[unsafe(no_mangle)]
pub extern "C" fn malloc(size: usize) -> *mut c_void {
    give(layout(size).and_then(|layout| inside(|| heap::allocate(layout))))
}

/// Allocates an array of `count` elements of `size` bytes, all zero.
#[unsafe(no_mangle)]
pub extern "C" fn calloc(count: usize, size: usize) -> *mut c_void {
    let layout = count.checked_mul(size).and_then(layout);
    give(layout.and_then(|layout| inside(|| heap::allocate_zeroed(layout))))
}

/// Frees what any of these functions allocated. Nothing happens to a null pointer.
///
/// # Safety
/// The memory is the caller's, and not used afterwards.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn free(object: *mut c_void) {
    if let Some(object) = NonNull::new(object.cast()) {
        // SAFETY: C demands of `free` that the object is not used afterwards.
        inside(|| unsafe { heap::free(object) });
    }
}

/// Changes an object's size. It stays where it is if there it fits, and would not waste half of the place. Frees it if the
/// size is zero, and returns null; allocates if there is no object.
///
/// # Safety
/// As for [`free`], unless null is returned and the size is not zero: then the object is as it was.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realloc(object: *mut c_void, size: usize) -> *mut c_void {
    let Some(old) = NonNull::new(object.cast::<u8>()) else { return malloc(size) };
    if size == 0 {
        // SAFETY: an object that is made of no size is not used afterwards, as by `free`.
        unsafe { free(object) };
        return ptr::null_mut();
    }
    let Some(layout) = layout(size) else { return refuse(libc::ENOMEM) };
    give(inside(|| {
        let usable = heap::size_of_object(old);
        // SAFETY: the object is the caller's alone, as C demands of `realloc`.
        unsafe { heap::reallocate(old, usable, layout) }
    }))
}

/// [`realloc`] for an array of `count` elements of `size` bytes.
///
/// # Safety
/// As for [`realloc`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn reallocarray(object: *mut c_void, count: usize, size: usize) -> *mut c_void {
    match count.checked_mul(size) {
        // SAFETY: what is demanded here is what `realloc` demands.
        Some(size) => unsafe { realloc(object, size) },
        None => refuse(libc::ENOMEM),
    }
}

/// Allocates `size` bytes whose address is a multiple of `align`, a power of two.
#[unsafe(no_mangle)]
pub extern "C" fn aligned_alloc(align: usize, size: usize) -> *mut c_void {
    if !align.is_power_of_two() {
        return refuse(libc::EINVAL);
    }
    give(aligned(align, size))
}

/// [`aligned_alloc`], but the alignment may be anything: the next power of two is taken.
#[unsafe(no_mangle)]
pub extern "C" fn memalign(align: usize, size: usize) -> *mut c_void {
    match align.checked_next_power_of_two() {
        Some(align) => give(aligned(align, size)),
        None => refuse(libc::EINVAL),
    }
}

/// Allocates `size` bytes whose address is a multiple of `align`, a power of two and a multiple of a pointer's size, and
/// stores the address. Returns 0, or the error, and then stores nothing; `errno` stays as it is.
///
/// # Safety
/// `object` is to be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn posix_memalign(object: *mut *mut c_void, align: usize, size: usize) -> c_int {
    if !align.is_power_of_two() || align < size_of::<*mut c_void>() {
        return libc::EINVAL;
    }
    let Some(allocated) = aligned(align, size) else { return libc::ENOMEM };
    // SAFETY: `object` is to be written, as C demands of `posix_memalign`.
    unsafe { object.write(allocated.as_ptr().cast()) };
    0
}

/// Allocates `size` bytes from the start of a page on.
#[unsafe(no_mangle)]
pub extern "C" fn valloc(size: usize) -> *mut c_void {
    give(aligned(system::PAGE, size))
}

/// Allocates as many whole pages as have `size` bytes.
#[unsafe(no_mangle)]
pub extern "C" fn pvalloc(size: usize) -> *mut c_void {
    match size.max(1).checked_next_multiple_of(system::PAGE) {
        Some(size) => valloc(size),
        None => refuse(libc::ENOMEM),
    }
}

/// How many bytes of the object may be used: at least as many as were asked for. None of a null pointer.
///
/// # Safety
/// The object is the caller's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn malloc_usable_size(object: *mut c_void) -> usize {
    NonNull::new(object.cast()).map_or(0, |object| inside(|| heap::size_of_object(object)))
}

/// Frees what `malloc`, `calloc` or `realloc` gave for `size` bytes (C23).
///
/// # Safety
/// As for [`free`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn free_sized(object: *mut c_void, size: usize) {
    // SAFETY: what is demanded here is what `free` demands, and `free_as` with it.
    unsafe { free_as(object, 1, size) };
}

/// Frees what `aligned_alloc` gave for this alignment and size (C23).
///
/// # Safety
/// As for [`free`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn free_aligned_sized(object: *mut c_void, align: usize, size: usize) {
    // SAFETY: what is demanded here is what `free` demands, and `free_as` with it.
    unsafe { free_as(object, align, size) };
}

/// Frees an object if it can be one of this size and alignment, and ends the program if not.
///
/// # Safety
/// As for [`free`].
unsafe fn free_as(object: *mut c_void, align: usize, size: usize) {
    let Some(pointer) = NonNull::new(object.cast()) else { return };
    let usable = inside(|| heap::size_of_object(pointer));
    if size > usable || !align.is_power_of_two() || !object.addr().is_multiple_of(align) {
        report::die(format_args!(
            "bad free of {object:p}: {size} bytes aligned to {align} given for an object of {usable}"
        ));
    }
    // SAFETY: what is demanded here is what `free` demands.
    unsafe { free(object) };
}

/// Gives memory that nobody uses back to the system; 1 if there was any. What is to be kept is not heeded.
#[unsafe(no_mangle)]
pub extern "C" fn malloc_trim(_keep: usize) -> c_int {
    c_int::from(inside(heap::trim))
}
