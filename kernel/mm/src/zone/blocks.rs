//! A zone as a sequence of blocks: what reports and checkers read.

use super::states::Unity;
use super::{Zone, is_lower_half};
use crate::frame::{Mobility, Order, PAGEBLOCK_FRAMES, Pfn};

/// What a block is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum BlockState {
    /// Free: as large as it can be, since its buddy is not free.
    Free,
    /// Allocated, with this order. Frames that a CPU's arena holds for the next request count as allocated.
    Allocated,
    /// Free, in a word of which a CPU's arena is to take the frames.
    Cached,
    /// Reserved. Reserved frames have no blocks: they come in aligned pieces of their own.
    Reserved,
}

/// An aligned power-of-two piece of a zone, as it is at the moment.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct BlockInfo {
    /// The block's first frame.
    pub pfn: Pfn,
    /// The block's size.
    pub order: Order,
    /// What the block is.
    pub state: BlockState,
    /// The mobility of the pageblock that it starts in.
    pub mobility: Mobility,
}

impl Zone<'_> {
    /// Every block of the zone, in ascending order.
    pub fn blocks(&self) -> impl Iterator<Item = BlockInfo> + '_ {
        (0..self.summaries.len()).flat_map(|pageblock| self.blocks_of(pageblock))
    }

    pub(super) fn blocks_of(&self, pageblock: usize) -> impl Iterator<Item = BlockInfo> + '_ {
        let summary = &self.summaries[pageblock];
        let start = self.states.start_of(pageblock);
        let whole = match self.states.unity(pageblock) {
            Unity::Split => None,
            Unity::Reserved => Some((Order::PAGEBLOCK, BlockState::Reserved)),
            Unity::Allocated => Some((Order::PAGEBLOCK, BlockState::Allocated)),
            Unity::LowerHalf | Unity::UpperHalf => Some((Order::MAX, BlockState::Allocated)),
            Unity::Free => summary.largest().map(|order| (order, BlockState::Free)),
        };
        let mut offset = 0;
        core::iter::from_fn(move || {
            if u64::from(offset) == PAGEBLOCK_FRAMES {
                return None;
            }
            let (order, state) = match whole {
                // The lower half spoke for both.
                Some((Order::MAX, _)) if !is_lower_half(pageblock) => return None,
                Some(whole) => whole,
                None => self.states.block_at(pageblock, offset)?,
            };
            let pfn = start.offset(offset.into());
            offset = (offset + order.frames() as u32).min(PAGEBLOCK_FRAMES as u32);
            Some(BlockInfo { pfn, order, state, mobility: summary.mobility() })
        })
    }
}
