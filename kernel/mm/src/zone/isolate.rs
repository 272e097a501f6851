//! Ranges of frames taken as they are: isolated first, so that nobody else takes from them meanwhile (Linux:
//! `alloc_contig_range`).

use core::ops::Range;

use super::pageblock::WORDS;
use super::{BlockState, State, Zone};
use crate::buddy::{WORD_FRAMES, parts};
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
        let mut block = self.blocks.lock(number);
        self.file(&mut block);
        let before = block.header;
        if before.is_isolated() == isolated {
            return;
        }
        let free = self.counted(number, before);
        let whole = matches!(self.wholes.state(number), State::Free(_));
        self.count_taken(before.mobility(), free);
        if whole {
            self.wholes.remove(number, before.mobility())
        } else {
            self.remove(number, before)
        }
        block.header.set_isolated(isolated);
        let mobility = block.header.mobility();
        self.count_free(mobility, free);
        if !whole {
            self.insert(number, block.header);
        } else {
            self.file_as_whole(number, mobility);
        }
    }

    /// Allocates exactly these frames, all of which must be free, as the largest blocks that they make up, whatever their
    /// pageblocks are for.
    ///
    /// # Errors
    /// [`RangeError`], naming a frame that is not free; the zone is unchanged.
    pub(crate) fn take_range(&mut self, range: PfnRange) -> Result<(), RangeError> {
        self.check_free(range)?;
        for (pfn, order) in range.blocks() {
            self.take_at(pfn, order);
        }
        Ok(())
    }

    /// Checks that all frames of a range are free.
    ///
    /// # Errors
    /// [`RangeError`], naming the first that is not.
    pub(super) fn check_free(&self, range: PfnRange) -> Result<(), RangeError> {
        self.pageblocks_of(range)?;
        let mut parts = self.blocks.parts_of(range).flatten();
        parts.try_for_each(|(number, from, to)| self.check_free_part(number, from, to))
    }

    fn check_free_part(&self, number: usize, from: u32, to: u32) -> Result<(), RangeError> {
        let start = self.blocks.start_of(number);
        let (header, states) = self.blocks.snapshot(number);
        if !header.is_split() {
            return match self.wholes.state(number) {
                State::Free(_) => Ok(()),
                State::Lower => Err(RangeError::Reserved(start.offset(from.into()))),
                State::Allocated(_) | State::Inside => Err(RangeError::Busy(start.offset(from.into()))),
            };
        }
        parts(from as usize..to as usize).try_for_each(|(word, frames)| {
            let taken = frames & !states.free[word % WORDS];
            if taken == 0 {
                return Ok(());
            }
            let bit = taken.trailing_zeros();
            let pfn = start.offset(word as u64 * u64::from(WORD_FRAMES) + u64::from(bit));
            let reserved = states.reserved[word % WORDS] >> bit & 1 == 1;
            Err(if reserved { RangeError::Reserved(pfn) } else { RangeError::Busy(pfn) })
        })
    }

    /// Allocates a block, as large as blocks can be there, of which all frames are free.
    pub(super) fn take_at(&mut self, pfn: Pfn, order: Order) {
        let Some((number, offset)) = self.blocks.locate(pfn) else { return };
        self.allocated += order.frames();
        if order >= Order::PAGEBLOCK {
            return self.take_whole_at(number, order);
        }
        let mut block = self.blocks.lock(number);
        self.open(&mut block);
        block.allocate_at(offset, order.get().into());
        self.file(&mut block);
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

    /// The first free frames in a row, so many, aligned to `alignment` of them, that anybody may allocate. This walks over all
    /// blocks of the zone, if it must.
    pub(crate) fn free_run(&mut self, frames: u64, alignment: u64) -> Option<PfnRange> {
        let mut run = PfnRange::default();
        self.blocks_by_address().find_map(|block| {
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
