//! Locks between CPUs, and between a CPU's code and the interrupt handlers that interrupt it.
//!
//! A handler that waits for a lock which the code below it holds waits for ever. So whatever a handler may take is behind a
//! [`Mutex`], which masks interrupts while it is held; and in builds with debug assertions the validator, [`lockdep`],
//! watches all locks of the kernel and the allocator for what will one day be a deadlock.

pub mod lockdep;
mod mutex;

pub use mutex::{Mutex, MutexGuard};
