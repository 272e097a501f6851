//! What CPUs ask of each other, counted.

use core::sync::atomic::{AtomicU64, Ordering};

/// What others ask of a CPU, in counts that only grow.
#[derive(Debug)]
pub(super) struct Request {
    asked: AtomicU64,
    answered: AtomicU64,
}

impl Request {
    pub const fn new() -> Self {
        Self { asked: AtomicU64::new(0), answered: AtomicU64::new(0) }
    }

    /// Asks once more. How far the answers must come.
    pub fn ask(&self) -> u64 {
        self.asked.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// How far the answers have come.
    pub fn answers(&self) -> u64 {
        self.answered.load(Ordering::Acquire)
    }

    pub fn is_answered(&self, ticket: u64) -> bool {
        self.answers() >= ticket
    }

    /// Does what was asked since the last answer, if anything was. By the CPU that is asked, with interrupts masked.
    pub fn answer(&self, act: impl FnOnce()) {
        let asked = self.asked.load(Ordering::Acquire);
        if asked != self.answered.load(Ordering::Relaxed) {
            act();
            self.answered.store(asked, Ordering::Release);
        }
    }
}
