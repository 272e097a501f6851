//! Which CPUs run.

use super::local::MAX_CPUS;
use core::sync::atomic::{AtomicU64, Ordering};

/// The CPUs that run, a bit each.
static ONLINE: AtomicU64 = AtomicU64::new(1);

/// The CPUs that run, in ascending order.
pub fn online() -> impl Iterator<Item = usize> + Clone {
    let online = ONLINE.load(Ordering::SeqCst);
    (0..MAX_CPUS).filter(move |cpu| online >> cpu & 1 == 1)
}

/// Whether a CPU runs.
pub fn is_online(cpu: usize) -> bool {
    cpu < MAX_CPUS && ONLINE.load(Ordering::SeqCst) >> cpu & 1 == 1
}

/// How many CPUs run.
pub fn count() -> usize {
    online().count()
}

/// A CPU runs from now on, or does no more.
pub(crate) fn set_online(cpu: usize, online: bool) {
    if online {
        ONLINE.fetch_or(1 << cpu, Ordering::SeqCst);
    } else {
        ONLINE.fetch_and(!(1 << cpu), Ordering::SeqCst);
    }
}
