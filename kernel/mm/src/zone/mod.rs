//! A zone: the pageblocks of one class of memory, and which of them to allocate from.
//!
//! The truth is the two bits of each frame, in its [pageblock], whose own lock is all that a free of less than a
//! pageblock takes, but for the one of its last frame. The zone's lock guards [pageblocks as a whole](wholes) and the
//! [index], which says which pageblock to look in. A request goes to the pageblock whose largest free block is the
//! smallest sufficient one, so that whole pageblocks stay whole as long as anything else will do.
//!
//! The index lags behind frees: each search looks at two of the pageblocks that were freed into, in turn, and counts of
//! free frames are lower bounds until then. Near a watermark, and before anything is refused or reported, the zone looks at
//! as many as it takes. What it knows to be free stays free, since frames are taken with the zone locked.
//!
//! No allocation or free loops over frames, pageblocks or lists: only over orders, the words of one pageblock, the
//! levels of the index, and, by bisection, the zone's few spans of RAM; and over pageblocks that became dirty, each of which
//! a free has paid for.

mod add;
mod blocks;
mod explain;
mod fragmentation;
mod header;
mod highatomic;
mod index;
mod isolate;
mod levels;
mod look;
mod mobility;
mod pageblock;
mod pageblocks;
mod resize;
mod runs;
mod settle;
mod span;
mod split;
mod stats;
mod validate;
#[cfg(test)]
mod violations;
mod watermark;
mod wholes;
mod word;

pub use blocks::{BlockInfo, BlockState};
pub use explain::Step;
pub use fragmentation::FreeBlocks;
pub use look::{FrameInfo, Holding};
pub use mobility::Fallback;
pub(crate) use pageblock::{Locked, Pageblock};
pub(crate) use pageblocks::Pageblocks;
pub(crate) use span::{Span, spans};
pub use stats::ZoneStats;
pub use watermark::{Watermarks, min_free_kib, protection};

use crate::buddy::WORD_FRAMES;
use crate::error::FreeError;
use crate::frame::{Mobility, Order, PAGEBLOCK_FRAMES, Pfn, PfnRange, ZoneKind};
use crate::per_cpu::{BATCHED, Batch};
use crate::sync::atomic::AtomicU64;
pub(crate) use header::Header;
use index::Index;
use pageblock::INITIAL;
use wholes::Wholes;

/// One zone's state behind its lock. Its memory is borrowed for as long as the allocator lives; it never touches the frames.
pub(crate) struct Zone<'m> {
    /// How the zone stands: `free` without what is kept for pressing requests, and `freed` [as it follows](Self::stats) from the rest.
    pub stats: ZoneStats,
    blocks: Pageblocks<'m>,
    /// Pageblocks that are split, by mobility and the order of their largest free block.
    index: Index<'m>,
    /// Those that are free or allocated as a whole.
    wholes: Wholes<'m>,
    /// The next of the dirty pageblocks to look at.
    dirty: Option<u32>,
    /// The one of those from which on free frames are to be counted: what is free of the ones before it is, before their turn.
    counted_to: Option<u32>,
    /// What the fast path for whole pageblocks [leaves to others](Self::low_for_normal); [`WITHHELD`] if none are to be had that way.
    low_for_wholes: u64,
}

/// More than any zone has free, and as a signed number too.
const WITHHELD: u64 = i64::MAX as u64 - Order::MAX.frames();

/// The free frames that a pageblock must have for a word of it to be lent, by the order of the blocks: 64 for each frame of one, as
/// far as there are so many. (Measured: with as many for order 4 as for order 3 bulk allocation takes 43 ns instead of 18, and no
/// more memory becomes whole again; with fewer for order 5 or for smaller orders less does.)
const WORTH_LENDING: [u32; BATCHED] = [64, 128, 256, 512, 64, 512];

impl<'m> Zone<'m> {
    /// Words of metadata that only a zone reads which has so many spans and pageblocks.
    pub(crate) fn private_words(spans: usize, pageblocks: usize) -> usize {
        spans * Span::WORDS + Index::words_for(pageblocks, Order::PAGEBLOCK.index()) + Wholes::words_for(pageblocks)
    }

    /// The zone that has the frames of a range, in which every frame is reserved, over memory that may hold anything: as many
    /// pageblocks as it has, and [`private_words`](Self::private_words).
    pub(crate) fn new(
        kind: ZoneKind,
        range: PfnRange,
        ram: impl Iterator<Item = PfnRange> + Clone,
        blocks: &'m [Pageblock],
        dirty: &'m AtomicU64,
        private: &'m mut [u64],
        per_cpu: &'m [crate::per_cpu::PerCpuPages],
    ) -> Self {
        let orders = Order::PAGEBLOCK.index();
        let (rest, wholes) = private.split_at_mut(private.len() - Wholes::words_for(blocks.len()));
        let (spans, index) = rest.split_at_mut(rest.len() - Index::words_for(blocks.len(), orders));
        let spans: &mut [span::Stored] = bytemuck::cast_slice_mut(spans);
        for (slot, span) in spans.iter_mut().zip(span::spans(range, ram.clone())) {
            *slot = span.store();
        }
        Self {
            stats: ZoneStats::new(kind, range, ram),
            blocks: Pageblocks::new(spans, blocks, dirty, per_cpu, Header::whole(INITIAL)),
            index: Index::new(blocks.len(), orders, index),
            wholes: Wholes::new(blocks.len(), wholes),
            dirty: None,
            counted_to: None,
            low_for_wholes: 0,
        }
    }

    /// Sets what the zone keeps back.
    pub(crate) fn set_marks(&mut self, watermarks: Watermarks, protection: [u64; ZoneKind::COUNT]) {
        (self.stats.watermarks, self.stats.protection) = (watermarks, protection);
        self.withhold_wholes(self.low_for_wholes == WITHHELD);
    }

    /// What fast paths leave to others, of a request that may use every zone: the `low` mark, and what is kept from it.
    fn low_for_normal(&self) -> u64 {
        let low = self.stats.watermarks.low.saturating_add(self.stats.protection[ZoneKind::Normal.index()]);
        low.min(WITHHELD - 1)
    }

    /// Shows every word that what the zone does next may depend on, in a fixed order, for a hash; with `counts`, those too that it only
    /// reports.
    pub(crate) fn for_each_word(&self, counts: bool, visit: &mut impl FnMut(u64)) {
        self.blocks.for_each_word(visit);
        self.index.for_each_word(visit);
        self.wholes.for_each_word(visit);
        let ZoneStats { managed, free, isolated, free_highatomic, reserved_highatomic, allocated, .. } = self.stats;
        let [dirty, counted_to] = [self.dirty, self.counted_to].map(|number| number.map_or(u64::MAX, u64::from));
        let words = [dirty, counted_to, managed, free, isolated, free_highatomic, reserved_highatomic];
        words.into_iter().chain(counts.then_some(allocated)).for_each(visit);
    }

    /// The zone's pageblocks, to be used without its lock.
    pub(crate) fn blocks(&self) -> Pageblocks<'m> {
        self.blocks
    }

    /// Takes a block of `order` from a pageblock that has room for it; its first frame.
    fn take(&mut self, number: usize, order: Order) -> Pfn {
        self.stats.allocated += order.frames();
        let start = self.blocks.start_of(number);
        if order >= Order::PAGEBLOCK {
            self.take_whole(number, order);
            return start;
        }
        start.offset(self.take_in(number, order, |block| block.choose(order)).into())
    }

    /// Takes the block of `order`, below that of a pageblock, which begins at what `choose` says of the pageblock: the offset.
    #[inline(always)]
    fn take_in(&mut self, number: usize, order: Order, choose: impl FnOnce(&Locked<'_>) -> u32) -> u32 {
        let mut block = self.blocks.lock(number);
        self.open(&mut block);
        let offset = choose(&block);
        block.allocate_at(offset, order.get().into());
        self.file(&mut block);
        offset
    }

    /// Takes the free block of `order`, from 9 up, that begins at a pageblock.
    #[inline]
    fn take_whole(&mut self, number: usize, order: Order) {
        let mobility = self.blocks.peek(number).mobility();
        self.wholes.allocate(number, order, mobility);
        self.count_taken(mobility, order.frames());
    }

    /// Has a pageblock be split, if it is not, and the levels of all its words up to date.
    #[inline(always)]
    fn open(&mut self, block: &mut Locked<'_>) {
        if block.header.is_split() {
            block.refresh();
        } else {
            self.split_whole(block);
        }
    }

    /// Splits a pageblock: from now on its words say what its frames are, as they were, and it is nothing as a whole any more.
    #[inline(never)]
    fn split_whole(&mut self, block: &mut Locked<'_>) {
        let number = block.number;
        self.blocks.note_dirty(block);
        let whole = self.wholes.block_of(number).map(|(first, order, state)| {
            match state {
                BlockState::Free => self.wholes.remove(number, block.header.mobility()),
                _ => assert!(
                    self.wholes.release(first, order) && first == number,
                    "no half of an allocated block is split"
                ),
            }
            state
        });
        block.split(whole);
    }

    /// Finds a pageblock for a block of `order`: one of the request's own mobility, else one taken over from another kind, else,
    /// if mobilities may be mixed, one of another kind. `None` if no block is large enough.
    #[inline(always)]
    fn find(&mut self, order: Order, mobility: Mobility, mixing: bool) -> Option<usize> {
        if order < Order::PAGEBLOCK {
            _ = self.settle_next() && self.settle_next();
        }
        self.find_own(order, mobility).or_else(|| self.find_at_need(order, mobility, mixing))
    }

    #[cold]
    fn find_at_need(&mut self, order: Order, mobility: Mobility, mixing: bool) -> Option<usize> {
        // A look at a dirty pageblock does not make it whole, unless its last frame was freed just now.
        let claimed = if order < Order::PAGEBLOCK { None } else { self.fall_back(order, mobility, mixing) };
        let own = claimed.or_else(|| self.find_settling(order, mobility));
        own.or_else(|| self.fall_back(order, mobility, mixing))
    }

    /// Finds a pageblock of this mobility, if looking at dirty ones brings one to light.
    fn find_settling(&mut self, order: Order, mobility: Mobility) -> Option<usize> {
        while self.settle_next() {
            if let Some(number) = self.find_own(order, mobility) {
                return Some(number);
            }
        }
        None
    }

    /// The lowest pageblock of this mobility whose largest free block is the smallest sufficient one.
    #[inline(always)]
    fn find_own(&self, order: Order, mobility: Mobility) -> Option<usize> {
        if order < Order::PAGEBLOCK {
            if let Some(level) = self.index.smallest_sufficient(mobility, order.get().into()) {
                return Some(self.index.lowest(mobility, level));
            }
        }
        self.wholes.find(order.max(Order::PAGEBLOCK), mobility)
    }

    /// Allocates a block of `order` for contents of this mobility. `None` if no block is large enough.
    pub(crate) fn allocate(&mut self, order: Order, mobility: Mobility, mixing: bool) -> Option<Pfn> {
        let number = self.find(order, mobility, mixing)?;
        Some(self.take(number, order))
    }

    /// Allocates a block of `order`, from 9 up, of whole pageblocks of this mobility that the zone knows to be free, if that
    /// leaves it with more than its `low` mark; even such as are [withheld](Self::withhold_wholes), or only others.
    #[inline(always)]
    pub(crate) fn allocate_whole(&mut self, order: Order, mobility: Mobility, even_withheld: bool) -> Option<Pfn> {
        let low = if even_withheld { self.low_for_normal() } else { self.low_for_wholes };
        if self.stats.free < low + order.frames() {
            return None;
        }
        let number = self.wholes.find(order, mobility)?;
        Some(self.take(number, order))
    }

    /// Allocates the block of order 9 that [`allocate_whole`](Self::allocate_whole) does, if that is in the first span, and changes no
    /// more than the words of its group.
    #[inline(always)]
    pub(crate) fn allocate_whole_quickly(&mut self, mobility: Mobility) -> Option<Pfn> {
        // Negative, if there are not so many.
        let rest = self.stats.free.wrapping_sub(PAGEBLOCK_FRAMES);
        if (rest as i64) < self.low_for_wholes as i64 {
            return None;
        }
        let (blocks, start) = self.blocks.first_span();
        let number = self.wholes.take(mobility, blocks.len())?;
        self.stats.allocated += PAGEBLOCK_FRAMES;
        self.stats.free = rest;
        Some(start.offset(number as u64 * PAGEBLOCK_FRAMES))
    }

    /// Has [`allocate_whole`](Self::allocate_whole) give nothing and [`free_whole`](Self::free_whole) take nothing, nor the quick ways to do
    /// the same; or again what there is.
    pub(crate) fn withhold_wholes(&mut self, withheld: bool) {
        self.blocks.withhold_first(withheld);
        self.low_for_wholes = if withheld { WITHHELD } else { self.low_for_normal() };
    }

    /// Lends the free blocks of `order`, below [`BATCHED`], of one word to a CPU's batch, which must be empty; the first of them. Where little
    /// is free, or there is no batch, allocates a single block instead: a loan is worth it for several. Mobilities are not mixed.
    pub(crate) fn lend(&mut self, order: Order, mobility: Mobility, batch: Option<&Batch>) -> Option<Pfn> {
        let number = self.find(order, mobility, false)?;
        let mut block = self.blocks.lock(number);
        self.open(&mut block);
        let start = self.blocks.start_of(number);
        let worth = batch.filter(|_| block.header.free() >= WORTH_LENDING[order.index()]);
        let (pfn, frames) = if let Some(batch) = worth {
            let (word, heads, frames) = block.lend(order.get().into());
            let base = start.offset(word as u64 * u64::from(WORD_FRAMES));
            batch.begin(base, heads);
            (base.offset(heads.trailing_zeros().into()), frames.into())
        } else {
            (start.offset(block.allocate(order).into()), order.frames())
        };
        self.stats.allocated += frames;
        self.file_at_once(&mut block);
        Some(pfn)
    }

    /// Frees the block of `order` that starts at `pfn`.
    ///
    /// # Errors
    /// [`FreeError`] if no such block starts there; the zone is unchanged.
    pub(crate) fn free(&mut self, pfn: Pfn, order: Order) -> Result<(), FreeError> {
        loop {
            if order >= Order::PAGEBLOCK {
                if self.free_wholes(pfn, order) {
                    return Ok(());
                }
            } else if let Some((block, _)) = self.blocks.lock_at(pfn) {
                if let Some(is_all_free) = self.blocks.free(block, pfn, order, None) {
                    if is_all_free {
                        self.settle_at(pfn);
                    }
                    return Ok(());
                }
            }
            self.look_for(pfn, order)?;
            // It has been allocated just now, by a CPU without the zone's lock.
        }
    }

    /// Takes the allocated blocks of a range off the loans that they were handed out of.
    pub(crate) fn own(&mut self, range: PfnRange) {
        for (pfn, order) in range.blocks().filter(|(_, order)| order.index() < BATCHED) {
            if let Some((block, offset)) = self.blocks.lock_at(pfn) {
                self.blocks.own(&block, offset, order);
            }
        }
    }

    /// Frees the block of order 9 that starts at `pfn`; false if there is none, or none is to be freed so.
    pub(crate) fn free_whole(&mut self, pfn: Pfn) -> bool {
        self.low_for_wholes != WITHHELD && self.free_wholes(pfn, Order::PAGEBLOCK)
    }

    /// Frees the block of order 9 that starts at `pfn`, if there is one in the first span, and that changes no more than the words of its
    /// group.
    #[inline(always)]
    pub(crate) fn free_whole_quickly(&mut self, pfn: Pfn) -> bool {
        let Some((number, mobility)) = self.blocks.requested_at(pfn) else { return false };
        let is_freed = self.wholes.give(number, mobility);
        if is_freed {
            self.stats.free += PAGEBLOCK_FRAMES;
        }
        is_freed
    }

    /// Frees the block of `order`, from 9 up, that starts at `pfn`; false if there is none.
    fn free_wholes(&mut self, pfn: Pfn, order: Order) -> bool {
        let Some((number, 0)) = self.blocks.locate(pfn) else { return false };
        if !self.wholes.release(number, order) {
            return false;
        }
        self.insert_whole(number);
        if order == Order::MAX {
            self.insert_whole(number | 1);
        }
        true
    }

    /// Counts and files a pageblock that is free as a whole.
    #[inline(always)]
    fn insert_whole(&mut self, number: usize) {
        let mobility = self.blocks.peek(number).mobility();
        self.count_free(mobility, PAGEBLOCK_FRAMES);
        self.file_as_whole(number, mobility);
    }

    /// Files a pageblock that is free as a whole, and that is counted.
    #[inline(always)]
    fn file_as_whole(&mut self, number: usize, mobility: Mobility) {
        if let Some(buddy) = self.wholes.insert(number, mobility) {
            self.blocks.set_mobility(buddy, mobility);
        }
    }

    /// Sees that an allocated block of this order starts at `pfn`.
    ///
    /// # Errors
    /// [`FreeError`], saying what is there instead.
    pub(crate) fn look_for(&self, pfn: Pfn, given: Order) -> Result<(), FreeError> {
        let actual = self.order_of(pfn)?;
        if actual == given { Ok(()) } else { Err(FreeError::WrongOrder { pfn, given, actual }) }
    }

    /// The order of the allocated block that starts at `pfn`.
    ///
    /// # Errors
    /// [`FreeError`], saying what is there instead.
    pub(crate) fn order_of(&self, pfn: Pfn) -> Result<Order, FreeError> {
        let (block, offset) = self.blocks.lock_at(pfn).ok_or(FreeError::NotManaged(pfn))?;
        if block.header.is_split() {
            return self.blocks.order_at(&block, offset);
        }
        let (first, order, state) = self.wholes.block_of(block.number).ok_or(FreeError::Reserved(pfn))?;
        if state == BlockState::Free {
            return Err(FreeError::AlreadyFree(pfn));
        }
        let head = self.blocks.start_of(first);
        if pfn == head { Ok(order) } else { Err(FreeError::Interior { pfn, head, order }) }
    }
}
