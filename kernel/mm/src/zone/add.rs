//! Memory that comes into a zone: at set-up, and later.

use core::ops::Range;

use super::pageblock::INITIAL;
use super::{BlockState, Zone};
use crate::error::AddError;
use crate::frame::{Order, PAGEBLOCK_FRAMES, Pfn, PfnRange};

impl Zone<'_> {
    /// Checks that frames lie in the zone's spans and are reserved, so that they can be added.
    ///
    /// # Errors
    /// [`AddError`], saying which frame is not.
    pub(crate) fn check_addable(&self, range: PfnRange) -> Result<(), AddError> {
        let (_, ragged) = self.whole_pairs(range);
        ragged.into_iter().try_for_each(|range| {
            self.blocks.parts_of(range).try_for_each(|part| {
                let (number, from, to) = part.map_err(|_| AddError::NotPlanned(range))?;
                let other = self.first_but(BlockState::Reserved, number, from, to);
                other.map_or(Ok(()), |(pfn, _)| Err(AddError::Overlaps(pfn)))
            })
        })
    }

    /// Gives reserved frames to the zone. This is set-up: it loops over the pageblocks of the range, but the whole ones
    /// among them cost a few words each.
    ///
    /// # Errors
    /// [`AddError`] if any of the frames is not in a span or was given before; the zone is unchanged.
    pub(crate) fn add(&mut self, range: PfnRange) -> Result<(), AddError> {
        self.check_addable(range)?;
        let (whole, ragged) = self.whole_pairs(range);
        let blocks = self.blocks;
        for (number, from, to) in ragged.into_iter().flat_map(|range| blocks.parts_of(range)).flatten() {
            self.add_part(number, from, to);
        }
        if let Some((first, _)) = self.blocks.locate(whole.start).filter(|_| !whole.is_empty()) {
            self.wholes.insert_all(first..first + (whole.frames() / PAGEBLOCK_FRAMES) as usize, INITIAL);
            self.stats.free += whole.frames();
        }
        self.stats.managed += range.frames();
        Ok(())
    }

    /// Makes reserved frames of a pageblock free.
    fn add_part(&mut self, number: usize, from: u32, to: u32) {
        if u64::from(to - from) == PAGEBLOCK_FRAMES {
            return self.insert_whole(number);
        }
        let mut block = self.blocks.lock(number);
        if !block.header.is_split() {
            self.split_whole(&mut block);
        }
        self.blocks.note_dirty(&mut block);
        block.add(from, to);
        self.file(&mut block);
    }

    /// The part of the range, which may be empty, that is whole blocks of order 10 in one span, all untouched; and what
    /// is left of the range before and behind it.
    fn whole_pairs(&self, range: PfnRange) -> (PfnRange, [PfnRange; 2]) {
        let step = Order::MAX.frames();
        let start = range.start.number().next_multiple_of(step).min(range.end.number());
        let end = (range.end.number() / step * step).max(start);
        let whole = PfnRange::new(Pfn::new(start), Pfn::new(end));
        let untouched = self.blocks.locate(whole.start).is_some_and(|(first, _)| {
            let count = (whole.frames() / PAGEBLOCK_FRAMES) as usize;
            let last = self.blocks.locate(Pfn::new(end.wrapping_sub(1)));
            last.is_some_and(|(last, _)| last + 1 == first + count) && self.are_untouched(first..first + count)
        });
        let whole = if untouched { whole } else { PfnRange::new(whole.start, whole.start) };
        (whole, [PfnRange::new(range.start, whole.start), PfnRange::new(whole.end, range.end)])
    }

    /// Whether nothing of these pageblocks was ever added.
    fn are_untouched(&self, numbers: Range<usize>) -> bool {
        self.wholes.all_lower(numbers.clone()) && self.blocks.all[numbers].iter().all(|block| !block.peek().is_split())
    }
}
