//! Words on loan: what the arenas of CPUs hand out without the zone's lock.

use super::{Batch, WordNumber, Zone};
use crate::buddy::WORD_FRAMES;
use crate::frame::{Mobility, Order, Pfn};

/// What a zone gives an arena.
pub(crate) enum Lent {
    /// A word on loan: its first frame, and the blocks.
    Word(Pfn, Batch),
    /// One allocated block.
    Block(Pfn),
}

/// The free frames, for each frame of a block, that a pageblock must have for a word of it to be lent.
const WORTH_LENDING: u32 = 64;

impl Zone<'_> {
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

    /// Frames that are free and wait, in words on loan, for their borrowers.
    pub fn waiting(&self) -> u64 {
        self.waiting
    }
}
