//! What a CPU with nothing to do does for memory (Linux: `kswapd`, and the decay of per-CPU pagesets).
//!
//! A request that finds every zone at its `low` mark is served all the same, out of what is kept below, and wakes a CPU that
//! sleeps: that one has the shrinkers give memory back until every zone is above `high`, so that no request comes so far
//! that it has to wait for them. And a CPU that has done nothing for a while gives back what its pages and its arena of the
//! heap hold, which nobody else can make a larger block of.
//!
//! There are no threads: all of it is done where a CPU would else halt. One that is at work for long is not disturbed; if
//! all are, requests that may wait reclaim for themselves.

use super::frames::try_frames;
use super::heap::HEAP;
use super::{record, vmalloc};
use crate::arch::local::{self, MAX_CPUS};
use crate::arch::{clock, timer};
use crate::cpu::given::IdleWork;
use crate::cpu::work;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use core::time::Duration;

/// How long a CPU is idle before its pages are looked at, and again after each look that found them used (Linux:
/// `vm.stat_interval`).
pub const DECAY: Duration = Duration::from_secs(1);
/// How long nobody is woken for memory after there was none to reclaim.
const HOPELESS: Duration = Duration::from_millis(100);

/// A request has found no zone above its low mark.
static WANTED: AtomicBool = AtomicBool::new(false);
/// A CPU is at it.
static BALANCING: AtomicBool = AtomicBool::new(false);
/// The uptime, in nanoseconds, before which reclaiming is known to be of no use.
static HOPELESS_UNTIL: AtomicU64 = AtomicU64::new(0);

/// The uptime, in nanoseconds, at which each CPU's pages are looked at next; 0 if they are empty.
static DUE: [AtomicU64; MAX_CPUS] = [const { AtomicU64::new(0) }; MAX_CPUS];

fn nanoseconds(time: Duration) -> u64 {
    time.as_nanos() as u64
}

/// Memory is low: has a CPU that sleeps reclaim some. In any context.
pub(super) fn wake() {
    if WANTED.load(Ordering::Relaxed)
        || nanoseconds(clock::uptime()) < HOPELESS_UNTIL.load(Ordering::Relaxed)
        || WANTED.swap(true, Ordering::SeqCst)
    {
        return;
    }
    work::wake_idle();
}

/// What is done here, as CPUs are given it.
pub(super) struct Idle;

impl IdleWork for Idle {
    fn is_due(&self) -> bool {
        is_due()
    }

    fn run(&self) -> bool {
        let was_due = is_due();
        vmalloc::free_deferred();
        balance();
        decay();
        record::flush();
        was_due
    }

    fn set_alarm(&self) {
        if let Some(time) = until_decay() {
            timer::set_alarm_unless_periodic(time);
        }
    }

    fn postpone(&self) {
        postpone_decay();
    }
}

/// Whether an idle CPU has something to do here now.
fn is_due() -> bool {
    WANTED.load(Ordering::SeqCst) && !BALANCING.load(Ordering::SeqCst)
        || vmalloc::is_deferred()
        || until_decay().is_some_and(|time| time.is_zero())
}

/// Reclaims memory if it was asked for and nobody else is at it.
fn balance() {
    let Some(frames) = try_frames() else { return };
    if !WANTED.load(Ordering::Relaxed) || BALANCING.swap(true, Ordering::SeqCst) {
        return;
    }
    WANTED.store(false, Ordering::SeqCst);
    if frames.balance() == 0 && !frames.is_balanced() {
        HOPELESS_UNTIL.store(nanoseconds(clock::uptime() + HOPELESS), Ordering::Relaxed);
    }
    BALANCING.store(false, Ordering::SeqCst);
    // Whoever was woken for a request that came meanwhile found this CPU at it, and sleeps again. This one may find other work
    // before it comes back.
    if WANTED.load(Ordering::SeqCst) {
        work::wake_idle();
    }
}

/// The CPU that runs this has had something to do: its pages stay as they are for some time.
pub fn postpone_decay() {
    DUE[local::current()].store(nanoseconds(clock::uptime() + DECAY), Ordering::Relaxed);
}

/// How long it is until this CPU's pages are looked at; `None` if they are empty.
fn until_decay() -> Option<Duration> {
    let due = DUE[local::current()].load(Ordering::Relaxed);
    (due != 0).then(|| Duration::from_nanos(due.saturating_sub(nanoseconds(clock::uptime()))))
}

/// Gives back what this CPU's pages and its arena of the heap hold, if it has not used the pages for some time. Without a timer
/// to wake it then, at once.
fn decay() {
    let Some(frames) = try_frames() else { return };
    let has_timer = timer::rate() > 0;
    let until = until_decay();
    if has_timer && until.is_some_and(|time| !time.is_zero()) {
        return;
    }
    if frames.decay() || !has_timer && frames.decay() {
        if until.is_some() {
            HEAP.retire_cpu();
        }
        DUE[local::current()].store(0, Ordering::Relaxed);
    } else if has_timer {
        postpone_decay();
    }
}
