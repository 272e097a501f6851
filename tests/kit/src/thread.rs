//! Threads as CPUs.

use core::cell::Cell;
use std::sync::Once;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed, Ordering::SeqCst, fence};

use bifolio::cpu::{Cpu, Hooks};
use bifolio::frame::Gfp;
use bifolio::sync::Faults;

/// Of a thread that has no number.
const NONE: usize = usize::MAX;

std::thread_local! {
    static NUMBER: Cell<usize> = const { Cell::new(NONE) };
    static FAULTS: Faults = const { Faults::new() };
}

/// A thread as a CPU: nothing interrupts it, and until it [says](Self::become_cpu) which it is, it is none that has anything of
/// its own. Of threads that share an allocator, each must have a number of its own.
#[derive(Clone, Copy, Debug)]
pub struct Thread;

impl Thread {
    /// The number of the calling thread.
    #[inline]
    pub fn number() -> usize {
        NUMBER.get()
    }

    /// Makes the calling thread this CPU.
    pub fn become_cpu(number: usize) {
        NUMBER.set(number);
    }

    /// Makes the calling thread CPU 0, unless it is another.
    pub fn become_first() {
        if NUMBER.get() == NONE {
            NUMBER.set(0);
        }
    }

    /// Makes the calling thread a CPU that no other thread of the program was before, unless it is one.
    pub fn become_next() {
        static THREADS: AtomicUsize = AtomicUsize::new(0);
        if NUMBER.get() == NONE {
            NUMBER.set(THREADS.fetch_add(1, Relaxed));
        }
    }

    /// Has requests of the calling thread refused: so many, behind so many that are served.
    pub fn begin_faults(served: usize, refused: usize) {
        FAULTS.with(|faults| faults.begin(served, refused));
    }

    /// Ends that, and returns how many were refused.
    pub fn end_faults() -> usize {
        FAULTS.with(Faults::end)
    }

    /// Does some work as this CPU, and is none behind it.
    pub fn as_cpu<R>(number: usize, work: impl FnOnce() -> R) -> R {
        NUMBER.set(number);
        let result = work();
        NUMBER.set(NONE);
        result
    }
}

// SAFETY: threads that share an allocator have different numbers; nothing interrupts them; the barrier is the system's.
unsafe impl Cpu for Thread {
    #[inline]
    fn current() -> usize {
        Self::number()
    }

    fn synchronize() {
        // Miri knows no barrier that others are made to pass. There, the other side passes one by itself.
        if cfg!(miri) {
            return fence(SeqCst);
        }
        static REGISTER: Once = Once::new();
        REGISTER.call_once(|| membarrier(libc::MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED));
        membarrier(libc::MEMBARRIER_CMD_PRIVATE_EXPEDITED);
    }

    #[inline]
    fn mask_interrupts() -> bool {
        false
    }

    #[inline]
    fn restore_interrupts(_: bool) {}
}

impl Hooks for Thread {
    fn relax() {
        std::thread::yield_now();
    }

    fn should_fail(_: u64, _: Gfp) -> bool {
        FAULTS.with(Faults::is_due)
    }
}

/// The system call that makes all threads of the process pass a barrier, or announces that it will be used.
fn membarrier(command: libc::c_int) {
    // SAFETY: the call takes no pointer and changes no memory.
    let result = unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) };
    assert_eq!(result, 0, "membarrier: {}", std::io::Error::last_os_error());
}
