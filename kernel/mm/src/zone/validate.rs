//! Everything that a zone derives, derived once more from the bit planes and compared.

use super::index::Bucket;
use super::pageblock::Summary;
use super::states::{States, Unity, WORDS};
use super::{Batch, BlockState, Zone, is_lower_half};
use crate::buddy;
use crate::error::Violation;
use crate::frame::{Mobility, Order, PAGEBLOCK_FRAMES, Pfn};

/// What the planes of a pageblock say, counted frame by frame.
#[derive(Default)]
struct Truth {
    free: u64,
    /// Free in words on loan.
    waiting: u64,
    allocated: u64,
    largest: Option<Order>,
}

impl Zone<'_> {
    /// Checks the invariants of the zone: a walk over all its pageblocks.
    ///
    /// # Errors
    /// The first [`Violation`].
    pub fn validate(&self) -> Result<(), Violation> {
        let (mut free, mut waiting, mut managed, mut isolated) = (0, 0, 0, 0);
        let (mut free_highatomic, mut reserved_highatomic) = (0, 0);
        for pageblock in 0..self.summaries.len() {
            let truth = self.validate_pageblock(pageblock)?;
            match self.summaries[pageblock].mobility() {
                Mobility::Isolate => isolated += truth.free,
                Mobility::HighAtomic => (free, free_highatomic) = (free + truth.free, free_highatomic + truth.free),
                _ => free += truth.free,
            }
            if self.summaries[pageblock].own_mobility() == Mobility::HighAtomic {
                reserved_highatomic += PAGEBLOCK_FRAMES;
            }
            waiting += truth.waiting;
            managed += truth.free + truth.waiting + truth.allocated;
        }
        let zone = |rule, holds| {
            if holds { Ok(()) } else { Err(Violation { rule, address: self.extent.start.address() }) }
        };
        zone("each level of the index says what the level below holds", self.index.is_consistent())?;
        zone("the zone's count of free frames is their number", free == self.free)?;
        zone("the zone's count of frames that wait for a borrower is their number", waiting == self.waiting)?;
        let special = &self.special;
        zone("the zone's count of isolated frames is their number", isolated == special.isolated)?;
        zone("the zone's count of free HighAtomic frames is their number", free_highatomic == special.free_highatomic)?;
        let counted = special.reserved_highatomic;
        zone("the zone's count of HighAtomic pageblocks is their number", reserved_highatomic == counted)?;
        zone("a managed frame is free or allocated", managed == self.managed)?;
        zone("managed frames are present", self.managed <= self.extent.present)?;
        zone("present frames are spanned", self.extent.present <= self.extent.spanned)?;
        let marks = &self.watermarks;
        zone("the watermarks rise", marks.min <= marks.low && marks.low <= marks.high)?;
        zone("the reserves rise with the requesting zone", self.protection[self.kind.index()..].is_sorted())
    }

    /// Checks what arenas have of the zone: the words that they borrowed, with the blocks of each that they can hand out,
    /// and the blocks that they are returning.
    ///
    /// # Errors
    /// The first [`Violation`].
    pub fn validate_arenas(
        &self,
        loans: impl Iterator<Item = Batch>,
        returns: impl Iterator<Item = Batch>,
    ) -> Result<(), Violation> {
        let (mut lent, mut returning) = (0isize, 0isize);
        for pageblock in 0..self.summaries.len() {
            for word in 0..WORDS {
                lent += isize::from(self.states.is_lent(pageblock, word));
                returning += isize::from(self.states.is_returning(pageblock, word));
            }
        }
        let check = |batch: Batch, rule, holds| {
            let address = || self.states.start_of(batch.word.place().0).address();
            if holds { Ok(()) } else { Err(Violation { rule, address: address() }) }
        };
        let allocated = |batch: Batch| {
            let (pageblock, word) = batch.word.place();
            batch.heads & !self.states.word(pageblock, word).allocated(batch.order.get().into()) == 0
        };
        for loan in loans {
            let (pageblock, word) = loan.word.place();
            check(loan, "a word that an arena has borrowed is on loan", self.states.is_lent(pageblock, word))?;
            check(loan, "what an arena has to hand out are blocks of its run's order", allocated(loan))?;
            lent -= 1;
        }
        for batch in returns {
            let (pageblock, word) = batch.word.place();
            let marked = self.states.is_returning(pageblock, word);
            check(batch, "a word of which an arena returns blocks is marked", marked)?;
            check(batch, "what an arena returns are allocated blocks", allocated(batch))?;
            returning -= 1;
        }
        let zone = |rule, holds| {
            if holds { Ok(()) } else { Err(Violation { rule, address: self.extent.start.address() }) }
        };
        zone("a word on loan is in one arena's run", lent == 0)?;
        zone("a word that is marked as returning is so in one arena", returning == 0)
    }

    fn validate_pageblock(&self, pageblock: usize) -> Result<Truth, Violation> {
        let start = self.states.start_of(pageblock);
        let check = |rule, holds| {
            if holds { Ok(()) } else { Err(Violation { rule, address: start.address() }) }
        };
        let summary = &self.summaries[pageblock];
        let truth = match self.states.unity(pageblock) {
            Unity::Split => self.validate_split(pageblock, start)?,
            Unity::Reserved => Truth::default(),
            Unity::Allocated => Truth { allocated: PAGEBLOCK_FRAMES, ..Truth::default() },
            Unity::LowerHalf | Unity::UpperHalf => {
                let halves = [pageblock & !1, pageblock | 1].map(|half| self.states.unity(half));
                check("a block of order 10 has two halves", halves == [Unity::LowerHalf, Unity::UpperHalf])?;
                Truth { allocated: PAGEBLOCK_FRAMES, ..Truth::default() }
            }
            Unity::Free => {
                let buddy = &self.summaries[pageblock ^ 1];
                let one = buddy.mobility() == summary.mobility();
                let mergeable = buddy.mobility().is_mergeable() && summary.mobility().is_mergeable();
                let paired = self.states.unity(pageblock ^ 1) == Unity::Free && (one || mergeable);
                check("free buddies have one mobility", !paired || one)?;
                let largest = Some(if paired { Order::MAX } else { Order::PAGEBLOCK });
                Truth { free: PAGEBLOCK_FRAMES, largest, ..Truth::default() }
            }
        };
        check("a pageblock's count of free frames is their number", u64::from(summary.free()) == truth.free)?;
        check("a pageblock's largest free block is the largest there is", summary.largest() == truth.largest)?;
        check(
            "a pageblock that is free as a whole says so",
            truth.free < PAGEBLOCK_FRAMES || self.states.unity(pageblock) == Unity::Free,
        )?;
        let indexed = truth.largest.filter(|order| *order < Order::MAX || is_lower_half(pageblock));
        for mobility in Mobility::ALL {
            for order in Order::all() {
                let belongs = summary.mobility() == mobility && indexed == Some(order);
                let rule = "a pageblock is in the bucket of its mobility and largest free block, and in no other";
                check(rule, self.index.contains(Bucket { mobility, order }, pageblock) == belongs)?;
            }
        }
        Ok(truth)
    }

    /// Reads a split pageblock frame by frame, in the plainest way there is.
    fn validate_split(&self, pageblock: usize, start: Pfn) -> Result<Truth, Violation> {
        let summary = &self.summaries[pageblock];
        let block_at = |offset| self.states.block_at(pageblock, offset);
        let mut truth = Truth::default();
        let mut offset = 0u32;
        let mut free_until = 0;
        while u64::from(offset) < PAGEBLOCK_FRAMES {
            let pfn = start.offset(offset.into());
            let check = |rule, holds| {
                if holds { Ok(()) } else { Err(Violation { rule, address: pfn.address() }) }
            };
            let Some((order, state)) = block_at(offset) else {
                return Err(Violation { rule: "a frame inside a block has its head below it", address: pfn.address() });
            };
            check("a block is aligned to its size", pfn.is_aligned(order))?;
            check("a block ends inside its pageblock", u64::from(offset) + order.frames() <= PAGEBLOCK_FRAMES)?;
            match state {
                BlockState::Allocated => truth.allocated += order.frames(),
                BlockState::Cached => truth.waiting += order.frames(),
                BlockState::Reserved => {}
                BlockState::Free => {
                    let buddy = offset ^ order.frames() as u32;
                    let unmerged = buddy < offset && free_until == offset && block_at(buddy) == Some((order, state));
                    check("free buddies are merged", !unmerged)?;
                    truth.free += order.frames();
                    truth.largest = truth.largest.max(Some(order));
                    free_until = offset + order.frames() as u32;
                }
            }
            offset += order.frames() as u32;
        }
        let check = |rule, holds| {
            if holds { Ok(()) } else { Err(Violation { rule, address: start.address() }) }
        };
        check("each word's summary is what the word holds", agrees(&self.states, pageblock, summary))?;
        Ok(truth)
    }
}

/// Whether the summary of a split pageblock says of each word what the word holds.
fn agrees(states: &States<'_>, pageblock: usize, summary: &Summary) -> bool {
    (0..WORDS).all(|word| {
        summary.says(
            word,
            if states.is_lent(pageblock, word) { 0 } else { buddy::level(states.word(pageblock, word).free()) },
        )
    })
}
