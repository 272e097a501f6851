//! Shrinkers: caches and the like, which can give memory back when it is short.
//!
//! A cache holds memory that it could do without. It says so once, and a request that is about to be refused, and may
//! wait, asks it for some (Linux: shrinkers, in direct reclaim).

use super::record::done;
use super::{Call, Cpu, PageAllocator, SetupError};
use crate::sync::atomic::{AtomicU64, Ordering::Relaxed};

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

/// The shrinkers that there are.
pub(super) type Shrinkers<'m> = [Option<&'m dyn Shrinker>; SHRINKERS];

/// Frames that shrinkers were asked for, and those that they gave.
pub(super) type Reclaimed = [AtomicU64; 2];

/// No offset, since no frame begins there. (The heap of a small region has every word less that its page allocator has.)
pub(super) const NOWHERE: u64 = u64::MAX;

impl<'m, C: Cpu> PageAllocator<'m, C> {
    /// Adds a shrinker, to be asked for memory when that is short. They are asked in the order in which they were added.
    ///
    /// # Errors
    /// [`SetupError::TooManyShrinkers`] if there is no room for one more.
    pub fn add_shrinker(&self, shrinker: &'m dyn Shrinker) -> Result<(), SetupError> {
        let add = |shrinkers: &mut Shrinkers<'m>| {
            let free = shrinkers.iter_mut().find(|slot| slot.is_none()).ok_or(SetupError::TooManyShrinkers)?;
            *free = Some(shrinker);
            Ok(())
        };
        self.recorded(Call::AddShrinker, done, || self.shrinkers.with(add))
    }

    /// Takes a shrinker out again, and says whether it was there. A call that another CPU has begun may still go on.
    pub fn remove_shrinker(&self, shrinker: &dyn Shrinker) -> bool {
        let same = |other: &mut &'m dyn Shrinker| core::ptr::addr_eq(*other, shrinker);
        let remove = |shrinkers: &mut Shrinkers<'m>| shrinkers.iter_mut().any(|slot| slot.take_if(same).is_some());
        self.recorded(Call::RemoveShrinker, |&found: &bool| Some(found.into()), || self.shrinkers.with(remove))
    }

    /// Asks the shrinkers for memory until they have given so many frames, or a few more, and counts that. How many frames
    /// they gave: none inside of a shrinker.
    pub(super) fn shrink(&self, frames: u64, [scanned, reclaimed]: &Reclaimed) -> u64 {
        let own = C::without_interrupts(|| 1 << (C::current() % 64));
        if self.shrinking.fetch_or(own, Relaxed) & own != 0 {
            return 0;
        }
        let wanted = frames.max(CLUSTER);
        let mut given = 0_u64;
        for slot in 0..SHRINKERS {
            let shrinker = self.shrinkers.with(|shrinkers| shrinkers[slot]);
            if let Some(shrinker) = shrinker.filter(|_| given < wanted) {
                scanned.fetch_add(wanted - given, Relaxed);
                given = given.saturating_add(self.ask_shrinker(wanted - given, || shrinker.shrink(wanted - given)));
            }
        }
        self.shrinking.fetch_and(!own, Relaxed);
        reclaimed.fetch_add(given, Relaxed);
        given
    }
}
