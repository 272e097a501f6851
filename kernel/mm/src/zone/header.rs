//! A pageblock's header: its lock, and what is known of it without reading the bits of its 512 frames, in one word.

use core::ops::Range;

use crate::buddy::WORD_ORDER;
use crate::frame::{Mobility, PAGEBLOCK_FRAMES};
use crate::per_cpu::{COUNT_SHIFT, NEARLY_FULL};

// The fields of a header, as ranges of its bits.

/// Words that were freed into since their level was last looked at, a bit each.
const STALE: Range<u32> = 0..8;
/// Frames that the zone counts as free: at most those that are.
const COUNTED: Range<u32> = 8..18;
/// The bucket that the pageblock is in: the order of its largest free block, when it was last looked at, plus one.
const LEVEL: Range<u32> = 18..22;
const MOBILITY: Range<u32> = 22..25;
const ISOLATED: Range<u32> = 25..26;
/// Frames in use that can move, in a pageblock for what cannot, or the reverse: an estimate from above.
const FOREIGN: Range<u32> = 26..36;
/// The words say what the frames are. Otherwise the pageblock is free, reserved or in use as a whole, as its zone knows.
const SPLIT: Range<u32> = 36..37;
/// The pageblock is among those that a search has to look at.
const DIRTY: Range<u32> = 37..38;
/// Free frames but for all 512, which is the next bit: only a pageblock that is dirty has so many and is split.
const FREE: Range<u32> = COUNT_SHIFT..63;
/// A free has to do more than to set bits: the pageblock is not split, or not dirty yet, or all of it is free, which makes this
/// the count's tenth bit.
const SLOW: Range<u32> = 63..64;

/// The greatest value of a field of so many bits.
const fn mask(bits: Range<u32>) -> u64 {
    (1 << (bits.end - bits.start)) - 1
}

/// The header of a pageblock that is not locked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Header(pub(super) u64);

impl Header {
    /// A pageblock whose header is this is locked. No header has a mobility of that number.
    pub(crate) const LOCKED: Self = Self(u64::MAX);

    /// A pageblock that is not split, of this mobility.
    pub(crate) const fn whole(mobility: Mobility) -> Self {
        Self((mobility as u64) << MOBILITY.start | 1 << SLOW.start)
    }

    #[inline(always)]
    const fn get(self, field: Range<u32>) -> u32 {
        (self.0 >> field.start & mask(field)) as u32
    }

    #[inline(always)]
    fn set(&mut self, field: Range<u32>, value: u32) {
        let (shift, mask) = (field.start, mask(field));
        debug_assert!(u64::from(value) <= mask);
        self.0 = self.0 & !(mask << shift) | u64::from(value) << shift;
    }

    /// The header once one more frame is free.
    #[inline(always)]
    pub(crate) fn with_one_more(self) -> Self {
        Self(self.0.wrapping_add(1 << FREE.start))
    }

    /// The header [with one more](Self::with_one_more) free frame as it was before.
    #[inline(always)]
    pub(crate) fn with_one_less(self) -> Self {
        Self(self.0.wrapping_sub(1 << FREE.start))
    }

    /// Whether nothing but bits has to be set for this to be the header: not if the pageblock was locked or is not split, if a
    /// search does not know yet that it has to look here, if all frames are free, or if fewer than `least` are, which is
    /// shifted by [`COUNT_SHIFT`].
    #[inline(always)]
    pub(crate) fn is_plain(self, least: u64) -> bool {
        self.0 as i64 >= least as i64
    }

    /// Free frames, while the pageblock is split.
    #[inline]
    pub(crate) fn free(self) -> u32 {
        // Of a pageblock that is dirty, the bit that says *slow* is one of the count.
        let counted = mask(FREE) | self.0 >> (DIRTY.start - (FREE.end - FREE.start));
        (self.0 >> FREE.start & counted) as u32
    }

    /// Counts frames that became free, of a pageblock that is split and dirty: all of them is the bit that says *slow*.
    #[inline(always)]
    pub(crate) fn add_free(&mut self, frames: u32) {
        debug_assert!(self.is_split() && self.is_dirty() && self.free() + frames <= PAGEBLOCK_FRAMES as u32);
        self.0 = self.0.wrapping_add(u64::from(frames) << FREE.start);
    }

    /// Counts frames that are free no more, at least one, of a pageblock that is split.
    #[inline(always)]
    pub(crate) fn take_free(&mut self, frames: u32) {
        debug_assert!(self.is_split() && frames > 0 && self.free() >= frames);
        self.0 = self.0.wrapping_sub(u64::from(frames) << FREE.start);
    }

    pub(crate) fn set_free(&mut self, frames: u32) {
        debug_assert!(u64::from(frames) < PAGEBLOCK_FRAMES || self.is_split() && self.is_dirty());
        self.set(FREE, frames % PAGEBLOCK_FRAMES as u32);
        self.set_slow(u64::from(frames) == PAGEBLOCK_FRAMES);
    }

    /// The number of what the pageblock is for, below 4, if it is split, neither locked nor isolated, and little is free of it.
    #[inline(always)]
    pub(crate) fn nearly_full(self) -> Option<usize> {
        let many = mask(FREE) / NEARLY_FULL * NEARLY_FULL;
        let fields = many << FREE.start | 1 << SPLIT.start | 1 << ISOLATED.start | 4 << MOBILITY.start;
        (self.0 & fields == 1 << SPLIT.start).then(|| self.get(MOBILITY) as usize % 4)
    }

    /// Whether all frames are free, of a pageblock that is split; one that is not says no.
    #[inline]
    pub(crate) fn is_free(self) -> bool {
        let fields = |free| 1 << SLOW.start | 1 << SPLIT.start | 1 << DIRTY.start | free << FREE.start;
        self.0 & fields(mask(FREE)) == fields(0)
    }

    /// Frames that the zone counts as free.
    pub(crate) fn counted(self) -> u32 {
        self.get(COUNTED)
    }

    pub(crate) fn set_counted(&mut self, frames: u32) {
        self.set(COUNTED, frames);
    }

    pub(crate) fn stale(self) -> u32 {
        self.get(STALE)
    }

    pub(crate) fn set_stale(&mut self, word: usize) {
        self.0 |= 1 << word;
    }

    pub(crate) fn clear_stale(&mut self) {
        self.set(STALE, 0);
    }

    /// The order of the largest free block that the index knows of, plus one; 0 if it knows of none.
    pub(crate) fn level(self) -> u32 {
        self.get(LEVEL)
    }

    pub(crate) fn set_level(&mut self, level: u32) {
        debug_assert!(level <= WORD_ORDER + 3);
        self.set(LEVEL, level);
    }

    /// What the pageblock is for: [`Mobility::Isolate`] while it is isolated.
    pub(crate) fn mobility(self) -> Mobility {
        if self.get(ISOLATED) == 1 { Mobility::Isolate } else { self.own_mobility() }
    }

    /// The mobility that the pageblock has when it is not isolated.
    pub(crate) fn own_mobility(self) -> Mobility {
        match self.get(MOBILITY) {
            0 => Mobility::Unmovable,
            1 => Mobility::Movable,
            2 => Mobility::Reclaimable,
            3 => Mobility::HighAtomic,
            _ => Mobility::Isolate,
        }
    }

    /// What the pageblock is for, if requests have that mobility; not if it is locked or isolated.
    #[inline(always)]
    pub(crate) fn requested(self) -> Option<Mobility> {
        match self.get(MOBILITY.start..ISOLATED.end) {
            0 => Some(Mobility::Unmovable),
            1 => Some(Mobility::Movable),
            2 => Some(Mobility::Reclaimable),
            _ => None,
        }
    }

    pub(crate) fn set_mobility(&mut self, mobility: Mobility) {
        self.set(MOBILITY, mobility as u32);
    }

    pub(crate) fn is_isolated(self) -> bool {
        self.get(ISOLATED) == 1
    }

    pub(crate) fn set_isolated(&mut self, isolated: bool) {
        self.set(ISOLATED, isolated.into());
    }

    /// Frames in use that are of the other kind, movable or not, than the pageblock: an estimate from above.
    pub(crate) fn foreign(self) -> u32 {
        self.get(FOREIGN).min(PAGEBLOCK_FRAMES as u32 - self.free())
    }

    pub(crate) fn set_foreign(&mut self, frames: u32) {
        self.set(FOREIGN, frames.min(PAGEBLOCK_FRAMES as u32));
    }

    pub(crate) fn is_split(self) -> bool {
        self.get(SPLIT) == 1
    }

    pub(crate) fn set_split(&mut self, split: bool) {
        self.set(SPLIT, split.into());
        self.set_slow(false);
    }

    pub(crate) fn is_dirty(self) -> bool {
        self.get(DIRTY) == 1
    }

    pub(crate) fn set_dirty(&mut self, dirty: bool) {
        let all = self.is_free();
        debug_assert!(dirty || !all || !self.is_split());
        self.set(DIRTY, dirty.into());
        self.set_slow(all);
    }

    fn set_slow(&mut self, all_free: bool) {
        self.set(SLOW, u32::from(all_free || !(self.is_split() && self.is_dirty())));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_do_not_touch_each_other() {
        let mut header = Header::whole(Mobility::Reclaimable);
        header.set_split(true);
        header.set_dirty(true);
        header.set_free(512);
        header.set_counted(511);
        header.set_level(9);
        header.set_isolated(true);
        header.set_stale(7);
        assert_eq!((header.free(), header.counted(), header.level()), (512, 511, 9));
        assert_eq!((header.mobility(), header.own_mobility()), (Mobility::Isolate, Mobility::Reclaimable));
        assert!(header.is_split() && header.is_dirty() && header.is_free());
        assert_eq!(header.stale(), 0x80);
        assert_ne!(header, Header::LOCKED);
        header.set_free(400);
        header.set_foreign(200);
        assert_eq!((header.free(), header.foreign()), (400, 112));
    }

    #[test]
    fn a_free_is_plain_only_where_bits_are_all_there_is_to_it() {
        let is_plain = |header: Header, least: u64| header.with_one_more().is_plain(least << COUNT_SHIFT);
        let mut header = Header::whole(Mobility::Movable);
        assert!(!is_plain(header, 1), "not split");
        header.set_split(true);
        header.set_free(100);
        assert!(!is_plain(header, 1), "not dirty yet");
        header.set_dirty(true);
        assert!(is_plain(header, 101));
        assert_eq!(header.with_one_more().free(), 101);
        assert_eq!(header.with_one_more().with_one_less(), header);
        assert!(!is_plain(header, 102), "too few");
        header.set_free(511);
        assert!(!is_plain(header, 1), "the last frame");
        header.set_free(512);
        assert!(!is_plain(header, 1), "there is none left");
        assert!(!is_plain(Header::LOCKED, 1), "locked");
    }
}
