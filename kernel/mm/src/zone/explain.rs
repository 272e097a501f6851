//! What a zone would do, by the same decisions and without the deed.

use super::mobility::Fallback;
use super::{WORTH_LENDING, Zone};
use crate::buddy::{self, WORD_FRAMES};
use crate::frame::{Mobility, Order, PAGEBLOCK_FRAMES, Pfn, ZoneKind};

/// A step on the way of a request, in the order in which they are taken. It says itself, in a sentence, what happens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the names of fields are those of the vocabulary: what each is, the variant says")]
pub enum Step {
    /// The CPU's pages have a block at hand, on loan or freed last.
    AtHand { cpu: usize, pfn: Pfn, is_recent: bool },
    /// The CPU's pages have none, and ask the zones for a word of blocks, or for one.
    Empty { cpu: usize, has_batch: bool },
    /// The CPU has no pages, or they do not serve such a request.
    PastPages,
    /// A zone's watermark is tested: whether so many of the frames that are free for the request may be taken, and `least` are left
    /// beside the reserve, which is for requests that can use no higher zone; or how many more would have to be free.
    Test { zone: ZoneKind, mark: &'static str, free: u64, frames: u64, least: u64, reserve: u64, lacks: u64 },
    /// The zone has no block that may serve the request.
    NoBlock { zone: ZoneKind, order: Order, largest: Option<Order>, mixing: bool },
    /// A zone serves the request from the pageblock at this frame: from the free block at `from` of the order beside it, so many
    /// blocks at once. The pageblock is of `other` mobility, if that is not the request's, and serves it in that way all the same.
    /// Otherwise its largest free block is the smallest sufficient one.
    Chosen {
        zone: ZoneKind,
        mobility: Mobility,
        pageblock: Pfn,
        other: Option<(Fallback, Mobility)>,
        from: (Pfn, Order),
        pfn: Pfn,
        lent: u32,
    },
    /// A free block is split in two, of which the part that is not kept stays free.
    Split { order: Order, kept: Pfn, free: Pfn },
    /// No zone is left with more than its low mark, or none has such a block: the flags decide how far down it goes.
    Slowly,
    /// The allocated block that is to be freed.
    Frees { pfn: Pfn, order: Order, zone: ZoneKind },
    /// The block goes back to the loan that it was handed out of.
    ToBatch { cpu: usize },
    /// The block is taken off another CPU's loan.
    OffLoan { cpu: usize },
    /// Little is free in the pageblock: the CPU keeps the block, for its next request.
    Kept { cpu: usize },
    /// Two free blocks are one.
    Merge { order: Order, pfn: Pfn, buddy: Pfn },
    /// The buddy is not free as a whole, so the block stays as large as it is.
    NoMerge { order: Order, pfn: Pfn, buddy: Pfn },
    /// CPUs' pages hold so many frames: they are emptied, and the zones asked again.
    Emptied { cached: u64 },
    /// Shrinkers are asked for memory, and pageblocks given up that are kept for pressing requests.
    Reclaims,
    /// The last step: the request is given this block.
    Served { order: Order, pfn: Pfn },
    /// The last step: the request is refused; if not surely, unless the steps before helped.
    Refused { order: Order, surely: bool },
    /// The last step: the block that is freed is part of a free one.
    Free { pfn: Pfn, first: Pfn, order: Order },
    /// The last step: the pages of a CPU have the block that is freed.
    Held { cpu: usize, pfn: Pfn },
}

/// These are for a zone that has looked at all that became free.
impl Zone<'_> {
    /// The test that [`Zone::admits`] makes, of the mark of that name.
    pub(crate) fn test(
        &self,
        mark: &'static str,
        frames: u64,
        (least, reserve): (u64, u64),
        reserves_too: bool,
    ) -> Step {
        let free = self.free_for(reserves_too);
        let lacks = (frames + least + reserve).saturating_sub(free);
        Step::Test { zone: self.stats.kind, mark, free, frames, least, reserve, lacks }
    }

    /// The largest free block that the zone has, for any request.
    fn largest(&self) -> Option<Order> {
        let has = |order: &Order| Mobility::REQUESTED.iter().any(|kind| self.lowest(*order, *kind).is_some());
        Order::all().rev().find(has)
    }

    /// That the zone has no block which may serve a request.
    pub(crate) fn no_block(&self, order: Order, mixing: bool) -> Step {
        Step::NoBlock { zone: self.stats.kind, order, largest: self.largest(), mixing }
    }

    /// Where the zone would take a block from. Without `mixing`, only from pageblocks of the own mobility and from those that can
    /// become such as a whole.
    pub(crate) fn choose(&self, order: Order, mobility: Mobility, mixing: bool, batch: bool) -> Option<Step> {
        let own = self.find_own(order, mobility).map(|number| (number, None));
        let (number, other) = own.or_else(|| {
            let (way, kind, number) = self.choose_foreign(order, mobility, mixing)?;
            Some((number, Some((way, kind))))
        })?;
        Some(self.choose_in(number, mobility, other, order, batch))
    }

    /// Where the zone would take a block for contents of this mobility from that it keeps for pressing requests.
    pub(crate) fn choose_highatomic(&self, order: Order, mobility: Mobility) -> Option<Step> {
        let number = self.find_own(order, Mobility::HighAtomic)?;
        Some(self.choose_in(number, mobility, None, order, false))
    }

    /// Which block of a pageblock it would be.
    fn choose_in(
        &self,
        number: usize,
        mobility: Mobility,
        other: Option<(Fallback, Mobility)>,
        order: Order,
        batch: bool,
    ) -> Step {
        let start = self.blocks.start_of(number);
        let (mut offset, mut lent, mut free) = (0, 1, u64::MAX);
        let header = self.blocks.peek(number);
        if header.is_split() && order < Order::PAGEBLOCK {
            let block = self.blocks.lock(number);
            offset = block.choose(order);
            free = block.word((offset / WORD_FRAMES) as usize).free();
        }
        let frames = if header.is_split() { header.free() } else { PAGEBLOCK_FRAMES as u32 };
        if batch && frames >= WORTH_LENDING[order.index()] {
            let heads = buddy::starts(free, order.get().into());
            lent = heads.count_ones();
            offset = offset / WORD_FRAMES * WORD_FRAMES + heads.trailing_zeros();
        }
        let pfn = start.offset(offset.into());
        let from = self.block_around(number, pfn).map_or((pfn, order), |block| (block.pfn, block.order));
        Step::Chosen { zone: self.stats.kind, mobility, pageblock: start, other, from, pfn, lent }
    }
}
