//! Which refused requests are reported.

use crate::sync::atomic::Ordering::Relaxed;

use super::zonelist::Request;
use super::{AllocError, Cpu, PageAllocator};
use crate::frame::{Gfp, ZoneKind};

/// Milliseconds between two reports.
const INTERVAL: u64 = 10_000;

impl<C: Cpu> PageAllocator<'_, C> {
    /// Counts a refusal, and reports it unless the request wants none or another was reported within ten seconds: the next report
    /// says how many were not.
    #[cold]
    pub(super) fn refuse(&self, request: &Request) {
        self.refused.fetch_add(1, Relaxed);
        if request.gfp.contains(Gfp::NOWARN) {
            return;
        }
        // A report counts what is free, which settles it, and whether there is one depends on the time. A replay does not have the time,
        // so the state must not depend on the report.
        for kind in ZoneKind::ALL {
            self.with(kind, |zone| zone.stats());
        }
        let now = C::uptime().as_millis() as u64 + 1;
        let last = self.reported.load(Relaxed);
        let due = last == 0 || now.saturating_sub(last) >= INTERVAL;
        // Of two CPUs that are refused at once, one reports.
        if due && self.reported.compare_exchange(last, now, Relaxed, Relaxed).is_ok() {
            C::report(&Failure {
                frames: self,
                suppressed: self.suppressed.swap(0, Relaxed),
                error: AllocError::OutOfMemory { order: request.order, gfp: request.gfp },
            });
        } else {
            self.suppressed.fetch_add(1, Relaxed);
        }
    }
}

/// A refused request. What is said of it is written when it is shown, by [`report`](crate::report).
pub(crate) struct Failure<'a, 'm, C> {
    pub(crate) frames: &'a PageAllocator<'m, C>,
    /// Refusals since the last report that would have had one.
    pub(crate) suppressed: u64,
    pub(crate) error: AllocError,
}
