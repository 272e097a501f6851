//! Where something happened: the innermost calls, in as many words as a static can spare.

use crate::arch::backtrace::Backtrace;
use core::array;
use core::sync::atomic::{AtomicU64, Ordering};

/// Calls that are kept: those of the validator and the lock come first.
pub(super) const DEPTH: usize = 12;

/// The calls that led somewhere, innermost first; zeros behind the last.
pub(super) struct Trace([AtomicU64; DEPTH]);

impl Trace {
    pub const fn new() -> Self {
        Self([const { AtomicU64::new(0) }; DEPTH])
    }

    /// Keeps the calls that led here.
    pub fn record(&self) {
        self.set(here());
    }

    pub fn set(&self, addresses: [u64; DEPTH]) {
        self.0.iter().zip(addresses).for_each(|(word, address)| word.store(address, Ordering::Relaxed));
    }

    pub fn get(&self) -> [u64; DEPTH] {
        array::from_fn(|nth| self.0[nth].load(Ordering::Relaxed))
    }
}

/// The calls that led here.
pub(super) fn here() -> [u64; DEPTH] {
    let mut addresses = [0; DEPTH];
    let callers = Backtrace::here().addresses().skip(1);
    addresses.iter_mut().zip(callers).for_each(|(word, address)| *word = address);
    addresses
}
