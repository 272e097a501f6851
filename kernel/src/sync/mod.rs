//! Locks between CPUs, and between a CPU's code and the interrupt handlers that interrupt it.
//!
//! A handler that waits for a lock which the code below it holds waits for ever. So whatever a handler may take is behind a
//! [`Mutex`], which masks interrupts while it is held; and in builds with debug assertions the validator, [`lockdep`],
//! watches all locks of the kernel and the allocator for what will one day be a deadlock.

pub mod lockdep;
mod mutex;
mod processor;

pub use mutex::{Mutex, MutexGuard};
pub(crate) use processor::when_memory_is_low;
pub use processor::{FAULTS, Processor};

use crate::arch::local;
use x86_64::instructions::interrupts;

/// Whether the code here may wait for something, such as memory: not in an interrupt handler, nor with interrupts masked,
/// as they are with a lock held (Linux: `!in_atomic()`).
pub fn may_sleep() -> bool {
    interrupts::are_enabled() && !local::in_interrupt()
}
