//! What the CPUs have to do with each other: the one lock of the crate, made for interrupts and open to whoever checks it, and
//! the [gate](Gate) of what one CPU has without a lock.
//!
//! A lock that an interrupt handler takes too must only be held with interrupts masked: else the handler waits for the very
//! code that it interrupted. And a CPU that waits with interrupts masked answers nobody meanwhile; another may in turn be
//! waiting for its answer. So every wait of the crate goes through [`Cpu::relax`], where a kernel can answer, and every lock
//! tells [`Cpu::acquire`] and [`Cpu::release`] of itself, where it can check the order in which locks are taken.

pub(crate) mod atomic;
mod gate;
mod mutex;

pub(crate) use gate::Sign;
pub use gate::{Gate, Inside};
pub use mutex::{Guard, Mutex};

#[cfg(doc)]
use crate::allocator::Cpu;

/// A lock, to those who look on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lock {
    /// What the lock guards. All locks that guard things of one kind, such as the same part of several heaps, share a name:
    /// what is found of the order of one is true of all.
    pub name: &'static str,
    /// What tells the lock from all others there are.
    pub address: usize,
}

/// How a lock is taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Acquire {
    /// Whoever has it is waited for.
    Wait,
    /// Only if nobody has it: nothing can wait for each other so.
    Try,
}
