//! Mappings that were freed where nothing may wait (Linux: `vfree_atomic`).
//!
//! Unmapping ends with every other CPU having forgotten the pages, which an interrupt handler must not wait for. So a
//! handler only notes the mapping, in its own first words, and code that may wait unmaps it: an idle CPU, the next that
//! maps something, or one that runs out of memory.

use crate::arch::ipi;
use crate::cpu::work;
use bifolio::error::FreeError;
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
use log::error;

/// What is noted of a mapping.
struct Deferred {
    next: *mut Self,
    pages: u64,
}

/// How many CPUs are freeing what was noted.
static FREEING: AtomicUsize = AtomicUsize::new(0);

/// The mapping that was noted last; null if there is none.
static LATEST: AtomicPtr<Deferred> = AtomicPtr::new(ptr::null_mut());

/// Notes a mapping of so many pages, to be freed.
///
/// # Safety
/// It is one, and nobody uses it any more.
pub(super) unsafe fn add(start: *mut u8, pages: u64) {
    let deferred: *mut Deferred = start.cast();
    let mut next = LATEST.load(Ordering::Relaxed);
    loop {
        // SAFETY: the mapping is at least a page, aligned to one, and by this function's contract nobody else's.
        unsafe { deferred.write(Deferred { next, pages }) };
        match LATEST.compare_exchange_weak(next, deferred, Ordering::SeqCst, Ordering::Relaxed) {
            Ok(_) => return work::wake_idle(),
            Err(latest) => next = latest,
        }
    }
}

/// How a mapping is freed: [`free`](super::free).
pub(super) type Free = unsafe fn(NonNull<u8>, u64) -> Result<(), FreeError>;

/// Whether there are mappings to be freed.
pub fn is_deferred() -> bool {
    !LATEST.load(Ordering::SeqCst).is_null()
}

/// Has `free` free what was noted, and returns how many frames that were. Behind it there is nothing, not even what another
/// CPU is at.
pub(super) fn free_noted(free: Free) -> u64 {
    let mut frames = 0;
    if is_deferred() {
        FREEING.fetch_add(1, Ordering::SeqCst);
        frames = free_all(free);
        FREEING.fetch_sub(1, Ordering::Release);
    }
    while FREEING.load(Ordering::SeqCst) != 0 {
        ipi::relax();
    }
    frames
}

/// Frees what is noted now, and returns how many frames that were.
fn free_all(free: Free) -> u64 {
    let mut frames = 0;
    let mut next = LATEST.swap(ptr::null_mut(), Ordering::SeqCst);
    while let Some(start) = NonNull::new(next) {
        // SAFETY: `add` has written it, and since it is not in the list any more it is nobody else's.
        let Deferred { next: behind, pages } = unsafe { start.read() };
        next = behind;
        // SAFETY: `add` was called with it, about a mapping that nobody uses.
        match unsafe { free(start.cast(), pages) } {
            Ok(()) => frames += pages,
            Err(error) => error!("bad free of a mapping, in units of 2 MiB: {error}"),
        }
    }
    frames
}
