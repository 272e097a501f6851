//! Requests for frames that are refused when their turn comes.

use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

#[cfg(doc)]
use crate::cpu::Hooks;

/// Which requests for frames are to be refused: so many are served, then so many are refused, and all behind those are served again.
/// With it, [`Hooks::should_fail`] is [`is_due`](Self::is_due) (Linux: `fail_page_alloc`).
///
/// ```
/// use bifolio::cpu::Hooks;
/// use bifolio::frame::Gfp;
/// use bifolio::sync::Faults;
///
/// static FAULTS: Faults = Faults::new();
///
/// struct Processor;
/// impl Hooks for Processor {
///     fn should_fail(_: u64, _: Gfp) -> bool {
///         FAULTS.is_due()
///     }
/// }
///
/// FAULTS.begin(2, 1);
/// let refused: Vec<_> = (0..5).map(|_| Processor::should_fail(1, Gfp::KERNEL)).collect();
/// assert_eq!(refused, [false, false, true, false, false]);
/// assert_eq!(FAULTS.end(), 1);
/// ```
#[derive(Debug, Default)]
pub struct Faults {
    /// How many requests are served before one is refused.
    served: AtomicUsize,
    /// How many are refused from then on.
    due: AtomicUsize,
    /// How many were.
    refused: AtomicUsize,
}

impl Faults {
    /// Nothing is refused.
    pub const fn new() -> Self {
        Self { served: AtomicUsize::new(0), due: AtomicUsize::new(0), refused: AtomicUsize::new(0) }
    }

    /// From now on, serves `served` requests and then refuses as many as `refused`.
    pub fn begin(&self, served: usize, refused: usize) {
        self.end();
        self.served.store(served, Relaxed);
        self.due.store(refused, Relaxed);
    }

    /// Refuses nothing any more, and returns how many requests were refused since it [began](Self::begin).
    pub fn end(&self) -> usize {
        self.due.store(0, Relaxed);
        self.refused.swap(0, Relaxed)
    }

    /// Whether the request that begins now is to be refused.
    pub fn is_due(&self) -> bool {
        let take = |count: &AtomicUsize| count.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_ok();
        let is_due = self.due.load(Relaxed) > 0 && !take(&self.served) && take(&self.due);
        self.refused.fetch_add(is_due.into(), Relaxed);
        is_due
    }
}
