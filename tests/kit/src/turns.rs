//! CPUs that take turns on one thread.

use core::cell::{Cell, RefCell};
use core::fmt;
use core::marker::PhantomData;
use core::time::Duration;
use std::string::{String, ToString};
use std::vec::Vec;

use bifolio::cpu::{Cpu, Hooks, Place};
use bifolio::frame::{Gfp, PfnRange};
use bifolio::sync::{Acquire, Lock};

std::thread_local! {
    static CPU: Cell<usize> = const { Cell::new(0) };
    static PLACE: Cell<Place> = const { Cell::new(Place::of(0)) };
    static UPTIME: Cell<Duration> = const { Cell::new(Duration::ZERO) };
    static CANNOT_ZERO: Cell<bool> = const { Cell::new(false) };
    static ZEROED: RefCell<Vec<PfnRange>> = const { RefCell::new(Vec::new()) };
    static REPORTS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Learns what a CPU is asked for. Each does nothing by itself, and costs nothing.
pub trait Watch {
    /// [`Cpu::synchronize`].
    #[inline(always)]
    fn synchronize() {}

    /// [`Hooks::relax`].
    #[inline(always)]
    fn relax() {}

    /// [`Hooks::acquire`].
    #[inline(always)]
    fn acquire(lock: &Lock, how: Acquire) {
        let _ = (lock, how);
    }

    /// [`Hooks::release`].
    #[inline(always)]
    fn release(lock: &Lock) {
        let _ = lock;
    }

    /// [`Hooks::might_wait`].
    #[inline(always)]
    fn might_wait() {}

    /// [`Hooks::low_memory`].
    #[inline(always)]
    fn low_memory() {}

    /// [`Hooks::report`].
    #[inline(always)]
    fn report() {}

    /// [`Hooks::should_fail`].
    #[inline(always)]
    fn should_fail() -> bool {
        false
    }
}

impl Watch for () {}

/// A processor whose CPUs take turns on one thread, so that they never have to wait for one another. Each thread, and so each
/// test, has one of its own. It zeroes frames and reports refusals by taking note of them, and shows what time it is told to.
#[derive(Clone, Copy, Debug)]
pub struct Turns<W = ()>(PhantomData<W>);

impl Turns {
    /// As at first: the turn of CPU 0, long ago, with nothing noted.
    pub fn reset() {
        Self::switch_to(0);
        Self::set_uptime(Duration::ZERO);
        Self::set_can_zero(true);
        ZEROED.take();
        REPORTS.take();
    }

    /// Lets another CPU have its turn.
    pub fn switch_to(cpu: usize) {
        CPU.set(cpu);
        PLACE.set(Place::of(cpu));
    }

    /// Lets time go by.
    pub fn wait(time: Duration) {
        UPTIME.set(UPTIME.get() + time);
    }

    /// Says what time it is.
    pub fn set_uptime(time: Duration) {
        UPTIME.set(time);
    }

    /// Says whether frames can be zeroed from now on.
    pub fn set_can_zero(can: bool) {
        CANNOT_ZERO.set(!can);
    }

    /// The frames that were zeroed since this was last asked.
    pub fn zeroed() -> Vec<PfnRange> {
        ZEROED.take()
    }

    /// The reports of refusals since this was last asked.
    pub fn reports() -> Vec<String> {
        REPORTS.take()
    }
}

// SAFETY: CPUs take turns on one thread, so no two are at anything at once.
unsafe impl<W: Watch> Cpu for Turns<W> {
    #[inline]
    fn current() -> usize {
        CPU.get()
    }

    #[inline]
    fn place() -> Place {
        PLACE.get()
    }

    #[inline]
    fn synchronize() {
        W::synchronize();
    }

    #[inline]
    fn mask_interrupts() -> bool {
        false
    }

    #[inline]
    fn restore_interrupts(_: bool) {}

    unsafe fn zero(frames: PfnRange) -> bool {
        if CANNOT_ZERO.get() {
            return false;
        }
        ZEROED.with_borrow_mut(|zeroed| zeroed.push(frames));
        true
    }
}

impl<W: Watch> Hooks for Turns<W> {
    fn relax() {
        W::relax();
    }

    #[inline(always)]
    fn acquire(lock: &Lock, how: Acquire) {
        W::acquire(lock, how);
    }

    #[inline(always)]
    fn release(lock: &Lock) {
        W::release(lock);
    }

    #[inline(always)]
    fn might_wait() {
        W::might_wait();
    }

    #[inline(always)]
    fn low_memory() {
        W::low_memory();
    }

    #[inline(always)]
    fn should_fail(_: u64, _: Gfp) -> bool {
        W::should_fail()
    }

    fn uptime() -> Duration {
        UPTIME.get()
    }

    fn report(failure: &dyn fmt::Display) {
        W::report();
        REPORTS.with_borrow_mut(|reports| reports.push(failure.to_string()));
    }
}
