//! What the CPUs have to do with each other: a [lock](Mutex), made for interrupts and open to checks of its order, and the
//! [gate](Gate) of what one CPU has without a lock.
//!
//! A lock that an interrupt handler takes too must only be held with interrupts masked: else the handler waits for the very
//! code that it interrupted. And a CPU that waits with interrupts masked answers nobody meanwhile; another may in turn be
//! waiting for its answer. So every wait for a lock or at a gate goes through [`Hooks::relax`], where a kernel can answer, and
//! every lock tells [`Hooks::acquire`] and [`Hooks::release`] of itself, where it can check the order in which locks are taken.
//! The bit that locks a pageblock does neither: it is held for a few steps, by a CPU that waits for no answer.

pub(crate) mod atomic;
#[cfg(target_has_atomic = "ptr")]
mod barriers;
#[cfg(target_has_atomic = "ptr")]
mod faults;
mod gate;
mod mutex;

#[cfg(target_has_atomic = "ptr")]
pub use barriers::Barriers;
#[cfg(target_has_atomic = "ptr")]
pub use faults::Faults;
pub(crate) use gate::Sign;
pub use gate::{Gate, Inside};
pub(crate) use mutex::MaskedGuard;
pub use mutex::{Guard, Mutex};

pub use crate::cpu::{Acquire, Lock};

#[cfg(doc)]
use crate::cpu::Hooks;
