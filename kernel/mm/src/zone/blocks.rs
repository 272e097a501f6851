//! A zone as a sequence of blocks: what reports and checkers read.

use super::header::Header;
use super::pageblock::{WORDS, place};
use super::pageblocks::Pageblocks;
use super::{State, Zone};
use crate::buddy::{self, WORD_FRAMES, WORD_ORDER};
use crate::frame::{Mobility, Order, PAGEBLOCK_FRAMES, Pfn};

/// What a block is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[expect(clippy::exhaustive_enums, reason = "what counts blocks counts each")]
pub enum BlockState {
    /// Free: as large as it can be, since its buddy is not free.
    Free,
    /// Allocated, with this order.
    Allocated,
    /// Held by a CPU's pages for a request of this order.
    Cached,
    /// Reserved. Reserved frames have no blocks: they come in aligned pieces of their own.
    Reserved,
}

/// An aligned power-of-two piece of a zone, as it is at the moment.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
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

/// What the words of a pageblock say at one moment.
#[derive(Clone, Copy, Default)]
pub(crate) struct Snapshot {
    /// Free frames, word by word.
    pub free: [u64; WORDS],
    /// First frames of allocated blocks, those handed out of a loan among them.
    pub allocated: [u64; WORDS],
    /// First frames of blocks that CPUs hold.
    pub cached: [u64; WORDS],
    pub reserved: [u64; WORDS],
}

impl Zone<'_> {
    /// Every block of the zone, in ascending order.
    pub(crate) fn blocks_by_address(&self) -> impl Iterator<Item = BlockInfo> + '_ {
        (0..self.blocks.count()).flat_map(|number| self.blocks_of(number))
    }

    /// The blocks of a pageblock, as they are at one moment. What is free of a pageblock that has become so as a whole, and is
    /// about to be filed, is one block of it.
    pub(super) fn blocks_of(&self, number: usize) -> impl Iterator<Item = BlockInfo> + '_ {
        let (header, states) = self.blocks.snapshot(number);
        let whole = if header.is_split() { None } else { self.whole(number) };
        let start = self.blocks.start_of(number);
        let mut offset = if whole.is_some_and(|(order, _)| order == Order::MAX && number % 2 == 1) {
            // The first of the pair spoke for both.
            PAGEBLOCK_FRAMES as u32
        } else {
            0
        };
        core::iter::from_fn(move || {
            if u64::from(offset) >= PAGEBLOCK_FRAMES {
                return None;
            }
            let (order, state) = whole.or_else(|| states.block_at(offset))?;
            let pfn = start.offset(offset.into());
            offset += order.frames() as u32;
            Some(BlockInfo { pfn, order, state, mobility: header.mobility() })
        })
    }

    /// The first frame of a pageblock, from `from` up to `to`, that is not free, or that is not reserved, whichever is asked for; and
    /// whether it is the other of the two.
    pub(super) fn first_but(&self, state: BlockState, number: usize, from: u32, to: u32) -> Option<(Pfn, BlockState)> {
        let start = self.blocks.start_of(number);
        let (header, states) = self.blocks.snapshot(number);
        if !header.is_split() {
            let found = self.whole(number).map(|(_, found)| (start.offset(from.into()), found));
            return found.filter(|(_, found)| *found != state);
        }
        buddy::parts(from as usize..to as usize).find_map(|(word, frames)| {
            let (free, reserved) = (states.free[word % WORDS], states.reserved[word % WORDS]);
            let others = frames & !if state == BlockState::Free { free } else { reserved };
            let bit = (others != 0).then(|| others.trailing_zeros())?;
            let found = if reserved >> bit & 1 == 1 { BlockState::Reserved } else { BlockState::Allocated };
            Some((start.offset(word as u64 * u64::from(WORD_FRAMES) + u64::from(bit)), found))
        })
    }

    /// The block that a pageblock is, or is part of, as a whole.
    fn whole(&self, number: usize) -> Option<(Order, BlockState)> {
        Some(match self.wholes.state(number) {
            State::Free(order) => (order, BlockState::Free),
            State::Allocated(order) => (order, BlockState::Allocated),
            State::Inside => (Order::MAX, BlockState::Allocated),
            State::Lower => (Order::PAGEBLOCK, BlockState::Reserved),
        })
    }
}

impl Pageblocks<'_> {
    /// What the words of a split pageblock say, and the header with it.
    pub(crate) fn snapshot(&self, number: usize) -> (Header, Snapshot) {
        let block = self.lock(number);
        (block.header, self.snapshot_of(&block))
    }
}

impl Snapshot {
    /// The size and state of the block that begins at `offset`; `None` inside a block.
    pub(crate) fn block_at(&self, offset: u32) -> Option<(Order, BlockState)> {
        let (word, bit) = place(offset);
        let order = |order: u32| Order::new(order as u8);
        if self.free[word] == u64::MAX {
            let full = (0..WORDS).fold(0, |full, word| full | u64::from(self.free[word] == u64::MAX) << word);
            let words = buddy::block_at(full, word as u32)?;
            return Some((order(WORD_ORDER + words)?, BlockState::Free));
        }
        let starting = |frames: u64| buddy::block_at(frames, bit).and_then(order);
        let has = |bits: &[u64; WORDS]| bits[word] >> bit & 1 == 1;
        if has(&self.free) {
            Some((starting(self.free[word])?, BlockState::Free))
        } else if has(&self.reserved) {
            Some((starting(self.reserved[word])?, BlockState::Reserved))
        } else if has(&self.allocated) {
            Some((self.extent(offset)?, BlockState::Allocated))
        } else if has(&self.cached) {
            Some((self.extent(offset)?, BlockState::Cached))
        } else {
            None
        }
    }

    /// The order of the allocated or lent block that begins at `offset`: it reaches to where the next thing begins.
    fn extent(&self, offset: u32) -> Option<Order> {
        let bounds = |word: usize| self.free[word] | self.allocated[word] | self.cached[word] | self.reserved[word];
        let is_bound = |offset: &u32| bounds(place(*offset).0) >> place(*offset).1 & 1 == 1;
        let end = (offset + 1..PAGEBLOCK_FRAMES as u32).find(is_bound).unwrap_or(PAGEBLOCK_FRAMES as u32);
        let mut frames = end - offset;
        if offset % WORD_FRAMES != 0 {
            frames = frames.min(WORD_FRAMES - offset % WORD_FRAMES);
        }
        Order::new(frames.ilog2() as u8)
    }
}
