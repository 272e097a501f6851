//! What a zone would do, by the same decisions and without the deed.

use super::mobility::{Fallback, Mixing};
use super::{WORTH_LENDING, Watermarks, Zone};
use crate::buddy::{self, WORD_FRAMES};
use crate::frame::{Mobility, Order, PAGEBLOCK_FRAMES, Pfn};

/// Where a zone would take a block from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Choice {
    /// The first frame of the pageblock.
    pub pageblock: Pfn,
    /// Its mobility, if that is not the request's, and the way in which it serves that all the same. Otherwise its largest free
    /// block is the smallest sufficient one.
    pub other: Option<(Fallback, Mobility)>,
    /// The free block that the request's block is part of, and its order.
    pub from: (Pfn, Order),
    /// The block that the request would get.
    pub pfn: Pfn,
    /// How many blocks would be lent together; 1 for a block that is allocated alone.
    pub lent: u32,
}

/// A test of a watermark.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct MarkTest {
    /// Frames that are free for the request.
    pub free: u64,
    /// Frames that it is about.
    pub frames: u64,
    /// The watermark.
    pub mark: u64,
    /// What is kept from requests that could use a higher zone.
    pub reserve: u64,
}

impl MarkTest {
    /// Whether the request may take its frames.
    pub fn is_passed(&self) -> bool {
        Watermarks::admit_frames(self.free, self.frames, self.mark, self.reserve)
    }

    /// How many more frames would have to be free.
    pub fn lacks(&self) -> u64 {
        (self.frames + self.mark + self.reserve).saturating_sub(self.free)
    }
}

impl Zone<'_> {
    /// The test that [`Zone::admits`] makes, once the zone has looked at all that became free.
    pub(crate) fn test(&self, frames: u64, mark: u64, reserve: u64, reserves_too: bool) -> MarkTest {
        let free = self.counts.free + if reserves_too { self.counts.free_highatomic } else { 0 };
        MarkTest { free, frames, mark, reserve }
    }

    /// The largest free block that the zone has, for any request.
    pub(crate) fn largest(&self) -> Option<Order> {
        let has = |order: &Order| {
            Mobility::REQUESTED.iter().any(|kind| {
                if *order >= Order::PAGEBLOCK {
                    self.wholes.holds(*order, *kind)
                } else {
                    self.index.filled(*kind) >> order.get() & 1 == 1
                }
            })
        };
        Order::all().rev().find(has)
    }

    /// Where the zone would take a block from, which must have looked at all that became free. Without `mixing`, only from
    /// pageblocks of the own mobility and from those that can become such as a whole.
    pub(crate) fn choose(&self, order: Order, mobility: Mobility, mixing: Mixing, batch: bool) -> Option<Choice> {
        let own = self.find_own(order, mobility).map(|number| (number, None));
        let (number, other) = own.or_else(|| {
            let (way, kind, number) = self.choose_foreign(order, mobility, mixing)?;
            Some((number, Some((way, kind))))
        })?;
        Some(self.choose_in(number, other, order, batch))
    }

    /// Where the zone would take a block from that it keeps for pressing requests.
    pub(crate) fn choose_highatomic(&self, order: Order) -> Option<Choice> {
        let number = self.find_own(order, Mobility::HighAtomic)?;
        Some(self.choose_in(number, None, order, false))
    }

    /// Which block of a pageblock it would be.
    fn choose_in(&self, number: usize, other: Option<(Fallback, Mobility)>, order: Order, batch: bool) -> Choice {
        let start = self.blocks.start_of(number);
        let (mut offset, mut lent, mut free) = (0, 1, u64::MAX);
        let header = self.blocks.peek(number);
        if header.is_split() && order < Order::PAGEBLOCK {
            let block = self.blocks.lock(number);
            offset = block.choose(order);
            free = block.word((offset / WORD_FRAMES) as usize).free();
        }
        let frames = if header.is_split() { header.free() } else { PAGEBLOCK_FRAMES as u32 };
        if batch && frames >= WORTH_LENDING[order.index()] {
            let heads = buddy::starts(free, order.get().into());
            lent = heads.count_ones();
            offset = offset / WORD_FRAMES * WORD_FRAMES + heads.trailing_zeros();
        }
        let pfn = start.offset(offset.into());
        let from = self.block_around(number, pfn).map_or((pfn, order), |block| (block.pfn, block.order));
        Choice { pageblock: start, other, from, pfn, lent }
    }

    /// Whether a frame is the first of a free block of this order, which would merge with one of this mobility.
    pub(crate) fn merges(&self, buddy: Pfn, order: Order, mobility: Mobility) -> bool {
        let Some((number, _)) = self.blocks.locate(buddy) else { return false };
        let other = self.blocks.peek(number).mobility();
        let both = other == mobility || mobility.is_mergeable() && other.is_mergeable();
        (order < Order::PAGEBLOCK || both)
            && self
                .block_around(number, buddy)
                .is_some_and(|block| (block.pfn, block.order, block.state) == (buddy, order, super::BlockState::Free))
    }

    /// Whether a block that is freed in a frame's pageblock is kept by the CPU that frees it, if that has room; and the
    /// pageblock's mobility.
    pub(crate) fn is_nearly_full(&self, pfn: Pfn) -> Option<(bool, Mobility)> {
        let (number, _) = self.blocks.locate(pfn)?;
        let header = self.blocks.peek(number);
        Some((header.nearly_full().is_some(), header.mobility()))
    }
}
