//! A processor that can do everything that the allocator may ask of one. Each test has its own, since each is a thread.

use std::cell::{Cell, RefCell};
use std::fmt::Display;
use std::time::Duration;

use bifolio::allocator::Cpu;
use bifolio::frame::PfnRange;

pub struct Machine;

thread_local! {
    /// The time that the machine shows.
    static UPTIME: Cell<Duration> = const { Cell::new(Duration::ZERO) };
    /// What was reported.
    static REPORTS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
    /// What was zeroed.
    static ZEROED: RefCell<Vec<PfnRange>> = const { RefCell::new(Vec::new()) };
}

impl Machine {
    pub fn set_uptime(milliseconds: u64) {
        UPTIME.set(Duration::from_millis(milliseconds));
    }

    pub fn take_reports() -> Vec<String> {
        REPORTS.take()
    }

    pub fn take_zeroed() -> Vec<PfnRange> {
        ZEROED.take()
    }
}

// SAFETY: one CPU at a time, which nothing interrupts.
unsafe impl Cpu for Machine {
    fn current() -> usize {
        0
    }

    fn synchronize() {}

    fn without_interrupts<R>(critical: impl FnOnce() -> R) -> R {
        critical()
    }

    unsafe fn zero(frames: PfnRange) -> bool {
        ZEROED.with_borrow_mut(|zeroed| zeroed.push(frames));
        true
    }

    fn uptime() -> Duration {
        UPTIME.get()
    }

    fn report(failure: &dyn Display) {
        REPORTS.with_borrow_mut(|reports| reports.push(failure.to_string()));
    }
}
