//! How a zone stands, and what its free memory is in pieces of: for reports.

use super::mobility::Fallbacks;
use super::{BlockState, FreeBlocks, Watermarks, Zone};
use crate::frame::{Mobility, Pfn, PfnRange, ZoneKind};

/// How a zone stands, in frames.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
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
    pub(super) fallbacks: Fallbacks,
}

impl ZoneStats {
    /// Those of the zone that has the frames of a range, none of which are the allocator's yet.
    pub(super) fn new(kind: ZoneKind, range: PfnRange, ram: impl Iterator<Item = PfnRange>) -> Self {
        let mut stats = Self { kind, ..Self::default() };
        for part in ram.map(|part| part.intersection(range)).filter(|part| !part.is_empty()) {
            if stats.present == 0 {
                stats.start = part.start;
            }
            stats.present += part.frames();
            stats.spanned = part.end.number() - stats.start.number();
        }
        stats
    }

    /// The count of what is free in pageblocks of this mobility, and in no others.
    #[inline(always)]
    pub(super) fn count_of(&mut self, mobility: Mobility) -> &mut u64 {
        match mobility {
            Mobility::Isolate => &mut self.isolated,
            Mobility::HighAtomic => &mut self.free_highatomic,
            _ => &mut self.free,
        }
    }
}

impl Zone<'_> {
    /// How the zone stands, once it has looked at all that became free.
    pub(crate) fn stats(&mut self) -> ZoneStats {
        self.settle_all();
        let ZoneStats { managed, isolated, allocated, .. } = self.stats;
        let free = self.free_for(true);
        // What was allocated and is not any more.
        ZoneStats { free, freed: allocated + free + isolated - managed, ..self.stats }
    }

    /// What the free memory is in pieces of: a walk over the pageblocks, for reports.
    pub(crate) fn free_blocks(&self) -> FreeBlocks {
        let mut count = FreeBlocks::default();
        for number in 0..self.blocks.count() {
            let header = self.blocks.peek(number);
            if !header.is_split() && self.wholes.block_of(number).is_none() {
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
