//! Threads as processors: each on a CPU of its own, and with a number.

use bifolio::cpu::{Cpu, Hooks, Place};
use std::cell::Cell;
use std::io;
use std::time::Duration;

thread_local! {
    static CPU: Cell<usize> = const { Cell::new(0) };
    static PLACE: Cell<Place> = const { Cell::new(Place::of(0)) };
}

/// The number of the CPU that this thread stands for.
#[inline]
pub fn current_cpu() -> usize {
    CPU.get()
}

/// A thread as a processor.
pub struct Thread;

// SAFETY: threads that share an allocator have different numbers; nothing interrupts them.
unsafe impl Cpu for Thread {
    #[inline]
    fn current() -> usize {
        current_cpu()
    }

    #[inline]
    fn place() -> Place {
        PLACE.get()
    }

    fn synchronize() {
        membarrier(libc::MEMBARRIER_CMD_PRIVATE_EXPEDITED);
    }

    #[inline]
    fn mask_interrupts() -> bool {
        false
    }

    #[inline]
    fn restore_interrupts(_: bool) {}
}

impl Hooks for Thread {}

/// Tells the system that [`Thread::synchronize`] will be called.
pub fn announce_barriers() {
    membarrier(libc::MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED);
}

/// The system call that makes all threads of the process pass a barrier, or announces that it will be used.
fn membarrier(command: libc::c_int) {
    // SAFETY: the call takes no pointer and changes no memory.
    let result = unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) };
    assert_eq!(result, 0, "membarrier: {}", io::Error::last_os_error());
}

/// How many CPUs this process may run on.
pub fn cpus() -> usize {
    allowed_cpus().len()
}

/// The system's numbers of the CPUs that this process may run on.
pub fn allowed_cpus() -> Vec<usize> {
    // SAFETY: all zeros is an empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer and the size are those of the set.
    if unsafe { libc::sched_getaffinity(0, size_of_val(&set), &raw mut set) } != 0 {
        return vec![0];
    }
    // SAFETY: every number asked for lies inside the set.
    (0..libc::CPU_SETSIZE as usize).filter(|&cpu| unsafe { libc::CPU_ISSET(cpu, &set) }).collect()
}

/// Makes the calling thread processor `number`, and keeps it on one of the system's CPUs.
pub fn become_cpu(number: usize, place: usize) {
    // SAFETY: all zeros is an empty set, the place comes out of one, and pointer and size are the set's.
    let result = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(place, &mut set);
        libc::sched_setaffinity(0, size_of_val(&set), &raw const set)
    };
    assert_eq!(result, 0, "cannot pin a thread to CPU {place}: {}", io::Error::last_os_error());
    CPU.set(number);
    PLACE.set(Place::of(number));
}

/// How long the calling thread has had a processor. Time in which others had it does not count.
pub fn processor_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is that of a time to be written.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    assert_eq!(result, 0, "the system does not say how long a thread ran: {}", io::Error::last_os_error());
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
