//! A look at a single frame.

use super::{BlockInfo, State, Zone};
use crate::frame::{Mobility, PAGEBLOCK_FRAMES, Pfn, PfnRange};

/// What is known of a pageblock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct PageblockInfo {
    /// Its first frame.
    pub start: Pfn,
    /// What it is for: [`Mobility::Isolate`] while it is isolated.
    pub mobility: Mobility,
    /// What it is for when it is not isolated.
    pub own_mobility: Mobility,
    /// Frames that are free, and not held by a CPU's pages.
    pub free: u64,
    /// It is free, in use or reserved in one piece, alone or together with its buddy.
    pub is_whole: bool,
}

impl Zone<'_> {
    /// The block that a frame is in, and its pageblock; `None` where the zone has no RAM.
    pub(crate) fn look_at(&self, pfn: Pfn) -> Option<(BlockInfo, PageblockInfo)> {
        let (number, _) = self.blocks.locate(pfn)?;
        let around = |number| self.blocks_of(number).find(|block| PfnRange::of(block.pfn, block.order).contains(pfn));
        // Of a block of two pageblocks the first speaks for both.
        let block = around(number).or_else(|| around(number & !1))?;
        let (header, states) = self.blocks.snapshot(number);
        let free = match self.wholes.state(number) {
            _ if header.is_split() => states.free.iter().map(|free| u64::from(free.count_ones())).sum(),
            State::Free(_) => PAGEBLOCK_FRAMES,
            _ => 0,
        };
        let pageblock = PageblockInfo {
            start: self.blocks.start_of(number),
            mobility: header.mobility(),
            own_mobility: header.own_mobility(),
            free,
            is_whole: !header.is_split(),
        };
        Some((block, pageblock))
    }
}
