//! The atomics that CPUs meet at: core's, or those of a checker that looks for orders of events in which things go wrong.
//!
//! `--cfg bifolio_loom` and `--cfg bifolio_shuttle` are for `make concurrency`, which builds the crate under each and lets both
//! at it, as a package that has those two to depend on (`tests/concurrency/modelled`); this one has not. loom knows what a processor may reorder, and goes through every order that is possible: of little. shuttle lets CPUs take turns
//! before each step, at random, in a whole allocator or heap, and takes every step for sequentially consistent.
//!
//! What is cast from plain memory, or has to fit in a frame, is [`fixed`]: as large as core's in any case. loom does not
//! see those; they are changed under locks, which it does see.
//!
//! # The barrier that only one side passes
//!
//! The owner of a gate, and a stranger at it, keep the compiler from swapping a store and a load, and leave the processor to
//! [`Cpu::synchronize`], which makes it pass a full barrier at some moment in between, before or behind both. So to whoever
//! synchronises, the owner looks as if it had passed one. To loom and Miri, which know no barriers that are passed for others,
//! `compiler_fence` is a fence, and `synchronize` is another.

#[cfg(bifolio_loom)]
mod modelled;
#[cfg(bifolio_shuttle)]
pub(crate) mod scheduled;

#[cfg(not(any(bifolio_loom, bifolio_shuttle)))]
pub(crate) use core::hint::spin_loop as spin;
#[cfg(bifolio_loom)]
pub(crate) use loom::thread::yield_now as spin;
#[cfg(bifolio_shuttle)]
pub(crate) use shuttle::thread::yield_now as spin;

#[cfg(all(feature = "heap", not(any(bifolio_loom, bifolio_shuttle))))]
pub(crate) use own as fixed;
#[cfg(not(any(bifolio_loom, bifolio_shuttle)))]
pub(crate) use own::*;

/// The machine's own.
#[cfg(all(target_has_atomic = "8", not(any(bifolio_loom, bifolio_shuttle))))]
pub(crate) mod own {
    pub(crate) use core::sync::atomic::*;
    // Where a processor has none of 64 bits: under a lock.
    #[cfg(not(target_has_atomic = "64"))]
    pub(crate) use portable_atomic::AtomicU64;
}

/// Those of a processor that can load and store, and no more at once.
#[cfg(all(not(target_has_atomic = "8"), not(any(bifolio_loom, bifolio_shuttle))))]
pub(crate) use portable_atomic as own;

#[cfg(all(miri, not(any(bifolio_loom, bifolio_shuttle))))]
pub(crate) use core::sync::atomic::fence as compiler_fence;

/// Stores into a word that others swap meanwhile: what they swapped before comes before this.
#[cfg(not(bifolio_loom))]
#[inline(always)]
pub(crate) fn store_last(word: &AtomicU64, value: u64, order: Ordering) {
    word.store(value, order);
}

#[cfg(bifolio_loom)]
pub(crate) use modelled::*;
#[cfg(bifolio_shuttle)]
pub(crate) use scheduled::{self as fixed, *};

#[cfg(doc)]
use crate::cpu::Cpu;
