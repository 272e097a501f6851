//! A pageblock's header: its lock, and what is known of it without reading the bits of its 512 frames, in one word.

use crate::buddy::WORD_ORDER;
use crate::frame::{Mobility, Order, PAGEBLOCK_FRAMES};

/// A field of the header: its lowest bit, and its width.
#[derive(Clone, Copy)]
struct Field(u32, u32);

impl Field {
    const fn mask(self) -> u64 {
        (1 << self.1) - 1
    }
}

/// Words that were freed into since their level was last looked at, a bit each.
const STALE: Field = Field(0, 8);
/// Frames that the zone counts as free: at most those that are.
const COUNTED: Field = Field(8, 10);
/// The bucket that the pageblock is in: the order of its largest free block, when it was last looked at, plus one.
const LEVEL: Field = Field(18, 4);
const MOBILITY: Field = Field(22, 3);
const ISOLATED: Field = Field(25, 1);
/// Of the frames that are in use, those that can move in a pageblock of what cannot, or the reverse, at most.
const FOREIGN: Field = Field(26, 10);
/// The words speak. Otherwise the pageblock is free, reserved or in use as a whole, as its zone knows.
const SPLIT: Field = Field(36, 1);
/// The pageblock is among those that a search has to look at.
const DIRTY: Field = Field(37, 1);
/// Free frames. All of them are the field's highest bit.
const FREE: Field = Field(53, 10);
/// A free has to do more than to set bits: the pageblock is not split, or not dirty yet.
const SLOW: Field = Field(63, 1);

/// The header of a pageblock that is not locked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Header(u64);

impl Header {
    /// A pageblock whose header is this is locked. No header has a mobility of that number.
    pub const LOCKED: u64 = u64::MAX;
    /// With fewer free frames a pageblock is nearly full: what is freed there is best used again at once. (Measured: with more,
    /// memory does not become whole again.)
    const NEARLY_FULL: u64 = 32;

    /// A pageblock that is not split, of this mobility.
    pub const fn whole(mobility: Mobility) -> Self {
        Self((mobility as u64) << MOBILITY.0 | 1 << SLOW.0)
    }

    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    pub const fn bits(self) -> u64 {
        self.0
    }

    #[inline(always)]
    const fn get(self, field: Field) -> u32 {
        (self.0 >> field.0 & field.mask()) as u32
    }

    #[inline(always)]
    fn set(&mut self, field: Field, value: u32) {
        debug_assert!(u64::from(value) <= field.mask());
        self.0 = self.0 & !(field.mask() << field.0) | u64::from(value) << field.0;
    }

    /// The header once a word has so many more free frames, at most 32; `None` if that takes more than to set bits: if the
    /// pageblock was locked or is not split, if a search does not know yet that it has to look here, if the last frame became
    /// free, or if so few are that the block is best used again.
    #[inline(always)]
    pub fn freed_quickly(self, word: usize, frames: u64) -> Option<Self> {
        // All ones and so little more are below, what is slow or has all frames free is above.
        const LEAST: u64 = Header::NEARLY_FULL << FREE.0;
        const MOST: u64 = PAGEBLOCK_FRAMES << FREE.0;
        let freed = self.0.wrapping_add(frames << FREE.0);
        if freed.wrapping_sub(LEAST) < MOST - LEAST { Some(Self(freed | 1 << word)) } else { None }
    }

    /// Free frames, while the pageblock is split.
    pub fn free(self) -> u32 {
        self.get(FREE)
    }

    pub fn set_free(&mut self, frames: u32) {
        self.set(FREE, frames);
    }

    pub fn is_nearly_full(self) -> bool {
        u64::from(self.free()) < Self::NEARLY_FULL
    }

    /// Whether all frames are free, of a pageblock that is split.
    pub fn is_free(self) -> bool {
        u64::from(self.free()) == PAGEBLOCK_FRAMES
    }

    /// Frames that the zone counts as free.
    pub fn counted(self) -> u32 {
        self.get(COUNTED)
    }

    pub fn set_counted(&mut self, frames: u32) {
        self.set(COUNTED, frames);
    }

    pub fn stale(self) -> u32 {
        self.get(STALE)
    }

    pub fn set_stale(&mut self, word: usize) {
        self.0 |= 1 << word;
    }

    pub fn clear_stale(&mut self) {
        self.set(STALE, 0);
    }

    /// The order of the largest free block that the index knows of: below that of a pageblock.
    pub fn largest(self) -> Option<Order> {
        Order::new((self.get(LEVEL) as u8).wrapping_sub(1))
    }

    pub fn level(self) -> u32 {
        self.get(LEVEL)
    }

    pub fn set_level(&mut self, level: u32) {
        debug_assert!(level <= WORD_ORDER + 3);
        self.set(LEVEL, level);
    }

    /// What the pageblock is for: [`Mobility::Isolate`] while it is isolated.
    pub fn mobility(self) -> Mobility {
        if self.get(ISOLATED) == 1 { Mobility::Isolate } else { self.own_mobility() }
    }

    /// The mobility that the pageblock has when it is not isolated.
    pub fn own_mobility(self) -> Mobility {
        Mobility::ALL[self.get(MOBILITY) as usize % Mobility::COUNT]
    }

    pub fn set_mobility(&mut self, mobility: Mobility) {
        self.set(MOBILITY, mobility as u32);
    }

    pub fn is_isolated(self) -> bool {
        self.get(ISOLATED) == 1
    }

    pub fn set_isolated(&mut self, isolated: bool) {
        self.set(ISOLATED, isolated.into());
    }

    /// Frames in use that are of the other kind, movable or not, than the pageblock: an estimate from above.
    pub fn foreign(self) -> u32 {
        self.get(FOREIGN).min(PAGEBLOCK_FRAMES as u32 - self.free())
    }

    pub fn set_foreign(&mut self, frames: u32) {
        self.set(FOREIGN, frames.min(PAGEBLOCK_FRAMES as u32));
    }

    pub fn is_split(self) -> bool {
        self.get(SPLIT) == 1
    }

    pub fn set_split(&mut self, split: bool) {
        self.set(SPLIT, split.into());
        self.set_slow();
    }

    pub fn is_dirty(self) -> bool {
        self.get(DIRTY) == 1
    }

    pub fn set_dirty(&mut self, dirty: bool) {
        self.set(DIRTY, dirty.into());
        self.set_slow();
    }

    fn set_slow(&mut self) {
        self.set(SLOW, u32::from(!(self.is_split() && self.is_dirty())));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_do_not_touch_each_other() {
        let mut header = Header::whole(Mobility::Reclaimable);
        header.set_split(true);
        header.set_free(512);
        header.set_counted(511);
        header.set_level(9);
        header.set_isolated(true);
        header.set_stale(7);
        header.set_dirty(true);
        assert_eq!((header.free(), header.counted(), header.level()), (512, 511, 9));
        assert_eq!((header.mobility(), header.own_mobility()), (Mobility::Isolate, Mobility::Reclaimable));
        assert!(header.is_split() && header.is_dirty() && header.is_free());
        assert_eq!(header.stale(), 0x80);
        assert_ne!(header.bits(), Header::LOCKED);
        header.set_free(400);
        header.set_foreign(200);
        assert_eq!((header.free(), header.foreign()), (400, 112));
    }

    #[test]
    fn a_free_is_quick_only_where_bits_are_all_there_is_to_it() {
        let mut header = Header::whole(Mobility::Movable);
        assert_eq!(header.freed_quickly(0, 1), None, "not split");
        header.set_split(true);
        header.set_free(100);
        assert_eq!(header.freed_quickly(0, 1), None, "not dirty yet");
        header.set_dirty(true);
        let freed = header.freed_quickly(3, 8).expect("nothing is in the way");
        assert_eq!((freed.free(), freed.stale()), (108, 0b1000));
        header.set_free(511);
        assert_eq!(header.freed_quickly(0, 1), None, "the last frame");
        header.set_free(512);
        assert_eq!(header.freed_quickly(0, 1), None, "there is none left");
        header.set_free(30);
        assert_eq!(header.freed_quickly(0, 1), None, "nearly full");
        assert_eq!(Header::from_bits(Header::LOCKED).freed_quickly(0, 1), None, "locked");
    }
}
