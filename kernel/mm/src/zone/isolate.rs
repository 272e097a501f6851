//! Ranges of frames taken as they are: isolated first, so that nobody else takes from them meanwhile (Linux:
//! `alloc_contig_range`).

use core::ops::Range;

use super::pageblock::{Pageblock, parts};
use super::states::Unity;
use super::{BlockState, Zone};
use crate::buddy::WORD_FRAMES;
use crate::error::RangeError;
use crate::frame::{Mobility, Order, PAGEBLOCK_FRAMES, Pfn, PfnRange};

impl Zone<'_> {
    /// The pageblocks that a range lies in.
    ///
    /// # Errors
    /// [`RangeError`] if any of its frames lies where the zone has no RAM.
    pub(super) fn pageblocks_of(&self, range: PfnRange) -> Result<Range<usize>, RangeError> {
        let not_managed = |pfn| RangeError::NotManaged(pfn);
        let (first, _) = self.states.locate(range.start).ok_or(not_managed(range.start))?;
        let start = Pfn::new(range.start.number() / PAGEBLOCK_FRAMES * PAGEBLOCK_FRAMES);
        let count = (range.end.number() - start.number()).div_ceil(PAGEBLOCK_FRAMES);
        for nth in 1..count {
            let pfn = start.offset(nth * PAGEBLOCK_FRAMES);
            // A span may end and another begin, with a hole between the two that none of them has.
            self.states.locate(pfn).ok_or(not_managed(pfn))?;
        }
        Ok(first..first + count as usize)
    }

    /// Isolates every pageblock that the range lies in: nothing is allocated from it, and what is free there, or is freed,
    /// is counted apart. A pageblock keeps its mobility meanwhile.
    ///
    /// # Errors
    /// [`RangeError`] if the zone does not have them all, or one is isolated already; none is isolated then.
    pub fn isolate(&mut self, range: PfnRange) -> Result<(), RangeError> {
        let pageblocks = self.pageblocks_of(range)?;
        let isolated = |pageblock: &usize| self.summaries[*pageblock].mobility() == Mobility::Isolate;
        if let Some(pageblock) = pageblocks.clone().find(isolated) {
            return Err(RangeError::Isolated(self.states.start_of(pageblock)));
        }
        pageblocks.for_each(|pageblock| self.set_isolated(pageblock, true));
        Ok(())
    }

    /// Ends the isolation of every pageblock that the range lies in.
    pub fn unisolate(&mut self, range: PfnRange) {
        if let Ok(pageblocks) = self.pageblocks_of(range) {
            pageblocks.for_each(|pageblock| self.set_isolated(pageblock, false));
        }
    }

    fn set_isolated(&mut self, pageblock: usize, isolated: bool) {
        let summary = &self.summaries[pageblock];
        if (summary.mobility() == Mobility::Isolate) == isolated {
            return;
        }
        let free = u64::from(summary.free());
        if isolated {
            self.free -= free;
            self.special.isolated += free;
            if summary.mobility() == Mobility::HighAtomic {
                self.special.free_highatomic -= free;
            }
        } else {
            self.special.isolated -= free;
        }
        self.change(pageblock, |pageblock| {
            // A half of a free block of order 10 leaves the other.
            if pageblock.summary.largest() == Some(Order::MAX) {
                pageblock.set_largest(Some(Order::PAGEBLOCK));
            }
            pageblock.summary.set_isolated(isolated);
        });
        if !isolated {
            self.count_free(pageblock, free);
        }
    }

    /// Allocates exactly these frames of isolated pageblocks, all of which must be free, as the largest blocks that they
    /// make up.
    ///
    /// # Errors
    /// [`RangeError`], naming a frame that is not free; the zone is unchanged.
    pub fn take_isolated(&mut self, range: PfnRange) -> Result<(), RangeError> {
        for pageblock in self.pageblocks_of(range)? {
            let start = self.states.start_of(pageblock);
            let part = range.intersection(PfnRange::new(start, start.offset(PAGEBLOCK_FRAMES)));
            self.pageblock(pageblock).check_free(start, part)?;
        }
        for (pfn, order) in range.blocks() {
            let Some((pageblock, offset)) = self.states.locate(pfn) else {
                return Err(RangeError::NotManaged(pfn));
            };
            if order == Order::MAX {
                self.set_pair(pageblock, [Unity::LowerHalf, Unity::UpperHalf], None);
            } else {
                self.change(pageblock, |pageblock| pageblock.allocate_at(offset, order));
            }
        }
        self.special.isolated -= range.frames();
        self.special.allocated += range.frames();
        Ok(())
    }

    /// The first free frames in a row, so many, that anybody may allocate. If their number is a power of two they are
    /// aligned to it. This walks over all blocks of the zone, if it must.
    pub fn free_run(&self, frames: u64) -> Option<PfnRange> {
        let alignment = if frames.is_power_of_two() { frames } else { 1 };
        let mut run = PfnRange::default();
        self.blocks().find_map(|block| {
            if block.state != BlockState::Free || !block.mobility.is_mergeable() {
                run = PfnRange::default();
                return None;
            }
            if run.is_empty() || run.end != block.pfn {
                run.start = block.pfn;
            }
            run.end = block.pfn.offset(block.order.frames());
            let start = Pfn::new(run.start.number().next_multiple_of(alignment));
            (PfnRange::new(start, run.end).frames() >= frames).then(|| PfnRange::new(start, start.offset(frames)))
        })
    }
}

impl Pageblock<'_, '_> {
    /// Checks that the frames of a range, which lies in this pageblock, are free, and not in a word on loan.
    pub(super) fn check_free(&self, start: Pfn, range: PfnRange) -> Result<(), RangeError> {
        let (from, to) = (range.start.number() - start.number(), range.end.number() - start.number());
        match self.unity() {
            Unity::Free => Ok(()),
            Unity::Reserved => Err(RangeError::Reserved(range.start)),
            Unity::Split => parts(from as u32, to as u32).try_for_each(|(word, bits)| {
                let states = self.word(word);
                let free = if self.states.is_lent(self.number, word) { 0 } else { states.free() };
                let taken = bits & !free;
                if taken == 0 {
                    return Ok(());
                }
                let bit = taken.trailing_zeros();
                let pfn = start.offset(word as u64 * u64::from(WORD_FRAMES) + u64::from(bit));
                let reserved = states.reserved() >> bit & 1 == 1;
                Err(if reserved { RangeError::Reserved(pfn) } else { RangeError::Busy(pfn) })
            }),
            Unity::Allocated | Unity::LowerHalf | Unity::UpperHalf => Err(RangeError::Busy(range.start)),
        }
    }
}
