//! The processor, as the crate [`bifolio`] wants to know it.

use super::lockdep;
use crate::arch::{backtrace, clock, ipi, local};
use bifolio::cpu::{CALLERS, Cpu, Hooks};
use bifolio::frame::Gfp;
use bifolio::kernel::{Interrupts, X86};
use bifolio::sync::{Acquire, Faults, Lock};
use core::cell::Cell;
use core::fmt;
use core::time::Duration;
use log::warn;
use spin::Once;

/// What is done when memory is low. In any context.
static LOW_MEMORY: Once<fn()> = Once::new();

/// Which requests for frames are refused, so that a test sees what comes of it; heeded where debug assertions are on.
pub static FAULTS: Faults = Faults::new();

/// Tells what to do when memory is low: at any moment, in any context. Only the first time counts.
pub(crate) fn when_memory_is_low(act: fn()) {
    LOW_MEMORY.call_once(|| act);
}

/// The processor that the kernel runs on, as the allocator wants to know it.
#[derive(Clone, Copy, Debug)]
pub struct Processor;

// SAFETY: each CPU has a number of its own; those that run are interrupted for a barrier, and waited for; interrupts are
// masked where that is asked for.
unsafe impl Cpu for Processor {
    fn current() -> usize {
        local::current()
    }

    fn synchronize() {
        Self::synchronize_by_trying();
    }

    fn try_synchronize(missed: &mut dyn FnMut(usize)) {
        ipi::try_synchronize(missed);
    }

    #[inline]
    fn mask_interrupts() -> bool {
        X86::mask()
    }

    #[inline]
    fn restore_interrupts(were_enabled: bool) {
        X86::restore(were_enabled);
    }
}

impl Hooks for Processor {
    fn relax() {
        ipi::relax();
    }

    fn acquire(lock: &Lock, how: Acquire) {
        lockdep::acquire(lock.name, lock.address, how);
    }

    fn release(lock: &Lock) {
        lockdep::release(lock.address);
    }

    fn might_wait() {
        lockdep::might_sleep("a request for memory that may wait");
    }

    fn should_fail(_: u64, _: Gfp) -> bool {
        FAULTS.is_due()
    }

    fn low_memory() {
        LOW_MEMORY.get().into_iter().for_each(|act| act());
    }

    #[inline(always)]
    fn callers(addresses: &[Cell<u64>; CALLERS]) {
        backtrace::callers(addresses);
    }

    fn uptime() -> Duration {
        clock::uptime()
    }

    fn report(failure: &dyn fmt::Display) {
        warn!("{failure}");
    }
}
