//! The few system calls, none of which leaves a trace in `errno`: a successful `free` must not change it.

use core::ptr::{self, NonNull};

use libc::{c_int, c_void};

/// Bytes in a page.
pub const PAGE: usize = bifolio::frame::FRAME_SIZE as usize;

/// The calling thread's `errno`.
pub fn errno() -> &'static mut c_int {
    // SAFETY: the C library's variable of this thread, which only this thread uses, and nobody keeps the reference.
    unsafe { &mut *libc::__errno_location() }
}

/// Runs `call`, and restores `errno` behind it.
fn keeping_errno<R>(call: impl FnOnce() -> R) -> R {
    let before = *errno();
    let result = call();
    *errno() = before;
    result
}

/// Takes address space that cannot be touched until it is [made usable](make_usable). `None` if there is none, or the
/// process may have no more.
pub fn reserve(bytes: usize) -> Option<NonNull<u8>> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    // SAFETY: a new mapping, which changes none that is there.
    let start = keeping_errno(|| unsafe { libc::mmap(ptr::null_mut(), bytes, libc::PROT_NONE, flags, -1, 0) });
    if start == libc::MAP_FAILED { None } else { NonNull::new(start.cast()) }
}

/// Gives address space back.
///
/// # Safety
/// It is reserved, and nobody uses it any more.
pub unsafe fn unreserve(start: *mut u8, bytes: usize) {
    if bytes > 0 {
        // SAFETY: the caller's word.
        keeping_errno(|| unsafe { libc::munmap(start.cast(), bytes) });
    }
}

/// Makes reserved address space memory; false if the system has none to give.
///
/// # Safety
/// The space is reserved, and nobody uses it.
pub unsafe fn make_usable(start: *mut u8, bytes: usize) -> bool {
    // SAFETY: the caller's word.
    keeping_errno(|| unsafe { libc::mprotect(start.cast(), bytes, libc::PROT_READ | libc::PROT_WRITE) }) == 0
}

/// Gives the memory behind usable pages back, but not the pages: they hold zeros then.
///
/// # Safety
/// Nobody needs what they hold, nor looks at it meanwhile.
pub unsafe fn forget(start: *mut u8, bytes: usize) -> bool {
    // SAFETY: the caller's word.
    keeping_errno(|| unsafe { libc::madvise(start.cast(), bytes, libc::MADV_DONTNEED) }) == 0
}

/// Moves usable pages, with what they hold, to the start of a larger reserved stretch, all of which is usable then.
///
/// # Safety
/// Both belong to the caller alone, and do not overlap.
pub unsafe fn move_pages(from: *mut u8, old: usize, to: *mut u8, new: usize) -> bool {
    let flags = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
    // SAFETY: the caller's word.
    let moved = keeping_errno(|| unsafe { libc::mremap(from.cast(), old, new, flags, to.cast::<c_void>()) });
    moved != libc::MAP_FAILED
}

/// The address space that the process may have.
pub fn address_space_limit() -> usize {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer is that of a limit to be written.
    let result = keeping_errno(|| unsafe { libc::getrlimit(libc::RLIMIT_AS, &raw mut limit) });
    if result == 0 { limit.rlim_cur as usize } else { usize::MAX }
}

/// Lets other threads run.
pub fn yield_now() {
    // SAFETY: the call takes nothing and changes no memory.
    keeping_errno(|| unsafe { libc::sched_yield() });
}

/// A barrier in all threads of the process, or the announcement that it will be used. False if the system has none.
pub fn membarrier(command: c_int) -> bool {
    // SAFETY: the call takes no pointer and changes no memory.
    keeping_errno(|| unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) }) == 0
}
