//! What has happened since boot, counted where it costs nothing: under a lock, or on a slow path.

use crate::sync::atomic::Ordering::Relaxed;

use super::{Cpu, View};
use crate::frame::ZoneKind;
use crate::zone::ZoneStats;

/// How the allocator stands and what it has done since boot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Stats {
    /// Each zone, lowest first.
    pub zones: [ZoneStats; ZoneKind::COUNT],
    /// Free frames that CPUs' pages hold.
    pub cached: u64,
    /// Requests that came to the slow path and could wait, by the highest zone they could use (Linux: `allocstall`).
    pub stalls: [u64; ZoneKind::COUNT],
    /// Times that all CPUs' pages were emptied, on demand or for want of memory.
    pub drains: u64,
    /// Frames that shrinkers were asked for by requests (Linux: `pgscan_direct`).
    pub scanned: u64,
    /// Frames that shrinkers gave back to requests (Linux: `pgsteal_direct`).
    pub reclaimed: u64,
    /// Times that [`balance`](super::PageAllocator::balance) had something to do (Linux: `pageoutrun`).
    pub balances: u64,
    /// Frames that shrinkers were asked for by it (Linux: `pgscan_kswapd`).
    pub background_scanned: u64,
    /// Frames that shrinkers gave back to it (Linux: `pgsteal_kswapd`).
    pub background_reclaimed: u64,
    /// Requests that were refused.
    pub refused: u64,
    /// Double frees that were noticed only when the block's loan ended: see [`View::late_double_frees`].
    pub late_double_frees: u64,
    /// Blocks that had been freed by somebody else when their [handle](super::OwnedFrames) was dropped.
    pub bad_drops: u64,
}

impl<C: Cpu> View<'_, C> {
    /// How the allocator stands, and what it has done since boot. A snapshot: other CPUs go on meanwhile.
    pub fn stats(&self) -> Stats {
        let [scanned, reclaimed] = self.direct.each_ref().map(|frames| frames.load(Relaxed));
        let [background_scanned, background_reclaimed] = self.background.each_ref().map(|frames| frames.load(Relaxed));
        Stats {
            zones: ZoneKind::ALL.map(|kind| self.zone(kind)),
            cached: self.cached(),
            stalls: self.stalls.each_ref().map(|count| count.load(Relaxed)),
            drains: self.drains.load(Relaxed),
            scanned,
            reclaimed,
            balances: self.balances.load(Relaxed),
            background_scanned,
            background_reclaimed,
            refused: self.refused.load(Relaxed),
            late_double_frees: self.late_double_frees(),
            bad_drops: self.bad_drops.load(Relaxed),
        }
    }
}
