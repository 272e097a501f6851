//! Memory that comes into a zone: at set-up, and later.

use core::ops::Range;

use super::pageblock::Summary;
use super::states::Unity;
use super::{Zone, bucket};
use crate::error::AddError;
use crate::frame::{Order, PAGEBLOCK_FRAMES, Pfn, PfnRange};

impl Zone<'_> {
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
}
