//! Freeing: what became free is seen to be an allocated block of just that order first, and merges by itself.
//!
//! Bits are set, counts raised, and only where a larger block came about than its word had are the summary and the index
//! told. No path loops over more than the words of one pageblock.

use super::states::{Unity, place};
use super::{Batch, WordNumber, Zone};
use crate::buddy::{self, WORD_ORDER};
use crate::error::FreeError;
use crate::frame::{Order, PAGEBLOCK_FRAMES, Pfn};

impl Zone<'_> {
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

    /// Frees the block of `order`, less than a word, that starts at `pfn`, unless there is none.
    fn free_in_word(&mut self, pfn: Pfn, order: Order) -> bool {
        let Some((pageblock, offset)) = self.states.locate(pfn) else { return false };
        let (word, bit) = place(offset);
        self.free_batch(Batch { word: WordNumber::new(pageblock, word), order, heads: 1 << bit }) == 0
    }

    /// Frees the block of order 0 at `pfn`, unless there is none, or an arena has to do with its word.
    #[inline(always)]
    pub fn free_frame(&mut self, pfn: Pfn) -> bool {
        let Some((pageblock, offset)) = self.states.locate(pfn) else { return false };
        let (word, bit) = place(offset);
        self.states.speaks(pageblock, word)
            && !self.states.is_returning(pageblock, word)
            && self.free_single(pageblock, word, 1 << bit)
    }

    /// All allocated blocks of order 0 in the word of `pfn`; `None` if there can be none, or an arena has to do with the word.
    pub fn singles(&self, pfn: Pfn) -> Option<Batch> {
        let (pageblock, offset) = self.states.locate(pfn)?;
        let (word, _) = place(offset);
        let is_known = self.states.speaks(pageblock, word) && !self.states.is_returning(pageblock, word);
        is_known.then(|| Batch {
            word: WordNumber::new(pageblock, word),
            order: Order::ZERO,
            heads: self.states.word(pageblock, word).allocated(0),
        })
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
    #[inline(always)]
    fn free_single(&mut self, pageblock: usize, word: usize, frame: u64) -> bool {
        let Some(free) = self.states.word(pageblock, word).release_single(frame) else { return false };
        self.grow(pageblock, word, free, frame.trailing_zeros(), 1);
        true
    }

    /// Counts a block that became free at `bit` of a word of which all of `free` is free now.
    ///
    /// Merging only ever raises a level. Asking whether the block has grown into one that is larger than any that the word
    /// had is cheaper than asking for the largest.
    #[inline(always)]
    fn grow(&mut self, pageblock: usize, word: usize, free: u64, bit: u32, frames: u64) {
        self.count_free(pageblock, frames);
        let summary = &mut self.summaries[pageblock];
        summary.count_free(frames);
        if buddy::is_block(free, bit, summary.level(word)) {
            self.raise(pageblock, word, free);
        }
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

    #[inline(never)]
    fn raise(&mut self, pageblock: usize, word: usize, free: u64) {
        self.change(pageblock, |pageblock| pageblock.raise(word, buddy::level(free)));
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
}
