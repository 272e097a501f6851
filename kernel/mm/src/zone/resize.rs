//! Allocated frames in a row that become more or fewer where they are.
//!
//! What is allocated as the largest blocks that make a range up is so afterwards too: growing joins blocks to what is
//! free behind them, shrinking splits the one that the new end lies in. Nothing moves; bits at block starts change.

use super::Zone;
use super::mobility::Fallback;
use crate::error::{FreeError, RangeError};
use crate::frame::{Mobility, Order, Pfn, PfnRange};

impl Zone<'_> {
    /// Cuts a range, which is allocated as its largest blocks, down to its first frames, so many, of which there is at least
    /// one.
    ///
    /// # Errors
    /// [`FreeError`] if it is not allocated so.
    pub(crate) fn shrink(&mut self, range: PfnRange, frames: u64) -> Result<(), FreeError> {
        let end = range.start.offset(frames);
        for (pfn, order) in range.blocks().filter(|(pfn, order)| pfn.offset(order.frames()) > end) {
            if pfn < end { self.trim(pfn, order, PfnRange::new(pfn, end).frames())? } else { self.free(pfn, order)? }
        }
        Ok(())
    }

    /// Takes the free frames behind allocated blocks up to `end`, for contents of this mobility, and joins them to those.
    ///
    /// # Errors
    /// [`RangeError`] for the first frame that cannot be taken; the zone is unchanged.
    pub(crate) fn extend(&mut self, range: PfnRange, end: Pfn, mobility: Mobility) -> Result<(), RangeError> {
        self.take_free(PfnRange::new(range.end, end), Some(mobility))?;
        // Blocks that begin where one begins already may have grown, and reach behind others now.
        for (pfn, order) in PfnRange::new(range.start, end).blocks() {
            self.join(pfn, order);
        }
        Ok(())
    }

    /// Takes free frames as the largest blocks that they make up: whatever their pageblocks are for, or for contents of one mobility.
    ///
    /// Mobilities are not mixed then: of a pageblock of another kind frames are taken only if all of it is free, and it is one of
    /// this kind then.
    ///
    /// # Errors
    /// [`RangeError`] for the first frame that cannot be taken; the zone is unchanged.
    pub(crate) fn take_free(&mut self, range: PfnRange, mobility: Option<Mobility>) -> Result<(), RangeError> {
        self.check_free(range)?;
        mobility.map_or(Ok(()), |mobility| self.make_room(range, mobility))?;
        range.blocks().for_each(|(pfn, order)| self.take_at(pfn, order));
        Ok(())
    }

    /// Has all pageblocks of a range of free frames be of this mobility.
    ///
    /// # Errors
    /// [`RangeError`] for the first that may not be so; nothing has changed.
    fn make_room(&mut self, range: PfnRange, mobility: Mobility) -> Result<(), RangeError> {
        let numbers = self.pageblocks_of(range)?;
        for number in numbers.clone() {
            let mut block = self.blocks.lock(number);
            self.file(&mut block);
            let own = block.header.mobility();
            let free = self.wholes.is_free(number, own);
            match own {
                _ if own == mobility || own.is_mergeable() && free => {}
                Mobility::Isolate => return Err(RangeError::Isolated(self.blocks.start_of(number))),
                _ => return Err(RangeError::OtherMobility(range.start.max(self.blocks.start_of(number)))),
            }
        }
        for number in numbers {
            let own = self.blocks.peek(number).mobility();
            if own != mobility {
                // It is free as a whole.
                self.stats.fallbacks[Fallback::ClaimedWhole as usize][mobility.index()][own.index()] += 1;
                self.retype(number, |header| header.set_mobility(mobility));
            }
        }
        Ok(())
    }

    /// Makes allocated frames one block, of whatever blocks they were.
    fn join(&mut self, pfn: Pfn, order: Order) {
        let Some((number, offset)) = self.blocks.locate(pfn) else { return };
        if self.order_of(pfn) == Ok(order) {
            return;
        }
        if order < Order::PAGEBLOCK {
            return self.blocks.lock(number).join(offset, order.get().into());
        }
        for nth in 0..=usize::from(order == Order::MAX) {
            let mut block = self.blocks.lock(number + nth);
            if block.header.is_split() {
                self.remove(number + nth, block.header);
                block.unite();
            }
        }
        self.wholes.set_allocated(number, order);
    }
}
