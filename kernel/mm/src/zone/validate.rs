//! Everything that a zone derives, derived once more from the bit planes and compared.

use super::blocks::{Snapshot, block_at};
use super::header::Header;
use super::levels::Levels;
use super::pageblock::{Locked, WORDS};
use super::pageblocks::Pageblocks;
use super::{BlockState, Zone, ZoneStats};
use crate::buddy;
use crate::error::Violation;
use crate::frame::{Mobility, Order, PAGEBLOCK_FRAMES, Pfn};
use crate::per_cpu::PerCpuPages;

/// What the planes of a pageblock say, counted frame by frame: frames that are free, those in use, and the largest free block.
type Counted = (u64, u64, Option<Order>);

/// A violation of the rule at this frame, unless it holds.
fn check(rule: &'static str, pfn: Pfn, holds: bool) -> Result<(), Violation> {
    if holds { Ok(()) } else { Err(Violation { rule, address: pfn.address() }) }
}

impl Zone<'_> {
    /// Checks the invariants of the zone: a walk over all its pageblocks.
    ///
    /// # Errors
    /// The first [`Violation`].
    pub(crate) fn validate(&self) -> Result<(), Violation> {
        let nothing =
            ZoneStats { managed: 0, free: 0, isolated: 0, free_highatomic: 0, reserved_highatomic: 0, ..self.stats };
        let (mut sums, mut dirty) = (nothing, 0);
        let before = self.blocks.last_dirty();
        for number in 0..self.blocks.count() {
            let (header, known, in_all) = self.validate_pageblock(number)?;
            *sums.count_of(header.mobility()) += known;
            if header.own_mobility() == Mobility::HighAtomic {
                sums.reserved_highatomic += PAGEBLOCK_FRAMES;
            }
            sums.managed += in_all;
            dirty += usize::from(header.is_dirty());
        }
        let zone = |rule, holds| check(rule, self.stats.start, holds);
        let quiet = self.blocks.last_dirty() == before;
        zone("a dirty pageblock is in the list of those once", !quiet || self.list_length(before) == Some(dirty))?;
        let index = self.index.is_consistent() && self.wholes.is_consistent();
        zone("each level of the index says what the level below holds", index)?;
        let counts = &self.stats;
        zone("the zone's count of free frames is that of its pageblocks", sums.free == counts.free)?;
        zone("the zone's count of isolated frames is that of its pageblocks", sums.isolated == counts.isolated)?;
        let rule = "the zone's count of free HighAtomic frames is that of its pageblocks";
        zone(rule, sums.free_highatomic == counts.free_highatomic)?;
        let rule = "the zone's count of HighAtomic pageblocks is their number";
        zone(rule, sums.reserved_highatomic == counts.reserved_highatomic)?;
        zone("a managed frame is free or in use", sums.managed == counts.managed)?;
        zone("managed frames are present", counts.managed <= counts.present)?;
        zone("present frames are spanned", counts.present <= counts.spanned)?;
        let marks = &counts.watermarks;
        zone("the watermarks rise", marks.min <= marks.low && marks.low <= marks.high)?;
        zone("the reserves rise with the requesting zone", counts.protection[counts.kind.index()..].is_sorted())
    }

    /// How many pageblocks are in the list of dirty ones; `None` if it goes round in a circle.
    fn list_length(&self, last: Option<u32>) -> Option<usize> {
        let mut length = 0;
        for mut next in [self.dirty, last] {
            while let Some(number) = next {
                length += 1;
                if length > self.blocks.count() {
                    return None;
                }
                next = Pageblocks::behind(&self.blocks.lock(number as usize));
            }
        }
        Some(length)
    }

    /// Checks what a CPU's pages have of the zone: each block is lent, to these pages alone, as a block of its order.
    ///
    /// # Errors
    /// The first [`Violation`].
    pub(crate) fn validate_per_cpu(&self, all: &[PerCpuPages]) -> Result<(), Violation> {
        let lent = || all.iter().flat_map(PerCpuPages::lent);
        for (order, pfn) in lent() {
            let Some((number, offset)) = self.blocks.locate(pfn) else { continue };
            let block = self.blocks.lock(number);
            let (word, bit) = super::pageblock::place(offset);
            let is_lent = block.header.is_split()
                && block.word(word).lent() >> bit & 1 == 1
                && block.order_at(offset) == u32::from(order.get());
            check("a block that a CPU's pages have is lent by its zone", pfn, is_lent)?;
            let owners = lent().filter(|(_, other)| *other == pfn).count();
            check("a block is lent to one CPU's pages, once", pfn, owners == 1)?;
        }
        Ok(())
    }

    /// A pageblock's header, the frames that the zone counts as free there, and those that it manages.
    fn validate_pageblock(&self, number: usize) -> Result<(Header, u64, u64), Violation> {
        let block = self.blocks.lock(number);
        let (header, start) = (block.header, self.blocks.start_of(number));
        let whole = self.wholes.block_of(number);
        let (are_free, in_use, largest) = match whole {
            None if header.is_split() => self.validate_split(&block, start)?,
            None => (0, 0, None),
            Some((_, order, BlockState::Free)) => (PAGEBLOCK_FRAMES, 0, Some(order)),
            Some(_) => (0, PAGEBLOCK_FRAMES, None),
        };
        let is_one = !header.is_split() || whole.is_none();
        check("a pageblock whose words speak is nothing as a whole", start, is_one)?;
        let (free, level) = (u64::from(header.free()), header.level());
        let known = if header.is_split() { u64::from(header.counted()) } else { are_free };
        if header.is_split() {
            check("a pageblock's count of free frames is their number", start, free == are_free)?;
            check("a zone counts no frame as free that is not", start, known <= free)?;
            let largest = largest.map_or(0, |order| u32::from(order.get()) + 1);
            check("a pageblock's level is that of no larger block than there is", start, level <= largest)?;
            let settled = header.stale() == 0 && known == free && level == largest && !header.is_free();
            check("a pageblock that is not dirty is counted and filed", start, header.is_dirty() || settled)?;
        } else {
            let counts_nothing = free % PAGEBLOCK_FRAMES == 0;
            check("a pageblock of one piece has no bucket, and counts nothing", start, level == 0 && counts_nothing)?;
        }
        self.validate_buckets(number, header, start)?;
        Ok((header, known, are_free + in_use))
    }

    fn validate_buckets(&self, number: usize, header: Header, start: Pfn) -> Result<(), Violation> {
        for mobility in Mobility::ALL {
            for order in Order::all().take(Order::PAGEBLOCK.index()) {
                let is_largest = header.level() == u32::from(order.get()) + 1;
                let belongs = header.is_split() && header.mobility() == mobility && is_largest;
                let rule = "a pageblock is in the bucket of its mobility and level, and in no other";
                let is_there = self.index.contains(mobility, order.get().into(), number);
                check(rule, start, is_there == belongs)?;
            }
            let is_free = matches!(self.wholes.block_of(number), Some((.., BlockState::Free)));
            let belongs = is_free && header.mobility() == mobility;
            let rule = "a pageblock that is free as a whole is so among those of its mobility, and of no other";
            check(rule, start, self.wholes.is_free(number, mobility) == belongs)?;
        }
        Ok(())
    }

    /// Reads a split pageblock frame by frame, in the plainest way there is.
    fn validate_split(&self, block: &Locked<'_>, start: Pfn) -> Result<Counted, Violation> {
        let states = self.blocks.snapshot_of(block);
        let (mut free, mut in_use, mut largest) = (0, 0, None);
        let mut offset = 0u32;
        while u64::from(offset) < PAGEBLOCK_FRAMES {
            let pfn = start.offset(offset.into());
            let Some((order, state)) = block_at(&states, offset) else {
                return Err(Violation { rule: "a frame inside a block has its head below it", address: pfn.address() });
            };
            check("a block is aligned to its size", pfn, pfn.is_aligned(order))?;
            check("a block ends inside its pageblock", pfn, u64::from(offset) + order.frames() <= PAGEBLOCK_FRAMES)?;
            match state {
                BlockState::Allocated | BlockState::Cached => in_use += order.frames(),
                BlockState::Reserved => {}
                BlockState::Free => {
                    free += order.frames();
                    largest = largest.max(Some(order));
                }
            }
            offset += order.frames() as u32;
        }
        let rule = "the level of a word that is not stale is that of its largest block";
        check(rule, start, agrees(block.levels(), block.header.stale(), &states))?;
        Ok((free, in_use, largest))
    }
}

/// Whether the levels say of each word that was not freed into since what it holds.
fn agrees(levels: Levels, stale: u32, states: &Snapshot) -> bool {
    (0..WORDS).all(|word| stale >> word & 1 == 1 || levels.of(word) == buddy::level(states[word][0]))
}
