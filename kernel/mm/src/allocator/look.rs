//! What a single frame is: questions that change nothing.

use super::{Cpu, View};
use crate::buddy::WORD_FRAMES;
use crate::frame::{Mobility, Order, Pfn};
use crate::per_cpu::PerCpuPages;
use crate::zone::{BlockInfo, PageblockInfo};

/// What is known of a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct FrameInfo {
    /// The block that it is in.
    pub block: BlockInfo,
    /// The pageblock that it is in.
    pub pageblock: PageblockInfo,
    /// The CPU whose pages have the block, if any do.
    pub holder: Option<Holder>,
}

/// A CPU whose pages have a block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Holder {
    /// The CPU's number.
    pub cpu: usize,
    /// The block's order there.
    pub order: Order,
    /// How they came by it.
    pub by: Holding,
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

impl<C: Cpu> View<'_, C> {
    /// What a frame is at the moment; `None` if it is not RAM that the allocator knows of. Other CPUs go on meanwhile.
    pub fn look_at(&self, pfn: Pfn) -> Option<FrameInfo> {
        let (block, pageblock) = self.with(self.zone_of(pfn), |zone| zone.look_at(pfn))?;
        let holder = self.pages.iter().enumerate().find_map(|(cpu, pages)| {
            let (order, by) = holding(pages, block.pfn)?;
            Some(Holder { cpu, order, by })
        });
        Some(FrameInfo { block, pageblock, holder })
    }
}

/// As what these pages have the block that begins at a frame.
fn holding(pages: &PerCpuPages, pfn: Pfn) -> Option<(Order, Holding)> {
    let bit = pfn.number() % u64::from(WORD_FRAMES);
    let base = Pfn::new(pfn.number() - bit);
    let kinds = || Order::all().flat_map(|order| Mobility::REQUESTED.map(|mobility| (order, mobility)));
    let on_loan = kinds().take(pages.batches().count()).find_map(|(order, mobility)| {
        let (lent, free) = pages.batch(order, mobility).of_word(base);
        let by = if free >> bit & 1 == 1 { Holding::InBatch(mobility) } else { Holding::HandedOut(mobility) };
        (lent >> bit & 1 == 1).then_some((order, by))
    });
    let is_recent = |(order, mobility): &(Order, Mobility)| {
        pages.recent_of(*order, *mobility).is_some_and(|recent| recent.held().any(|held| held == pfn))
    };
    on_loan.or_else(|| kinds().find(is_recent).map(|(order, mobility)| (order, Holding::Recent(mobility))))
}
