//! What the zone knows of its pageblocks, brought up to date.

use super::header::Header;
use super::pageblock::Locked;
use super::pageblocks::Pageblocks;
use super::{Watermarks, Zone};
use crate::frame::{Mobility, Pfn};

impl Zone<'_> {
    /// Looks at the next dirty pageblock, in the order in which they became so: none starves. False if there is none.
    #[inline]
    pub(super) fn settle_next(&mut self) -> bool {
        let next = self.next_dirty();
        next.into_iter().for_each(|number| self.settle_dirty(number));
        next.is_some()
    }

    #[inline(never)]
    fn settle_dirty(&mut self, number: u32) {
        let mut block = self.blocks.lock(number as usize);
        // Only a dirty pageblock can say that all of it is free.
        self.file_at_once(&mut block);
        self.dirty = Pageblocks::pass_dirty(&mut block);
        if self.counted_to == Some(number) {
            self.counted_to = self.dirty;
        }
    }

    #[inline]
    fn next_dirty(&mut self) -> Option<u32> {
        if self.dirty.is_none() {
            self.dirty = self.blocks.take_dirty();
            self.counted_to = self.dirty;
        }
        self.dirty
    }

    /// Counts what is free of a dirty pageblock before its turn has come, and goes on to the next; false if there is none. A look
    /// at the pageblock's words would take ten times as long.
    fn count_next(&mut self) -> bool {
        let Some(number) = self.next_dirty().and(self.counted_to) else { return false };
        let mut block = self.blocks.lock(number as usize);
        let mobility = block.header.mobility();
        if block.header.is_split() {
            self.recount(&mut block, mobility);
        }
        let next = Pageblocks::behind(&block).or_else(|| {
            // The list ends here: what became dirty meanwhile is behind it.
            let first = self.blocks.take_dirty()?;
            block.set_next(first.into());
            Some(first)
        });
        // What is freed later into the last one is counted with it, as long as it is that.
        self.counted_to = next.or(self.counted_to);
        next.is_some()
    }

    /// Looks at all pageblocks that are dirty now: before reports, and before anything is refused.
    pub(crate) fn settle_all(&mut self) {
        while self.settle_next() {}
    }

    /// Looks at the pageblock that a frame is in: as a rule, since all of it has become free.
    pub(crate) fn settle_at(&mut self, pfn: Pfn) {
        if let Some((mut block, _)) = self.blocks.lock_at(pfn) {
            self.file(&mut block);
        }
    }

    /// Brings the levels, the count and the bucket of a locked pageblock up to date; if all of it is free, it is a whole one.
    #[inline(never)]
    pub(super) fn file(&mut self, block: &mut Locked<'_>) {
        self.file_at_once(block);
    }

    /// The same, for the two that every refill comes by.
    #[inline(always)]
    pub(super) fn file_at_once(&mut self, block: &mut Locked<'_>) {
        if !block.header.is_split() {
            return;
        }
        let mobility = block.header.mobility();
        if block.header.is_free() {
            return self.file_whole(block, mobility);
        }
        let (before, level) = (block.header.level(), block.refresh());
        if level != before {
            self.index.relocate(mobility, block.number, before, level);
            block.header.set_level(level);
        }
        self.recount(block, mobility);
    }

    /// Counts all free frames of a split pageblock.
    #[inline]
    fn recount(&mut self, block: &mut Locked<'_>, mobility: Mobility) {
        let (free, counted) = (block.header.free(), block.header.counted());
        if free != counted {
            self.count_free(mobility, u64::from(free).wrapping_sub(counted.into()));
            block.header.set_counted(free);
        }
    }

    #[cold]
    fn file_whole(&mut self, block: &mut Locked<'_>, mobility: Mobility) {
        self.recount(block, mobility);
        self.remove(block.number, block.header);
        block.unite();
        block.header.set_counted(0);
        self.file_as_whole(block.number, mobility);
    }

    /// Takes a split pageblock out of its bucket.
    #[inline]
    pub(super) fn remove(&mut self, number: usize, header: Header) {
        self.index.relocate(header.mobility(), number, header.level(), 0);
    }

    /// Puts a split pageblock into its bucket.
    #[inline]
    pub(super) fn insert(&mut self, number: usize, header: Header) {
        self.index.relocate(header.mobility(), number, 0, header.level());
    }

    /// Counts frames that became free in a pageblock of this mobility; the negative of a number, those that are so no more.
    #[inline(always)]
    pub(super) fn count_free(&mut self, mobility: Mobility, frames: u64) {
        let count = self.stats.count_of(mobility);
        *count = count.wrapping_add(frames);
    }

    #[inline]
    pub(super) fn count_taken(&mut self, mobility: Mobility, frames: u64) {
        self.count_free(mobility, frames.wrapping_neg());
    }

    /// Whether a request that may use every zone may take so many frames and leave what the fast path leaves.
    #[inline]
    pub(crate) fn is_above_low(&mut self, frames: u64) -> bool {
        let low = self.low_for_normal();
        self.stats.free >= low + frames || self.admits(frames, (low, 0), false)
    }

    /// What is free for a request, as far as the zone knows: also what is kept for pressing ones, if it may use that.
    pub(super) fn free_for(&self, reserves_too: bool) -> u64 {
        self.stats.free + if reserves_too { self.stats.free_highatomic } else { 0 }
    }

    /// Whether a request may take so many frames and leave `mark` and `reserve` of them: of those for any request or, if it may
    /// use those as well, also of those that are kept for pressing ones. Looks at dirty pageblocks until there are enough.
    pub(crate) fn admits(&mut self, frames: u64, (mark, reserve): (u64, u64), reserves_too: bool) -> bool {
        loop {
            if Watermarks::admit_frames(self.free_for(reserves_too), frames, mark, reserve) {
                return true;
            }
            if !self.count_next() && !self.settle_next() {
                return false;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::violations::zone;
    use super::*;
    use crate::frame::Order;

    /// Frees a block of a pageblock, as a CPU does that does not have the zone's lock.
    fn free(zone: &Zone<'_>, number: usize, offset: u64, order: u8) {
        let pfn = zone.blocks.start_of(number).offset(offset);
        let (block, _) = zone.blocks.lock_at(pfn).unwrap();
        assert!(zone.blocks.free(block, pfn, Order::new(order).unwrap(), None).is_some());
    }

    #[test]
    fn what_is_counted_before_its_turn_is_counted_once() {
        let (mut zone, _) = zone();
        zone.settle_all();
        let before = zone.stats.free;
        free(&zone, 8, 64, 5);
        free(&zone, 9, 64, 5);
        assert_eq!(zone.stats.free, before, "nobody has looked");
        assert!(zone.count_next());
        assert_eq!((zone.stats.free, zone.count_next()), (before + 32, false), "that was all");
        assert_eq!(zone.stats.free, before + 64);
        free(&zone, 8, 0, 6);
        assert!(!zone.count_next(), "the last one is counted once more");
        assert_eq!(zone.stats.free, before + 128);
        free(&zone, 0, 64, 2);
        assert_eq!([zone.count_next(), zone.count_next()], [true, false], "another is the last now");
        assert_eq!((zone.stats.free, zone.validate()), (before + 132, Ok(())));
        zone.settle_all();
        assert_eq!((zone.stats.free, zone.validate()), (before + 132, Ok(())));
    }

    #[test]
    fn counting_goes_on_behind_what_was_settled() {
        let (mut zone, _) = zone();
        zone.settle_all();
        let before = zone.stats.free;
        free(&zone, 8, 64, 5);
        free(&zone, 9, 64, 5);
        assert!(zone.settle_next());
        free(&zone, 9, 0, 6);
        assert_eq!([zone.count_next(), zone.count_next()], [true, false]);
        assert_eq!((zone.stats.free, zone.validate()), (before + 128, Ok(())));
    }
}
