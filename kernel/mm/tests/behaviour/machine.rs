//! A processor that can do everything that the allocator may ask of one. Each test has its own, since each is a thread.

use std::cell::{Cell, RefCell};
use std::fmt::Display;
use std::time::Duration;

use bifolio::cpu::{Cpu, Hooks};
use bifolio::frame::PfnRange;
use bifolio::sync::{Acquire, Lock};

pub struct Machine;

thread_local! {
    /// The time that the machine shows.
    static UPTIME: Cell<Duration> = const { Cell::new(Duration::ZERO) };
    /// What was reported.
    static REPORTS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
    /// What was zeroed.
    static ZEROED: RefCell<Vec<PfnRange>> = const { RefCell::new(Vec::new()) };
    /// The number of the CPU that runs.
    static CPU: Cell<usize> = const { Cell::new(0) };
    /// The locks that are held.
    static HELD: RefCell<Vec<Lock>> = const { RefCell::new(Vec::new()) };
    /// The names of the locks that were taken, and how.
    static TAKEN: RefCell<Vec<(&'static str, Acquire)>> = const { RefCell::new(Vec::new()) };
    /// How often the machine was told of requests that may wait, of low memory, and to synchronise.
    static CALLS: Cell<Calls> = const { Cell::new(Calls { might_wait: 0, low_memory: 0, synchronize: 0 }) };
}

/// How often the machine was called for what.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Calls {
    pub might_wait: u32,
    pub low_memory: u32,
    pub synchronize: u32,
}

impl Calls {
    fn count(which: fn(&mut Self) -> &mut u32) {
        let mut calls = CALLS.get();
        *which(&mut calls) += 1;
        CALLS.set(calls);
    }
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

    pub fn become_cpu(number: usize) {
        CPU.set(number);
    }

    pub fn take_calls() -> Calls {
        CALLS.take()
    }

    pub fn take_taken() -> Vec<(&'static str, Acquire)> {
        TAKEN.take()
    }

    /// The names of the locks that are held.
    pub fn held() -> Vec<&'static str> {
        HELD.with_borrow(|held| held.iter().map(|lock| lock.name).collect())
    }
}

// SAFETY: one CPU at a time, which nothing interrupts.
unsafe impl Cpu for Machine {
    fn current() -> usize {
        CPU.get()
    }

    fn synchronize() {
        assert!(matches!(Self::held()[..], [] | ["draining"]));
        Calls::count(|calls| &mut calls.synchronize);
    }

    fn without_interrupts<R>(critical: impl FnOnce() -> R) -> R {
        critical()
    }

    unsafe fn zero(frames: PfnRange) -> bool {
        ZEROED.with_borrow_mut(|zeroed| zeroed.push(frames));
        true
    }
}

impl Hooks for Machine {
    fn acquire(lock: &Lock, how: Acquire) {
        HELD.with_borrow_mut(|held| {
            assert!(!held.contains(lock), "{lock:?} is held already");
            held.push(*lock);
        });
        TAKEN.with_borrow_mut(|taken| taken.push((lock.name, how)));
    }

    fn release(lock: &Lock) {
        HELD.with_borrow_mut(|held| {
            let place = held.iter().position(|held| held == lock);
            held.remove(place.expect("what is released is held"));
        });
    }

    fn might_wait() {
        assert!(Self::held().is_empty());
        Calls::count(|calls| &mut calls.might_wait);
    }

    fn low_memory() {
        assert!(Self::held().is_empty());
        Calls::count(|calls| &mut calls.low_memory);
    }

    fn uptime() -> Duration {
        UPTIME.get()
    }

    fn report(failure: &dyn Display) {
        assert!(Self::held().is_empty());
        REPORTS.with_borrow_mut(|reports| reports.push(failure.to_string()));
    }
}
