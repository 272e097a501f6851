//! How a zone stands, and what its free memory is in pieces of: for reports.

use super::{BlockState, Fallbacks, FreeBlocks, State, Watermarks, Zone};
use crate::frame::{Pfn, ZoneKind};

/// How a zone stands, in frames.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct ZoneStats {
    /// Which zone.
    pub kind: ZoneKind,
    /// The zone's first frame of RAM; 0 in an empty zone.
    pub start: Pfn,
    /// Frames from the first of RAM to the last, holes included.
    pub spanned: u64,
    /// Frames of RAM.
    pub present: u64,
    /// Frames that were given to the allocator.
    pub managed: u64,
    /// Frames that are free, those that are kept for pressing requests among them.
    pub free: u64,
    /// Frames that are free in isolated pageblocks, and that nobody can allocate.
    pub isolated: u64,
    /// Free frames in HighAtomic pageblocks, which are for pressing requests.
    pub free_highatomic: u64,
    /// Frames of HighAtomic pageblocks.
    pub reserved_highatomic: u64,
    /// Frames that have left the zone since boot: allocated, or lent to a CPU's pages. What those hand out and take back in
    /// between is not seen here.
    pub allocated: u64,
    /// Frames that have come back to the zone since boot.
    pub freed: u64,
    /// The zone's watermarks.
    pub watermarks: Watermarks,
    /// Frames kept from a request that could use each zone, by that zone (Linux: `lowmem_reserve`).
    pub protection: [u64; ZoneKind::COUNT],
    /// How often requests were served from pageblocks of another mobility.
    pub fallbacks: Fallbacks,
}

impl Zone<'_> {
    /// How the zone stands.
    pub(crate) fn stats(&mut self) -> ZoneStats {
        self.settle_all();
        ZoneStats {
            kind: self.kind,
            start: self.extent.start,
            spanned: self.extent.spanned,
            present: self.extent.present,
            managed: self.managed,
            free: self.counts.free + self.counts.free_highatomic,
            watermarks: self.watermarks,
            protection: self.protection,
            isolated: self.counts.isolated,
            free_highatomic: self.counts.free_highatomic,
            reserved_highatomic: self.counts.reserved_highatomic,
            allocated: self.allocated,
            // What was allocated and is not any more.
            freed: self.allocated + self.counts.free + self.counts.free_highatomic + self.counts.isolated
                - self.managed,
            fallbacks: self.fallbacks,
        }
    }

    /// What the free memory is in pieces of: a walk over the pageblocks, for reports.
    pub(crate) fn free_blocks(&self) -> FreeBlocks {
        let mut count = FreeBlocks::default();
        for number in 0..self.blocks.count() {
            let header = self.blocks.peek(number);
            if !header.is_split() && self.wholes.state(number) == State::Lower {
                continue;
            }
            let mobility = header.mobility().index();
            count.pageblocks[mobility] += 1;
            for block in self.blocks_of(number).filter(|block| block.state == BlockState::Free) {
                count.blocks[mobility][block.order.index()] += 1;
            }
        }
        count
    }
}
