//! A processor that watches all that the allocator asks of it. Each test has its own, since each is a thread.

use std::cell::{Cell, RefCell};

use bifolio::sync::{Acquire, Lock};
use kit::{Turns, Watch};

pub type Machine = Turns<Watched>;

thread_local! {
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

/// The calls since this was last asked.
pub fn take_calls() -> Calls {
    CALLS.take()
}

/// The locks that were taken since this was last asked.
pub fn take_taken() -> Vec<(&'static str, Acquire)> {
    TAKEN.take()
}

/// The names of the locks that are held.
pub fn held() -> Vec<&'static str> {
    HELD.with_borrow(|held| held.iter().map(|lock| lock.name).collect())
}

/// Sees that locks are taken once, and that nothing else is asked for while one is held.
pub struct Watched;

impl Watch for Watched {
    fn synchronize() {
        assert!(matches!(held()[..], [] | ["draining"]));
        Calls::count(|calls| &mut calls.synchronize);
    }

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
        assert!(held().is_empty());
        Calls::count(|calls| &mut calls.might_wait);
    }

    fn low_memory() {
        assert!(held().is_empty());
        Calls::count(|calls| &mut calls.low_memory);
    }

    fn report() {
        assert!(held().is_empty());
    }
}
