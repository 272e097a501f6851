//! Allocated frames in a row that become more or fewer where they are.
//!
//! What is allocated as the largest blocks that make a range up is so afterwards too: growing joins blocks to what is
//! free behind them, shrinking splits the one that the new end lies in. Nothing moves; bits at block starts change.

use super::Zone;
use super::pageblock::Pageblock;
use super::states::{Unity, place};
use crate::buddy::{self, WORD_ORDER};
use crate::error::{FreeError, RangeError};
use crate::frame::{Mobility, Order, PAGEBLOCK_FRAMES, Pfn, PfnRange};

impl Zone<'_> {
    /// Cuts a range, which is allocated as its largest blocks, down to its first frames, so many, of which there is at least
    /// one.
    ///
    /// # Errors
    /// [`FreeError`] if it is not allocated so.
    pub fn shrink(&mut self, range: PfnRange, frames: u64) -> Result<(), FreeError> {
        let end = range.start.offset(frames);
        for (pfn, order) in range.blocks().filter(|(pfn, order)| pfn.offset(order.frames()) > end) {
            if pfn < end { self.trim(pfn, order, PfnRange::new(pfn, end).frames())? } else { self.free(pfn, order)? }
        }
        Ok(())
    }

    /// Takes the free frames behind allocated blocks up to `end`, for contents of this mobility, and joins them to those.
    ///
    /// Mobilities are not mixed: of a pageblock of another kind frames are taken only if all of it is free, and it is one of
    /// this kind then.
    ///
    /// # Errors
    /// [`RangeError`] for the first frame that cannot be taken; the zone is unchanged.
    pub fn extend(&mut self, range: PfnRange, end: Pfn, mobility: Mobility) -> Result<(), RangeError> {
        let added = PfnRange::new(range.end, end);
        for pageblock in self.pageblocks_of(added)? {
            let start = self.states.start_of(pageblock);
            let part = added.intersection(PfnRange::new(start, start.offset(PAGEBLOCK_FRAMES)));
            self.pageblock(pageblock).check_free(start, part)?;
            match self.summaries[pageblock].mobility() {
                own if own == mobility || own.is_mergeable() && self.states.unity(pageblock) == Unity::Free => {}
                Mobility::Isolate => return Err(RangeError::Isolated(start)),
                _ => return Err(RangeError::OtherMobility(part.start)),
            }
        }
        added.blocks().for_each(|(pfn, order)| self.take_at(pfn, order, mobility));
        // Blocks that begin where one begins already may have grown, and reach behind others now.
        for (pfn, order) in PfnRange::new(range.start, end).blocks() {
            self.join(pfn, order);
        }
        Ok(())
    }

    /// Allocates a block of which all frames are free, in pageblocks that this request may use.
    fn take_at(&mut self, pfn: Pfn, order: Order, mobility: Mobility) {
        let Some((pageblock, offset)) = self.states.locate(pfn) else { return };
        if order == Order::MAX {
            self.set_pair(pageblock, [Unity::LowerHalf, Unity::UpperHalf], None);
        } else {
            self.change(pageblock, |pageblock| pageblock.allocate_at(offset, order));
        }
        let pageblocks = if order == Order::MAX { pageblock..=pageblock | 1 } else { pageblock..=pageblock };
        for pageblock in pageblocks {
            if self.summaries[pageblock].mobility() != mobility {
                self.retype(pageblock, mobility);
                // It was free as a whole.
                self.summaries[pageblock].set_foreign(0);
            }
        }
        self.free -= order.frames();
        self.special.allocated += order.frames();
    }

    /// Makes allocated frames one block, of whatever blocks they were.
    fn join(&mut self, pfn: Pfn, order: Order) {
        let Some((pageblock, offset)) = self.states.locate(pfn) else { return };
        if self.states.order_of(pfn) == Ok(order) {
            return;
        }
        if order < Order::PAGEBLOCK {
            return self.pageblock(pageblock).join(offset, order);
        }
        let unities = [Unity::LowerHalf, Unity::UpperHalf];
        let unities = if order == Order::MAX { &unities[..] } else { &[Unity::Allocated] };
        for (pageblock, unity) in (pageblock..).zip(unities) {
            self.pageblock(pageblock).unite(*unity, None);
        }
    }
}

impl Pageblock<'_, '_> {
    /// Makes the allocated frames of a block of `order`, below 9, one block.
    fn join(&mut self, offset: u32, order: Order) {
        let (first, bit) = place(offset);
        let order = u32::from(order.get());
        if order < WORD_ORDER {
            return self.word(first).join(buddy::ones(order) << bit, 1 << bit);
        }
        for word in first..first + (1 << (order - WORD_ORDER)) {
            self.word(word).join(u64::MAX, u64::from(word == first));
        }
    }
}
