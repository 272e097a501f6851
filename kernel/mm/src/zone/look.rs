//! A look at a single frame.

use super::{BlockInfo, Zone};
use crate::buddy::WORD_FRAMES;
use crate::frame::{Mobility, Order, PAGEBLOCK_FRAMES, Pfn, PfnRange};
use crate::per_cpu::{BATCHED, PerCpuPages};

/// What is known of a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct FrameInfo {
    /// The block that it is in.
    pub block: BlockInfo,
    /// The first frame of its pageblock.
    pub pageblock: Pfn,
    /// What the pageblock is for: [`Mobility::Isolate`] while it is isolated.
    pub mobility: Mobility,
    /// What the pageblock is for when it is not isolated.
    pub own_mobility: Mobility,
    /// Frames of the pageblock that are free, and not held by a CPU's pages.
    pub free: u64,
    /// The pageblock is free, in use or reserved in one piece, alone or together with its buddy.
    pub is_whole: bool,
    /// The number of the CPU whose pages have the block, if any do, and how they came by it.
    pub holder: Option<(usize, Holding)>,
}

/// How a CPU's pages have a block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(clippy::exhaustive_enums, reason = "what tells one tells each")]
pub enum Holding {
    /// It is on loan from its zone, as part of the batch for requests of this mobility, and free.
    InBatch(Mobility),
    /// It is on loan, and the CPU has handed it out.
    HandedOut(Mobility),
    /// The CPU freed it not long ago, and keeps it for requests of this mobility.
    Recent(Mobility),
}

impl Zone<'_> {
    /// What a frame is; `None` where the zone has no RAM.
    pub(crate) fn look_at(&self, pfn: Pfn) -> Option<FrameInfo> {
        let (number, _) = self.blocks.locate(pfn)?;
        let block = self.block_around(number, pfn)?;
        let (header, states) = self.blocks.snapshot(number);
        let free = match self.wholes.is_free(number, header.mobility()) {
            _ if header.is_split() => states.iter().map(|[free, ..]| u64::from(free.count_ones())).sum(),
            true => PAGEBLOCK_FRAMES,
            false => 0,
        };
        let pages = self.blocks.per_cpu().iter().enumerate();
        Some(FrameInfo {
            block,
            pageblock: self.blocks.start_of(number),
            mobility: header.mobility(),
            own_mobility: header.own_mobility(),
            free,
            is_whole: !header.is_split(),
            holder: pages.filter_map(|(cpu, pages)| Some((cpu, holding(pages, block.pfn)?))).next(),
        })
    }

    /// The block that a frame of a pageblock is in.
    pub(super) fn block_around(&self, number: usize, pfn: Pfn) -> Option<BlockInfo> {
        let around = |number| self.blocks_of(number).find(|block| PfnRange::of(block.pfn, block.order).contains(pfn));
        // Of a block of two pageblocks the first speaks for both.
        around(number).or_else(|| around(number & !1))
    }
}

/// As what these pages have the block that begins at a frame.
fn holding(pages: &PerCpuPages, pfn: Pfn) -> Option<Holding> {
    let bit = pfn.number() % u64::from(WORD_FRAMES);
    let has = |bits: u64| bits >> bit & 1 == 1;
    let kinds = Order::all().take(BATCHED).flat_map(|order| Mobility::REQUESTED.map(|mobility| (order, mobility)));
    let as_what = |(order, mobility): (Order, Mobility)| match pages.batch(order, mobility).loan() {
        Some((base, lent, held)) if base.number() == pfn.number() - bit && has(lent) => {
            Some(if has(held) { Holding::InBatch(mobility) } else { Holding::HandedOut(mobility) })
        }
        _ => {
            let is_recent = pages.stacked(PerCpuPages::stack(order, mobility.index())).any(|recent| recent == pfn);
            is_recent.then_some(Holding::Recent(mobility))
        }
    };
    kinds.filter_map(as_what).next()
}
