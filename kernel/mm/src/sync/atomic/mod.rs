//! The atomics that CPUs meet at: core's, or those of a checker that looks for orders of events in which things go wrong.
//!
//! `--cfg loom` and `--cfg shuttle` are for `make concurrency`, which builds the crate under each and lets both at it. loom
//! knows what a processor may reorder, and goes through every order that is possible: of little. shuttle lets CPUs take turns
//! before each step, at random, in a whole allocator or heap, and takes every step for sequentially consistent.
//!
//! What is cast from plain memory, or has to fit in a frame, is [`fixed`]: as large as core's in any case. loom does not
//! see those; they are changed under locks, which it does see.
//!
//! # The barrier that only one side passes
//!
//! The owner of a gate, and a stranger at it, keep the compiler from swapping a store and a load, and leave the processor to
//! [`Cpu::synchronize`], which makes it pass a full barrier at some moment in between, before or behind both. So to whoever
//! synchronises, the owner looks as if it had passed one. To loom, which knows no barriers that are passed for others,
//! `compiler_fence` is a fence, and `synchronize` is another.

#[cfg(loom)]
mod modelled;
#[cfg(shuttle)]
pub(crate) mod scheduled;

#[cfg(not(any(loom, shuttle)))]
pub(crate) use core::hint::spin_loop as spin;
#[cfg(loom)]
pub(crate) use loom::thread::yield_now as spin;
#[cfg(shuttle)]
pub(crate) use shuttle::thread::yield_now as spin;

#[cfg(not(any(loom, shuttle)))]
pub(crate) use core::sync::atomic::{self as fixed, *};

/// Stores into a word that others swap meanwhile: what they swapped before comes before this.
#[cfg(not(loom))]
#[inline(always)]
pub(crate) fn store_last(word: &AtomicU64, value: u64, order: Ordering) {
    word.store(value, order);
}

#[cfg(loom)]
pub(crate) use modelled::*;
#[cfg(shuttle)]
pub(crate) use scheduled::{self as fixed, *};

#[cfg(doc)]
use crate::cpu::Cpu;
