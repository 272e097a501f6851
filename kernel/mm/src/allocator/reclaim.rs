//! Shrinkers: caches and the like, which can give memory back when it is short.
//!
//! A cache holds memory that it could do without. It says so once, and a request that is about to be refused, and may
//! wait, asks it for some (Linux: shrinkers, in direct reclaim).

use super::record::done;
use super::{Call, Cpu, PageAllocator, SetupError};
use crate::frame::ZoneKind;
use crate::hardening::Switches;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// How many shrinkers there can be.
pub(super) const SHRINKERS: usize = 16;
/// Frames that a shrinker is asked for at least, so that the next request need not come again at once (Linux:
/// `SWAP_CLUSTER_MAX`).
const CLUSTER: u64 = 32;
/// How often shrinkers are asked for one request, as long as they have something to give (Linux:
/// `MAX_RECLAIM_RETRIES`).
pub(super) const ROUNDS: u32 = 16;

/// Something that holds page frames which it could do without.
///
/// Called by requests that may wait, and that would be refused otherwise, and by [`balance`](PageAllocator::balance) in the
/// background: with no lock of the allocator's held, so that it may free and even allocate frames. A request made inside calls
/// no shrinker again. Several CPUs may call at once.
pub trait Shrinker: Sync {
    /// Frees about this many frames, and returns how many it was. None means that there is nothing left to give.
    fn shrink(&self, frames: u64) -> u64;
}

/// Frames that shrinkers were asked for, and those that they gave.
pub(super) type Reclaimed = [AtomicU64; 2];

/// No offset, since no frame begins there. (The heap of a small region has every word less that its page allocator has.)
pub(super) const NOWHERE: u64 = u64::MAX;

/// What the slow path knows from one request to the next.
pub(super) struct SlowPath<'m, C> {
    /// Whether requests that may use any zone are first to be served without mixing mobilities. As in Linux that is so
    /// where zone Normal has memory.
    pub unmixed_first: bool,
    /// What is added to a physical address for the one at which frames are zeroed; [`NOWHERE`] if that is the kernel's own business.
    pub seen_at: u64,
    /// What is done beside serving requests and frees.
    pub hardening: Switches,
    shrinkers: Mutex<[Option<&'m dyn Shrinker>; SHRINKERS], C>,
    /// The CPUs that are inside a shrinker, a bit each, modulo 64.
    shrinking: AtomicU64,
    /// Requests that came to the slow path and could wait, by the highest zone they could use.
    pub stalls: [AtomicU64; ZoneKind::COUNT],
    /// Times that all CPUs' pages were emptied.
    pub drains: AtomicU64,
    /// What requests got from shrinkers.
    pub direct: Reclaimed,
    /// What [`PageAllocator::balance`] got from them.
    pub background: Reclaimed,
    /// Times that that had something to do.
    pub balances: AtomicU64,
    /// Requests that were refused.
    pub refused: AtomicU64,
    /// Milliseconds of uptime plus one at which the last refusal was reported; 0 before the first.
    pub reported: AtomicU64,
    /// Refusals since then that were not reported for that.
    pub suppressed: AtomicU32,
    /// Blocks that somebody else had freed when their handle was dropped.
    pub bad_drops: AtomicU64,
}

impl<C: Cpu> SlowPath<'_, C> {
    pub(super) fn new(unmixed_first: bool) -> Self {
        Self {
            unmixed_first,
            seen_at: NOWHERE,
            hardening: Switches::off(),
            shrinkers: Mutex::new("shrinkers", [None; SHRINKERS]),
            shrinking: AtomicU64::new(0),
            stalls: Default::default(),
            drains: AtomicU64::new(0),
            direct: Default::default(),
            background: Default::default(),
            balances: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            reported: AtomicU64::new(0),
            suppressed: AtomicU32::new(0),
            bad_drops: AtomicU64::new(0),
        }
    }

    #[cfg(bifolio_loom)]
    pub(super) fn prime(&self) {
        use crate::sync::atomic::prime;
        self.stalls.iter().for_each(|stalls| prime!(stalls));
        self.direct.iter().chain(&self.background).for_each(|frames| prime!(frames));
        prime!(
            self.shrinking,
            self.balances,
            self.drains,
            self.refused,
            self.reported,
            self.suppressed,
            self.bad_drops
        );
        self.hardening.prime();
    }

    #[cold]
    pub(super) fn count_bad_drop(&self) {
        self.bad_drops.fetch_add(1, Relaxed);
    }
}

impl<'m, C: Cpu> PageAllocator<'m, C> {
    /// Adds a shrinker, to be asked for memory when that is short. They are asked in the order in which they were added.
    ///
    /// # Errors
    /// [`SetupError::TooManyShrinkers`] if there is no room for one more.
    pub fn add_shrinker(&self, shrinker: &'m dyn Shrinker) -> Result<(), SetupError> {
        let add = |shrinkers: &mut [Option<&'m dyn Shrinker>; SHRINKERS]| {
            let free = shrinkers.iter_mut().find(|slot| slot.is_none()).ok_or(SetupError::TooManyShrinkers)?;
            *free = Some(shrinker);
            Ok(())
        };
        self.recorded(Call::AddShrinker, done, || self.slow.shrinkers.with(add))
    }

    /// Takes a shrinker out again, and says whether it was there. A call that another CPU has begun may still go on.
    pub fn remove_shrinker(&self, shrinker: &dyn Shrinker) -> bool {
        let same = |other: &mut &'m dyn Shrinker| core::ptr::addr_eq(*other, shrinker);
        let remove = |shrinkers: &mut [Option<&'m dyn Shrinker>; SHRINKERS]| {
            shrinkers.iter_mut().any(|slot| slot.take_if(same).is_some())
        };
        self.recorded(Call::RemoveShrinker, |&found: &bool| Some(found.into()), || self.slow.shrinkers.with(remove))
    }

    /// Asks the shrinkers for memory until they have given so many frames, or a few more, and counts that. How many frames
    /// they gave: none inside of a shrinker.
    pub(super) fn shrink(&self, frames: u64, [scanned, reclaimed]: &Reclaimed) -> u64 {
        let slow = &self.slow;
        let own = C::without_interrupts(|| 1 << (C::current() % 64));
        if slow.shrinking.fetch_or(own, Relaxed) & own != 0 {
            return 0;
        }
        let wanted = frames.max(CLUSTER);
        let mut given = 0_u64;
        for slot in 0..SHRINKERS {
            let shrinker = slow.shrinkers.with(|shrinkers| shrinkers[slot]);
            if let Some(shrinker) = shrinker.filter(|_| given < wanted) {
                scanned.fetch_add(wanted - given, Relaxed);
                given = given.saturating_add(self.ask_shrinker(wanted - given, || shrinker.shrink(wanted - given)));
            }
        }
        slow.shrinking.fetch_and(!own, Relaxed);
        reclaimed.fetch_add(given, Relaxed);
        given
    }
}
