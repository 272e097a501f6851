//! Reclaim in the background: what a kernel does in its idle time so that requests need not wait for shrinkers (Linux:
//! `kswapd`, `balance_pgdat`).
//!
//! A request that finds no zone above its `low` mark says so, by [`low_memory`](crate::cpu::Hooks::low_memory), and goes on.
//! Some CPU that has nothing better to do then brings every zone above its `high` mark: between the two marks lies what is
//! allocated until the next time.

use crate::sync::atomic::Ordering::Relaxed;

use super::reclaim::ROUNDS;
use super::{Call, Cpu, PageAllocator};
use crate::frame::{Gfp, ZoneKind};

impl<C: Cpu> PageAllocator<'_, C> {
    /// Whether every zone has more free frames than its `high` mark says: [`balance`](Self::balance) has nothing to do.
    pub fn is_balanced(&self) -> bool {
        self.shortage() == 0
    }

    /// Gives what CPUs' pages hold back to the zones, and then asks shrinkers for memory, until every zone is above its `high`
    /// mark, or they have nothing left, or what they give does not help. Returns how many frames they gave: if none, to ask
    /// again is of no use before somebody has freed memory.
    ///
    /// For a task, or a CPU that idles, after [`low_memory`](crate::cpu::Hooks::low_memory); not for interrupt handlers, nor with a
    /// lock held.
    pub fn balance(&self) -> u64 {
        self.recorded(Call::Balance, |&given| Some(given), || self.balance_zones())
    }

    fn balance_zones(&self) -> u64 {
        if self.is_balanced() {
            return 0;
        }
        self.begin(0, Gfp::WAIT);
        self.balances.fetch_add(1, Relaxed);
        self.drain();
        let (mut given, mut in_vain) = (0_u64, 0);
        let mut shortage = self.shortage();
        while shortage > 0 && in_vain < ROUNDS {
            match self.shrink(shortage, &self.background) {
                0 => break,
                frames => given = given.saturating_add(frames),
            }
            // Shrinkers freed into this CPU's pages.
            self.drain_own();
            let before = core::mem::replace(&mut shortage, self.shortage());
            in_vain = if shortage < before { 0 } else { in_vain + 1 };
        }
        given
    }

    /// The frames that zones lack of being above their `high` marks.
    fn shortage(&self) -> u64 {
        let of_zone = |kind| {
            let zone = self.zone(kind);
            if zone.managed == 0 { 0 } else { (zone.watermarks.high + 1).saturating_sub(zone.free) }
        };
        ZoneKind::ALL.into_iter().map(of_zone).sum()
    }
}
