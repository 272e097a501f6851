//! The few system calls, none of which leaves a trace in `errno`: a successful `free` must not change it.

use core::ptr::{self, NonNull};

use libc::c_int;

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
        // SAFETY: the space is reserved by this module, and nobody uses it any more.
        keeping_errno(|| unsafe { libc::munmap(start.cast(), bytes) });
    }
}

/// Makes reserved address space memory; false if the system has none to give.
///
/// # Safety
/// The space is reserved, and nobody uses it.
pub unsafe fn make_usable(start: *mut u8, bytes: usize) -> bool {
    // SAFETY: the space is reserved, and nobody uses it, so that it may be anything.
    keeping_errno(|| unsafe { libc::mprotect(start.cast(), bytes, libc::PROT_READ | libc::PROT_WRITE) }) == 0
}

/// Gives the memory behind usable pages back, but not the pages: they hold zeros then.
///
/// # Safety
/// Nobody needs what they hold, nor looks at it meanwhile.
pub unsafe fn forget(start: *mut u8, bytes: usize) -> bool {
    // SAFETY: nobody needs what the pages hold, nor looks at it meanwhile.
    keeping_errno(|| unsafe { libc::madvise(start.cast(), bytes, libc::MADV_DONTNEED) }) == 0
}

/// Makes usable pages reserved address space again, and gives the memory behind them back.
///
/// # Safety
/// Nobody uses them any more.
pub unsafe fn make_unusable(start: *mut u8, bytes: usize) -> bool {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_FIXED;
    // SAFETY: nobody uses the pages any more, and what is mapped in their place is nobody's.
    let mapped = keeping_errno(|| unsafe { libc::mmap(start.cast(), bytes, libc::PROT_NONE, flags, -1, 0) });
    bytes == 0 || mapped != libc::MAP_FAILED
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
