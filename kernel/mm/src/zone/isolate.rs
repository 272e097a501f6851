//! Ranges of frames taken as they are: isolated first, so that nobody else takes from them meanwhile (Linux:
//! `alloc_contig_range`).

use core::ops::Range;

use super::{BlockState, Zone};
use crate::error::RangeError;
use crate::frame::{Order, PAGEBLOCK_FRAMES, Pfn, PfnRange};

impl Zone<'_> {
    /// The pageblocks that a range lies in.
    ///
    /// # Errors
    /// [`RangeError`] if any of its frames lies where the zone has no RAM.
    pub(super) fn pageblocks_of(&self, range: PfnRange) -> Result<Range<usize>, RangeError> {
        // A span may end and another begin, with a hole between the two that none of them has.
        self.blocks.parts_of(range).try_fold(0..0, |numbers, part| {
            let (number, ..) = part.map_err(RangeError::NotManaged)?;
            Ok(if numbers.is_empty() { number..number + 1 } else { numbers.start..number + 1 })
        })
    }

    /// Isolates every pageblock that the range lies in: nothing is allocated from it, and what is free there, or is freed,
    /// is counted apart. A pageblock keeps its mobility meanwhile.
    ///
    /// # Errors
    /// [`RangeError`] if the zone does not have them all, or one is isolated already; none is isolated then.
    pub(crate) fn isolate(&mut self, range: PfnRange) -> Result<(), RangeError> {
        let pageblocks = self.pageblocks_of(range)?;
        if let Some(pageblock) = pageblocks.clone().find(|number| self.blocks.peek(*number).is_isolated()) {
            return Err(RangeError::Isolated(self.blocks.start_of(pageblock)));
        }
        pageblocks.for_each(|pageblock| self.set_isolated(pageblock, true));
        Ok(())
    }

    /// Ends the isolation of every pageblock that the range lies in.
    ///
    /// # Errors
    /// [`RangeError`] if the zone does not have them all; the zone is unchanged.
    pub(crate) fn unisolate(&mut self, range: PfnRange) -> Result<(), RangeError> {
        self.pageblocks_of(range)?.for_each(|pageblock| self.set_isolated(pageblock, false));
        Ok(())
    }

    fn set_isolated(&mut self, number: usize, isolated: bool) {
        self.settle_at(self.blocks.start_of(number));
        self.retype(number, |header| header.set_isolated(isolated));
    }

    /// Checks that all frames of a range are free.
    ///
    /// # Errors
    /// [`RangeError`], naming the first that is not.
    pub(super) fn check_free(&self, range: PfnRange) -> Result<(), RangeError> {
        self.pageblocks_of(range)?;
        let mut parts = self.blocks.parts_of(range).flatten();
        match parts.find_map(|(number, from, to)| self.first_but(BlockState::Free, number, from, to)) {
            None => Ok(()),
            Some((pfn, BlockState::Reserved)) => Err(RangeError::Reserved(pfn)),
            Some((pfn, _)) => Err(RangeError::Busy(pfn)),
        }
    }

    /// Allocates a block, as large as blocks can be there, of which all frames are free.
    pub(super) fn take_at(&mut self, pfn: Pfn, order: Order) {
        let Some((number, offset)) = self.blocks.locate(pfn) else { return };
        self.stats.allocated += order.frames();
        if order >= Order::PAGEBLOCK {
            return self.take_whole_at(number, order);
        }
        self.take_in(number, order, |_| offset);
    }

    /// Allocates free pageblocks, one or a pair, that may be of two mobilities and not whole ones yet.
    fn take_whole_at(&mut self, number: usize, order: Order) {
        for nth in 0..=usize::from(order == Order::MAX) {
            let mut block = self.blocks.lock(number + nth);
            self.file(&mut block);
            let mobility = block.header.mobility();
            self.wholes.remove(number + nth, mobility);
            self.count_taken(mobility, PAGEBLOCK_FRAMES);
        }
        self.wholes.set_allocated(number, order);
    }
}
