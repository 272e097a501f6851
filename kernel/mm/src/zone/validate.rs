//! Everything that a zone derives, derived once more from the bit planes and compared.

use super::blocks::Snapshot;
use super::header::Header;
use super::levels::Levels;
use super::pageblock::{Locked, WORDS};
use super::pageblocks::Pageblocks;
use super::wholes::State;
use super::{BlockState, Counts, Zone};
use crate::buddy;
use crate::error::Violation;
use crate::frame::{Mobility, Order, PAGEBLOCK_FRAMES, Pfn};
use crate::per_cpu::PerCpuPages;

/// What the planes of a pageblock say, counted frame by frame.
#[derive(Default)]
struct Counted {
    free: u64,
    in_use: u64,
    largest: Option<Order>,
}

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
        let (mut sums, mut managed, mut dirty) = (Counts::default(), 0, 0);
        let before = self.blocks.last_dirty();
        for number in 0..self.blocks.count() {
            let (header, known, in_all) = self.validate_pageblock(number)?;
            *sums.of(header.mobility()) += known;
            if header.own_mobility() == Mobility::HighAtomic {
                sums.reserved_highatomic += PAGEBLOCK_FRAMES;
            }
            managed += in_all;
            dirty += usize::from(header.is_dirty());
        }
        let zone = |rule, holds| check(rule, self.extent.start, holds);
        let quiet = self.blocks.last_dirty() == before;
        zone("a dirty pageblock is in the list of those once", !quiet || self.list_length(before) == Some(dirty))?;
        let index = self.index.is_consistent() && self.wholes.is_consistent();
        zone("each level of the index says what the level below holds", index)?;
        let counts = &self.counts;
        zone("the zone's count of free frames is that of its pageblocks", sums.free == counts.free)?;
        zone("the zone's count of isolated frames is that of its pageblocks", sums.isolated == counts.isolated)?;
        let rule = "the zone's count of free HighAtomic frames is that of its pageblocks";
        zone(rule, sums.free_highatomic == counts.free_highatomic)?;
        let rule = "the zone's count of HighAtomic pageblocks is their number";
        zone(rule, sums.reserved_highatomic == counts.reserved_highatomic)?;
        zone("a managed frame is free or in use", managed == self.managed)?;
        zone("managed frames are present", self.managed <= self.extent.present)?;
        zone("present frames are spanned", self.extent.present <= self.extent.spanned)?;
        let marks = &self.watermarks;
        zone("the watermarks rise", marks.min <= marks.low && marks.low <= marks.high)?;
        zone("the reserves rise with the requesting zone", self.protection[self.kind.index()..].is_sorted())
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
        let lent = all.iter().flat_map(|pages| {
            let batches = pages.batches().flat_map(|(order, batch)| batch.lent().map(move |pfn| (order, pfn)));
            batches.chain(pages.recent().flat_map(|(order, recent)| recent.held().map(move |pfn| (order, pfn))))
        });
        for (order, pfn) in lent {
            let Some((number, offset)) = self.blocks.locate(pfn) else { continue };
            let block = self.blocks.lock(number);
            let (word, bit) = super::pageblock::place(offset);
            let is_lent = block.header.is_split()
                && block.word(word).lent() >> bit & 1 == 1
                && block.order_at(offset) == u32::from(order.get());
            check("a block that a CPU's pages have is lent by its zone", pfn, is_lent)?;
            let base = Pfn::new(pfn.number() - u64::from(bit));
            let owners: u32 = all.iter().map(|pages| pages.owners(base, bit)).sum();
            check("a block is lent to one CPU's pages, once", pfn, owners == 1)?;
        }
        Ok(())
    }

    /// A pageblock's header, the frames that the zone counts as free there, and those that it manages.
    fn validate_pageblock(&self, number: usize) -> Result<(Header, u64, u64), Violation> {
        let block = self.blocks.lock(number);
        let (header, start) = (block.header, self.blocks.start_of(number));
        let state = self.wholes.state(number);
        let counted = match state {
            State::Lower if header.is_split() => self.validate_split(&block, start)?,
            State::Lower => Counted::default(),
            State::Free(order) => Counted { free: PAGEBLOCK_FRAMES, largest: Some(order), in_use: 0 },
            State::Allocated(_) | State::Inside => Counted { in_use: PAGEBLOCK_FRAMES, ..Counted::default() },
        };
        check(
            "a pageblock whose words speak is nothing as a whole",
            start,
            !header.is_split() || state == State::Lower,
        )?;
        let (free, level) = (u64::from(header.free()), header.level());
        let known = if header.is_split() { u64::from(header.counted()) } else { counted.free };
        if header.is_split() {
            check("a pageblock's count of free frames is their number", start, free == counted.free)?;
            check("a zone counts no frame as free that is not", start, known <= free)?;
            let largest = counted.largest.map_or(0, |order| u32::from(order.get()) + 1);
            check("a pageblock's level is that of no larger block than there is", start, level <= largest)?;
            let settled = header.stale() == 0 && known == free && level == largest && !header.is_free();
            check("a pageblock that is not dirty is counted and filed", start, header.is_dirty() || settled)?;
        } else {
            let counts_nothing = free % PAGEBLOCK_FRAMES == 0;
            check("a pageblock of one piece has no bucket, and counts nothing", start, level == 0 && counts_nothing)?;
        }
        self.validate_buckets(number, header, start)?;
        Ok((header, known, counted.free + counted.in_use))
    }

    fn validate_buckets(&self, number: usize, header: Header, start: Pfn) -> Result<(), Violation> {
        for mobility in Mobility::ALL {
            for order in Order::all().take(Order::PAGEBLOCK.index()) {
                let belongs = header.is_split() && header.mobility() == mobility && header.largest() == Some(order);
                let rule = "a pageblock is in the bucket of its mobility and level, and in no other";
                let is_there = self.index.contains(mobility, order.get().into(), number);
                check(rule, start, is_there == belongs)?;
            }
            let belongs = matches!(self.wholes.state(number), State::Free(_)) && header.mobility() == mobility;
            let rule = "a pageblock that is free as a whole is so among those of its mobility, and of no other";
            check(rule, start, self.wholes.is_free(number, mobility) == belongs)?;
        }
        Ok(())
    }

    /// Reads a split pageblock frame by frame, in the plainest way there is.
    fn validate_split(&self, block: &Locked<'_>, start: Pfn) -> Result<Counted, Violation> {
        let states = self.blocks.snapshot_of(block);
        let mut counted = Counted::default();
        let mut offset = 0u32;
        while u64::from(offset) < PAGEBLOCK_FRAMES {
            let pfn = start.offset(offset.into());
            let Some((order, state)) = states.block_at(offset) else {
                return Err(Violation { rule: "a frame inside a block has its head below it", address: pfn.address() });
            };
            check("a block is aligned to its size", pfn, pfn.is_aligned(order))?;
            check("a block ends inside its pageblock", pfn, u64::from(offset) + order.frames() <= PAGEBLOCK_FRAMES)?;
            match state {
                BlockState::Allocated | BlockState::Cached => counted.in_use += order.frames(),
                BlockState::Reserved => {}
                BlockState::Free => {
                    counted.free += order.frames();
                    counted.largest = counted.largest.max(Some(order));
                }
            }
            offset += order.frames() as u32;
        }
        let rule = "the level of a word that is not stale is that of its largest block";
        check(rule, start, agrees(block.levels(), block.header.stale(), &states))?;
        Ok(counted)
    }
}

/// Whether the levels say of each word that was not freed into since what it holds.
fn agrees(levels: Levels, stale: u32, states: &Snapshot) -> bool {
    (0..WORDS).all(|word| stale >> word & 1 == 1 || levels.of(word) == buddy::level(states.free[word]))
}
