//! A zone: the pageblocks of one class of memory, and which of them to allocate from.
//!
//! The truth is the two bits of each frame. Everything else here follows from them: the summaries say what a pageblock
//! holds, the index says which pageblock to look in. A request goes to the pageblock whose largest free block is the
//! smallest sufficient one, so that whole pageblocks stay whole as long as anything else will do.
//!
//! No allocation or free loops over frames, pageblocks or lists: only over orders, the words of one pageblock, the
//! levels of the index, and, by bisection, the zone's few spans of RAM.

mod blocks;
mod fragmentation;
mod highatomic;
mod index;
mod isolate;
mod levels;
mod mobility;
mod pageblock;
mod span;
mod split;
mod states;
mod validate;
#[cfg(test)]
mod violations;
mod watermark;

pub use blocks::{Block, BlockState};
pub use mobility::{Fallback, Fallbacks};
pub(crate) use span::{Extent, Span, spans};
pub use watermark::{Watermarks, min_free_kib, protection};

use core::ops::Range;

use crate::buddy::{self, WORD_FRAMES, WORD_ORDER};
use crate::error::{AddError, FreeError};
use crate::frame::{Mobility, Order, PAGEBLOCK_FRAMES, Pfn, PfnRange, ZoneKind};
use index::{Bucket, Index};
use pageblock::{Key, Pageblock, Summary};
pub(crate) use states::{Shared, States};
use states::{Unity, WORDS, place};

/// How a zone stands, in frames.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
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
    /// Frames that have left the zone since boot: allocated, or lent to an arena. What an arena hands out and takes back
    /// in between is not seen here.
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

/// What a zone's free memory is in pieces of.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FreeBlocks {
    /// Free blocks, by mobility and order.
    pub blocks: [[u64; Order::COUNT]; Mobility::COUNT],
    /// Pageblocks that hold managed frames, by mobility.
    pub pageblocks: [u64; Mobility::COUNT],
}

impl FreeBlocks {
    /// Free blocks of this order, of any mobility.
    pub fn of(&self, order: Order) -> u64 {
        self.blocks.iter().map(|blocks| blocks[order.index()]).sum()
    }
}

/// One zone's state. Its memory is borrowed for as long as the allocator lives; it never touches the frames.
pub(crate) struct Zone<'m> {
    kind: ZoneKind,
    extent: Extent,
    states: States<'m>,
    summaries: &'m mut [Summary],
    index: Index<'m>,
    managed: u64,
    free: u64,
    /// Frames that were freed into words on loan.
    waiting: u64,
    special: Special,
    pub watermarks: Watermarks,
    pub protection: [u64; ZoneKind::COUNT],
}

/// What a zone counts beside its free frames.
#[derive(Default)]
struct Special {
    /// Free frames in isolated pageblocks, which are not among the zone's free frames.
    isolated: u64,
    /// Free frames in pageblocks that are kept for pressing requests, which are.
    free_highatomic: u64,
    /// Frames of those pageblocks.
    reserved_highatomic: u64,
    /// Frames that were ever allocated or lent.
    allocated: u64,
    fallbacks: Fallbacks,
}

/// A word of a zone: 64 frames, numbered through the zone's pageblocks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct WordNumber(pub u64);

impl WordNumber {
    #[inline]
    pub fn new(pageblock: usize, word: usize) -> Self {
        Self((pageblock * WORDS + word) as u64)
    }

    /// The pageblock that the word is in, and its place there.
    #[inline]
    fn place(self) -> (usize, usize) {
        (self.0 as usize / WORDS, self.0 as usize % WORDS)
    }
}

/// Blocks of one order, smaller than a word, in one word: what a zone lends or takes back together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Batch {
    pub word: WordNumber,
    pub order: Order,
    /// The first frame of each block, a bit each.
    pub heads: u64,
}

/// What a zone gives an arena.
pub(crate) enum Lent {
    /// A word on loan: its first frame, and the blocks.
    Word(Pfn, Batch),
    /// One allocated block.
    Block(Pfn),
}

/// The free frames, for each frame of a block, that a pageblock must have for a word of it to be lent.
const WORTH_LENDING: u32 = 64;

impl<'m> Zone<'m> {
    /// Words of metadata that only the zone reads.
    pub fn private_words(extent: &Extent) -> usize {
        let bytes = extent.pageblocks * size_of::<Summary>() + extent.spans * size_of::<Span>();
        bytes / size_of::<u64>() + Index::words_for(extent.pageblocks)
    }

    /// A zone in which every frame is reserved, over [`Zone::private_words`] words of metadata and what
    /// [`States`] need. What the memory held before does not matter.
    pub fn new(
        kind: ZoneKind,
        extent: Extent,
        memory: impl Iterator<Item = Span>,
        private: &'m mut [u64],
        shared: Shared<'m>,
    ) -> Self {
        let words = |bytes: usize| bytes / size_of::<u64>();
        let (summaries, rest) = private.split_at_mut(extent.pageblocks * words(size_of::<Summary>()));
        let (spans, index) = rest.split_at_mut(extent.spans * words(size_of::<Span>()));

        let summaries: &mut [Summary] = bytemuck::cast_slice_mut(summaries);
        summaries.fill(Summary::reserved());
        let spans: &mut [Span] = bytemuck::cast_slice_mut(spans);
        for (slot, span) in spans.iter_mut().zip(memory) {
            *slot = span;
        }
        Self {
            kind,
            extent,
            states: States::new(spans, extent.pageblocks, shared),
            summaries,
            index: Index::new(extent.pageblocks, index),
            managed: 0,
            free: 0,
            waiting: 0,
            special: Special::default(),
            watermarks: Watermarks::default(),
            protection: [0; ZoneKind::COUNT],
        }
    }

    /// The states of the zone's frames, to be read without its lock.
    pub fn states(&self) -> States<'m> {
        self.states
    }

    /// Frames that were given to the allocator.
    pub fn managed(&self) -> u64 {
        self.managed
    }

    /// Frames that are free, for any request to take.
    pub fn free_frames(&self) -> u64 {
        self.free - self.special.free_highatomic
    }

    /// Counts frames of a pageblock that became free.
    #[inline]
    fn count_free(&mut self, pageblock: usize, frames: u64) {
        if self.summaries[pageblock].key().is_ordinary() {
            self.free += frames;
        } else {
            self.count_special(pageblock, frames);
        }
    }

    #[cold]
    fn count_special(&mut self, pageblock: usize, frames: u64) {
        if self.summaries[pageblock].mobility() == Mobility::Isolate {
            self.special.isolated += frames;
        } else {
            self.free += frames;
            self.special.free_highatomic += frames;
        }
    }

    #[inline]
    fn pageblock(&mut self, number: usize) -> Pageblock<'_, 'm> {
        Pageblock { number, summary: &mut self.summaries[number], states: &self.states }
    }

    /// Changes one pageblock, and with it its place in the index.
    #[inline]
    fn change<R>(&mut self, pageblock: usize, change: impl FnOnce(&mut Pageblock<'_, 'm>) -> R) -> R {
        let before = self.summaries[pageblock].key();
        let result = change(&mut self.pageblock(pageblock));
        if self.summaries[pageblock].key() != before {
            self.reindex(pageblock, before);
        }
        result
    }

    /// Moves a pageblock from the bucket that it was in to the one that it belongs into now.
    #[inline(never)]
    fn reindex(&mut self, pageblock: usize, before: Key) {
        let after = self.summaries[pageblock].key();
        if before.largest().max(after.largest()) >= Some(Order::PAGEBLOCK) {
            return self.reindex_whole(pageblock, before, after);
        }
        if let Some(order) = before.largest() {
            self.index.remove(Bucket { mobility: before.mobility(), order }, pageblock);
        }
        if let Some(order) = after.largest() {
            self.index.insert(Bucket { mobility: after.mobility(), order }, pageblock);
        }
    }

    /// [`Zone::reindex`] for a pageblock that was free as a whole, or is now: then it may be half of a free block of order
    /// 10, which only the lower half is indexed for.
    fn reindex_whole(&mut self, pageblock: usize, before: Key, after: Key) {
        match (before.largest(), after.largest()) {
            (Some(Order::MAX), Some(Order::MAX)) => {
                if is_lower_half(pageblock) {
                    self.index.remove(Bucket { mobility: before.mobility(), order: Order::MAX }, pageblock);
                    self.index.insert(Bucket { mobility: after.mobility(), order: Order::MAX }, pageblock);
                }
                return;
            }
            (Some(Order::MAX | Order::PAGEBLOCK), _) => self.remove_whole(pageblock, before),
            (Some(order), _) => self.index.remove(Bucket { mobility: before.mobility(), order }, pageblock),
            (None, _) => {}
        }
        match after.largest() {
            Some(Order::PAGEBLOCK) => self.insert_whole(pageblock, after.mobility()),
            Some(order) => self.index.insert(Bucket { mobility: after.mobility(), order }, pageblock),
            None => {}
        }
    }

    /// Whether a pageblock that is free as a whole makes a block of order 10 with its buddy.
    #[inline]
    fn can_merge(&self, pageblock: usize) -> bool {
        let buddy = &self.summaries[pageblock ^ 1];
        let [mobility, other] = [self.summaries[pageblock].mobility(), buddy.mobility()];
        self.states.unity(pageblock ^ 1) == Unity::Free
            && buddy.largest() == Some(Order::PAGEBLOCK)
            && (mobility == other || mobility.is_mergeable() && other.is_mergeable())
    }

    /// Takes a block of `order` from a pageblock that has room for it; its first frame.
    #[inline]
    fn take(&mut self, pageblock: usize, order: Order) -> Pfn {
        self.free -= order.frames();
        self.special.allocated += order.frames();
        let start = self.states.start_of(pageblock);
        if order >= Order::PAGEBLOCK {
            self.take_whole(pageblock, order);
            return start;
        }
        start.offset(self.change(pageblock, |pageblock| pageblock.allocate(order)).into())
    }

    /// Makes a pageblock that is free as a whole an allocated block of order 9, or with its buddy one of order 10.
    #[inline]
    fn take_whole(&mut self, pageblock: usize, order: Order) {
        if order == Order::MAX {
            return self.set_pair(pageblock, [Unity::LowerHalf, Unity::UpperHalf], None);
        }
        let before = self.summaries[pageblock].key();
        self.pageblock(pageblock).unite(Unity::Allocated, None);
        self.remove_whole(pageblock, before);
    }

    /// Takes a pageblock out of the index that was free as a whole; if it was half of a block of order 10, its buddy stays
    /// as one of order 9.
    #[inline]
    fn remove_whole(&mut self, pageblock: usize, before: Key) {
        if before.largest() != Some(Order::MAX) {
            return self.index.remove(Bucket { mobility: before.mobility(), order: Order::PAGEBLOCK }, pageblock);
        }
        self.index.remove(Bucket { mobility: before.mobility(), order: Order::MAX }, pageblock & !1);
        let buddy = pageblock ^ 1;
        self.pageblock(buddy).set_largest(Some(Order::PAGEBLOCK));
        let mobility = self.summaries[buddy].mobility();
        self.index.insert(Bucket { mobility, order: Order::PAGEBLOCK }, buddy);
    }

    /// Puts a pageblock into the index that became free as a whole, as one of order 9 or, with its buddy, of order 10.
    #[inline]
    fn insert_whole(&mut self, pageblock: usize, mobility: Mobility) {
        if !self.can_merge(pageblock) {
            return self.index.insert(Bucket { mobility, order: Order::PAGEBLOCK }, pageblock);
        }
        let buddy = pageblock ^ 1;
        let other = self.summaries[buddy].mobility();
        self.index.remove(Bucket { mobility: other, order: Order::PAGEBLOCK }, buddy);
        if mobility != other {
            // As in Linux the later half decides.
            self.summaries[buddy].set_mobility(mobility);
        }
        for half in [pageblock, buddy] {
            self.pageblock(half).set_largest(Some(Order::MAX));
        }
        self.index.insert(Bucket { mobility, order: Order::MAX }, pageblock & !1);
    }

    /// Makes a free block of order 10 an allocated one, or the reverse.
    fn set_pair(&mut self, pageblock: usize, unities: [Unity; 2], largest: Option<Order>) {
        let lower = pageblock & !1;
        let before = self.summaries[lower].key();
        for (half, unity) in [lower, lower | 1].into_iter().zip(unities) {
            self.pageblock(half).unite(unity, largest);
        }
        let after = self.summaries[lower].key();
        if let Some(bucket) = bucket(lower, before) {
            self.index.remove(bucket, lower);
        }
        if let Some(bucket) = bucket(lower, after) {
            self.index.insert(bucket, lower);
        }
    }

    /// Finds a pageblock for a block of `order`: one of the request's own mobility, else one taken over from another
    /// kind, else one of another kind. `None` if no block is large enough.
    #[inline]
    fn find(&mut self, order: Order, mobility: Mobility) -> Option<usize> {
        let bucket = match self.index.smallest_sufficient(mobility, order) {
            Some(order) => Bucket { mobility, order },
            None => self.fall_back(order, mobility)?,
        };
        Some(self.index.lowest(bucket))
    }

    /// Allocates a block of `order` for contents of this mobility. `None` if no block is large enough.
    pub fn allocate(&mut self, order: Order, mobility: Mobility) -> Option<Pfn> {
        let pageblock = self.find(order, mobility)?;
        Some(self.take(pageblock, order))
    }

    /// Lends a word with free blocks of `order`, at most 3. Until the loan ends nobody else gets frames of the word.
    /// Where little is free, allocates a single block instead: a loan is worth it for several.
    #[inline]
    pub fn lend(&mut self, order: Order, mobility: Mobility) -> Option<Lent> {
        let pageblock = self.find(order, mobility)?;
        if self.summaries[pageblock].free() < WORTH_LENDING << order.get() {
            return Some(Lent::Block(self.take(pageblock, order)));
        }
        let (word, heads, rest) = self.change(pageblock, |pageblock| pageblock.lend(order.get().into()));
        let lent = u64::from(heads.count_ones()) << order.get();
        self.free -= lent + u64::from(rest);
        self.waiting += u64::from(rest);
        self.special.allocated += lent;
        let base = self.states.start_of(pageblock).offset(word as u64 * u64::from(WORD_FRAMES));
        Some(Lent::Word(base, Batch { word: WordNumber::new(pageblock, word), order, heads }))
    }

    /// Lends the blocks of `order` in a lent word that have become free since: their heads.
    pub fn lend_more(&mut self, word: WordNumber, order: Order) -> u64 {
        let (pageblock, word) = word.place();
        if self.states.word(pageblock, word).free() == 0 || self.summaries[pageblock].mobility() == Mobility::Isolate {
            return 0;
        }
        let heads = self.pageblock(pageblock).lend_more(word, order.get().into());
        let lent = u64::from(heads.count_ones()) << order.get();
        self.waiting -= lent;
        self.special.allocated += lent;
        heads
    }

    /// Takes a lent word back, with those of its blocks that the borrower did not use. Returns the heads of those that were
    /// no such blocks any more.
    pub fn end_loan(&mut self, loan: Batch) -> u64 {
        let bad = self.free_batch(loan);
        let (pageblock, word) = loan.word.place();
        let count = u64::from(self.change(pageblock, |pageblock| pageblock.end_loan(word)));
        self.waiting -= count;
        self.count_free(pageblock, count);
        bad
    }

    /// Frees blocks of one order in one word. Returns the heads at which there was no such block; they are unchanged.
    pub fn free_batch(&mut self, batch: Batch) -> u64 {
        let (pageblock, word) = batch.word.place();
        if !self.states.speaks(pageblock, word) {
            return self.free_lent(batch);
        }
        if batch.order == Order::ZERO && batch.heads.is_power_of_two() {
            return if self.free_single(pageblock, word, batch.heads) { 0 } else { batch.heads };
        }
        let order = u32::from(batch.order.get());
        let states = self.states.word(pageblock, word);
        let good = batch.heads & states.allocated(order);
        let free = states.release(buddy::spread(good, order));
        let count = u64::from(good.count_ones()) << order;
        self.count_free(pageblock, count);
        let summary = &mut self.summaries[pageblock];
        summary.count_free(count);
        if buddy::level(free) > summary.level(word) {
            self.raise(pageblock, word, free);
        }
        batch.heads & !good
    }

    /// [`Zone::free_batch`] for a word on loan: what is freed there is the borrower's to find.
    #[cold]
    fn free_lent(&mut self, batch: Batch) -> u64 {
        let (pageblock, word) = batch.word.place();
        if self.states.unity(pageblock) != Unity::Split {
            return batch.heads;
        }
        let order = u32::from(batch.order.get());
        let states = self.states.word(pageblock, word);
        let good = batch.heads & states.allocated(order);
        states.release(buddy::spread(good, order));
        self.waiting += u64::from(good.count_ones()) << order;
        batch.heads & !good
    }

    /// Frees the block of order 0 at `pfn`, unless there is none, or an arena has to do with its word.
    #[inline]
    pub fn free_frame(&mut self, pfn: Pfn) -> bool {
        let Some((pageblock, offset)) = self.states.locate(pfn) else { return false };
        let (word, bit) = place(offset);
        self.states.speaks(pageblock, word)
            && !self.states.is_returning(pageblock, word)
            && self.free_single(pageblock, word, 1 << bit)
    }

    /// Frees the block of `order`, less than a word, that starts at `pfn`, unless there is none, or an arena has to do with
    /// its word.
    pub fn free_small(&mut self, pfn: Pfn, order: Order) -> bool {
        let Some((pageblock, offset)) = self.states.locate(pfn) else { return false };
        let (word, bit) = place(offset);
        if !self.states.speaks(pageblock, word) || self.states.is_returning(pageblock, word) {
            return false;
        }
        let order = u32::from(order.get());
        let states = self.states.word(pageblock, word);
        if states.allocated(order) >> bit & 1 == 0 {
            return false;
        }
        let free = states.release(buddy::ones(order) << bit);
        self.grow(pageblock, word, free, bit, 1 << order);
        true
    }

    /// Frees one frame, of a word that is not on loan, if it is an allocated block of order 0.
    #[inline]
    fn free_single(&mut self, pageblock: usize, word: usize, frame: u64) -> bool {
        let Some(free) = self.states.word(pageblock, word).release_single(frame) else { return false };
        self.grow(pageblock, word, free, frame.trailing_zeros(), 1);
        true
    }

    /// Counts a block that became free at `bit` of a word of which all of `free` is free now.
    ///
    /// Merging only ever raises a level. Asking whether the block has grown into one that is larger than any that the word
    /// had is cheaper than asking for the largest.
    #[inline]
    fn grow(&mut self, pageblock: usize, word: usize, free: u64, bit: u32, frames: u64) {
        self.count_free(pageblock, frames);
        let summary = &mut self.summaries[pageblock];
        summary.count_free(frames);
        if buddy::is_block(free, bit, summary.level(word)) {
            self.raise(pageblock, word, free);
        }
    }

    #[inline(never)]
    fn raise(&mut self, pageblock: usize, word: usize, free: u64) {
        self.change(pageblock, |pageblock| pageblock.raise(word, buddy::level(free)));
    }

    /// Frames that are free and wait, in words on loan, for their borrowers.
    pub fn waiting(&self) -> u64 {
        self.waiting
    }

    /// Frees the block of `order` that starts at `pfn`, merging it with its buddy as long as the buddy is free.
    ///
    /// # Errors
    /// [`FreeError`] if no such block starts there; the zone is unchanged.
    pub fn free(&mut self, pfn: Pfn, order: Order) -> Result<(), FreeError> {
        let freed = match order {
            Order::PAGEBLOCK => self.free_pageblock(pfn),
            _ => u32::from(order.get()) < WORD_ORDER && self.free_in_word(pfn, order),
        };
        if freed { Ok(()) } else { self.free_large(pfn, order) }
    }

    /// Frees the block of `order`, less than a word, that starts at `pfn`, unless there is none.
    fn free_in_word(&mut self, pfn: Pfn, order: Order) -> bool {
        let Some((pageblock, offset)) = self.states.locate(pfn) else { return false };
        let (word, bit) = place(offset);
        self.free_batch(Batch { word: WordNumber::new(pageblock, word), order, heads: 1 << bit }) == 0
    }

    /// Frees the block of order 9 that starts at `pfn`, unless there is none.
    #[inline]
    fn free_pageblock(&mut self, pfn: Pfn) -> bool {
        let Some((pageblock, 0)) = self.states.locate(pfn) else { return false };
        if self.states.unity(pageblock) != Unity::Allocated {
            return false;
        }
        self.count_free(pageblock, PAGEBLOCK_FRAMES);
        self.pageblock(pageblock).unite(Unity::Free, Some(Order::PAGEBLOCK));
        self.insert_whole(pageblock, self.summaries[pageblock].mobility());
        true
    }

    /// [`Zone::free`] for whole words and pageblocks, and for whatever no such block starts at.
    #[inline(never)]
    fn free_large(&mut self, pfn: Pfn, order: Order) -> Result<(), FreeError> {
        let actual = self.states.order_of(pfn)?;
        if actual != order {
            return Err(FreeError::WrongOrder { pfn, given: order, actual });
        }
        let (pageblock, offset) = self.states.locate(pfn).ok_or(FreeError::NotManaged(pfn))?;
        if order == Order::MAX {
            let halves = [pageblock, pageblock | 1];
            halves.into_iter().for_each(|half| self.count_free(half, PAGEBLOCK_FRAMES));
            if self.summaries[pageblock].mobility() == self.summaries[pageblock | 1].mobility() {
                self.set_pair(pageblock, [Unity::Free; 2], Some(Order::MAX));
            } else {
                for half in halves {
                    self.change(half, |half| half.unite(Unity::Free, Some(Order::PAGEBLOCK)));
                }
            }
        } else {
            self.change(pageblock, |pageblock| pageblock.free_words(offset, order));
            self.count_free(pageblock, order.frames());
        }
        Ok(())
    }

    /// Checks that frames lie in the zone's spans and are reserved, so that they can be added.
    ///
    /// # Errors
    /// [`AddError`], saying which frame is not.
    pub fn check_addable(&mut self, range: PfnRange) -> Result<(), AddError> {
        let check = |zone: &mut Self, pageblock, from, to| {
            let start = zone.states.start_of(pageblock);
            let error = |offset: u32| AddError::Overlaps(start.offset(offset.into()));
            zone.pageblock(pageblock).check_reserved(from, to).map_err(error)
        };
        let (_, ragged) = self.whole_pairs(range);
        ragged.into_iter().try_for_each(|range| self.for_each_part(range, check))
    }

    /// Gives reserved frames to the zone. This is set-up: it loops over the pageblocks of the range, but the whole ones
    /// among them cost a few words each.
    ///
    /// # Errors
    /// [`AddError`] if any of the frames is not in a span or was given before; the zone is unchanged.
    pub fn add(&mut self, range: PfnRange) -> Result<(), AddError> {
        self.check_addable(range)?;
        let (whole, ragged) = self.whole_pairs(range);
        for range in ragged {
            self.for_each_part(range, |zone, pageblock, from, to| {
                let count = u64::from(zone.change(pageblock, |pageblock| pageblock.add(from, to)));
                zone.count_free(pageblock, count);
                zone.waiting += u64::from(to - from) - count;
                Ok(())
            })?;
        }
        if let Some((first, _)) = self.states.locate(whole.start).filter(|_| !whole.is_empty()) {
            self.add_pairs(first..first + (whole.frames() / PAGEBLOCK_FRAMES) as usize);
        }
        self.managed += range.frames();
        Ok(())
    }

    /// The part of the range, which may be empty, that is whole blocks of order 10 in one span, all untouched; and what
    /// is left of the range before and behind it.
    fn whole_pairs(&self, range: PfnRange) -> (PfnRange, [PfnRange; 2]) {
        let step = Order::MAX.frames();
        let start = range.start.number().next_multiple_of(step).min(range.end.number());
        let end = (range.end.number() / step * step).max(start);
        let whole = PfnRange::new(Pfn::new(start), Pfn::new(end));
        let untouched = self.states.locate(whole.start).is_some_and(|(first, _)| {
            let count = (whole.frames() / PAGEBLOCK_FRAMES) as usize;
            let last = self.states.locate(Pfn::new(end.wrapping_sub(1)));
            last.is_some_and(|(last, _)| last + 1 == first + count)
                && self.states.all(first..first + count, Unity::Reserved)
        });
        let whole = if untouched { whole } else { PfnRange::new(whole.start, whole.start) };
        (whole, [PfnRange::new(range.start, whole.start), PfnRange::new(whole.end, range.end)])
    }

    /// Makes untouched pageblocks, which are whole pairs, free blocks of order 10.
    fn add_pairs(&mut self, pageblocks: Range<usize>) {
        let summary = Summary::free_pair();
        self.free += pageblocks.len() as u64 * PAGEBLOCK_FRAMES;
        self.summaries[pageblocks.clone()].fill(summary);
        self.states.set_all(pageblocks.clone(), Unity::Free);
        if let Some(bucket) = bucket(pageblocks.start, summary.key()) {
            self.index.insert_even(bucket, pageblocks);
        }
    }

    /// Visits the pageblocks of a range, with the offsets of the range's first frame there and the one behind its last.
    fn for_each_part(
        &mut self,
        range: PfnRange,
        mut visit: impl FnMut(&mut Self, usize, u32, u32) -> Result<(), AddError>,
    ) -> Result<(), AddError> {
        let mut pfn = range.start;
        while pfn < range.end {
            let (pageblock, from) = self.states.locate(pfn).ok_or(AddError::NotPlanned(range))?;
            let to = (u64::from(from) + range.end.number() - pfn.number()).min(PAGEBLOCK_FRAMES) as u32;
            visit(self, pageblock, from, to)?;
            pfn = pfn.offset((to - from).into());
        }
        Ok(())
    }

    /// How the zone stands.
    pub fn stats(&self) -> ZoneStats {
        ZoneStats {
            kind: self.kind,
            start: self.extent.start,
            spanned: self.extent.spanned,
            present: self.extent.present,
            managed: self.managed,
            free: self.free,
            watermarks: self.watermarks,
            protection: self.protection,
            isolated: self.special.isolated,
            free_highatomic: self.special.free_highatomic,
            reserved_highatomic: self.special.reserved_highatomic,
            allocated: self.special.allocated,
            // What was allocated and is not any more.
            freed: self.special.allocated + self.free + self.special.isolated + self.waiting - self.managed,
            fallbacks: self.special.fallbacks,
        }
    }

    /// What the free memory is in pieces of: a walk over the pageblocks, for reports.
    pub fn free_blocks(&self) -> FreeBlocks {
        let mut count = FreeBlocks::default();
        for (pageblock, summary) in self.summaries.iter().enumerate() {
            if self.states.unity(pageblock) == Unity::Reserved {
                continue;
            }
            let mobility = summary.mobility().index();
            count.pageblocks[mobility] += 1;
            for block in self.blocks_of(pageblock).filter(|block| block.state == BlockState::Free) {
                count.blocks[mobility][block.order.index()] += 1;
            }
        }
        count
    }
}

/// The bucket that a pageblock is in, if any: the upper half of a free block of order 10 is in none.
fn bucket(pageblock: usize, key: Key) -> Option<Bucket> {
    let order = key.largest()?;
    (order < Order::MAX || is_lower_half(pageblock)).then(|| Bucket { mobility: key.mobility(), order })
}

/// Whether the pageblock is the lower half of what would be a block of order 10. Spans start at even pageblocks.
fn is_lower_half(pageblock: usize) -> bool {
    pageblock.is_multiple_of(2)
}
