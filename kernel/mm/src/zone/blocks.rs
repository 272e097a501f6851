//! A zone as a sequence of blocks: what reports and checkers read.

use super::Zone;
use super::header::Header;
use super::pageblock::{WORDS, place};
use super::pageblocks::Pageblocks;
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

/// What the words of a pageblock say at one moment: each word's bits by [state](BlockState). They are those of all frames that are free or
/// reserved, and of the first ones of blocks.
pub(super) type Snapshot = [[u64; STATES.len()]; WORDS];

const STATES: [BlockState; 4] = [BlockState::Free, BlockState::Allocated, BlockState::Cached, BlockState::Reserved];

impl Zone<'_> {
    /// Every block of the zone, in ascending order.
    pub(crate) fn blocks_by_address(&self) -> impl Iterator<Item = BlockInfo> + '_ {
        (0..self.blocks.count()).flat_map(|number| self.blocks_of(number))
    }

    /// The blocks of a pageblock, as they are at one moment. What is free of a pageblock that has become so as a whole, and is
    /// about to be filed, is one block of it.
    pub(super) fn blocks_of(&self, number: usize) -> impl Iterator<Item = BlockInfo> + '_ {
        let (header, states) = self.blocks.snapshot(number);
        let whole = self.whole(number, header);
        let start = self.blocks.start_of(number);
        // The first of a pair speaks for both.
        let is_second = whole.is_some_and(|(first, ..)| first != number);
        let mut offset = if is_second { PAGEBLOCK_FRAMES as u32 } else { 0 };
        core::iter::from_fn(move || {
            if u64::from(offset) >= PAGEBLOCK_FRAMES {
                return None;
            }
            let (order, state) = whole.map(|(_, order, state)| (order, state)).or_else(|| block_at(&states, offset))?;
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
        if let Some((.., found)) = self.whole(number, header) {
            return (found != state).then(|| (start.offset(from.into()), found));
        }
        buddy::parts(from as usize..to as usize).find_map(|(word, frames)| {
            let states = &states[word % WORDS];
            let bit = buddy::bits(frames & !states[state as usize]).next()?;
            let is_reserved = states[BlockState::Reserved as usize] >> bit & 1 == 1;
            let found = if is_reserved { BlockState::Reserved } else { BlockState::Allocated };
            Some((start.offset(word as u64 * u64::from(WORD_FRAMES) + u64::from(bit)), found))
        })
    }

    /// The block that a pageblock is, or is part of, as a whole, and its first pageblock; `None` if it is split.
    fn whole(&self, number: usize, header: Header) -> Option<(usize, Order, BlockState)> {
        let reserved = (number, Order::PAGEBLOCK, BlockState::Reserved);
        (!header.is_split()).then(|| self.wholes.block_of(number).unwrap_or(reserved))
    }
}

impl Pageblocks<'_> {
    /// What the words of a split pageblock say, and the header with it.
    pub(crate) fn snapshot(&self, number: usize) -> (Header, Snapshot) {
        let block = self.lock(number);
        (block.header, self.snapshot_of(&block))
    }
}

/// The size and state of the block that begins at `offset`; `None` inside a block.
pub(super) fn block_at(states: &Snapshot, offset: u32) -> Option<(Order, BlockState)> {
    let (word, bit) = place(offset);
    let state = STATES.into_iter().find(|state| states[word][*state as usize] >> bit & 1 == 1)?;
    let order = match (state, states[word][state as usize]) {
        (BlockState::Free, u64::MAX) => {
            let full = (0..WORDS).fold(0, |full, word| full | u64::from(states[word][0] == u64::MAX) << word);
            WORD_ORDER + buddy::block_at(full, word as u32)?
        }
        (BlockState::Free | BlockState::Reserved, frames) => buddy::block_at(frames, bit)?,
        _ => extent(states, offset),
    };
    Some((Order::new(order as u8)?, state))
}

/// The order of the allocated or lent block that begins at `offset`: it reaches to where the next thing begins.
fn extent(states: &Snapshot, offset: u32) -> u32 {
    let bounds = |word: usize| states[word].iter().fold(0, |all, bits| all | bits);
    let is_bound = |offset: &u32| bounds(place(*offset).0) >> place(*offset).1 & 1 == 1;
    let end = (offset + 1..PAGEBLOCK_FRAMES as u32).find(is_bound).unwrap_or(PAGEBLOCK_FRAMES as u32);
    let in_word = WORD_FRAMES - offset % WORD_FRAMES;
    let frames = if in_word < WORD_FRAMES { (end - offset).min(in_word) } else { end - offset };
    frames.ilog2()
}
