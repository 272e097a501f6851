//! Small blocks beyond what a CPU's pages do alone: a batch that is empty, a block that another batch or zone has.

use crate::sync::atomic::Ordering::{Relaxed, Release};

use super::{Cpu, PageAllocator};
use crate::buddy::WORD_FRAMES;
use crate::error::FreeError;
use crate::frame::{Mobility, Order, Pfn, ZoneKind};
use crate::per_cpu::{BATCHED, Batch, PerCpuPages};
use crate::zone::{Freed, Lent};

/// Why a batch got no new blocks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Refused {
    /// No zone would be left with more than its `low` mark.
    BelowLow,
    /// No word would give it many that are of its mobility.
    NoWord,
}

impl<C: Cpu> PageAllocator<'_, C> {
    /// Serves a request from what this CPU freed last, from what a zone lends it, or, for whole pageblocks, from those of the
    /// highest zone: as long as that zone is left with more than its `low` mark and mobilities are not mixed.
    #[inline(always)]
    pub(super) fn allocate_refilling(&self, order: Order, mobility: Mobility) -> Option<Pfn> {
        if order >= Order::PAGEBLOCK {
            return self.with(ZoneKind::Normal, |zone| zone.allocate_whole(order, mobility));
        }
        let refilled = self.in_pages(|pages| match self.allocate_recent(pages, order, mobility) {
            Some(pfn) => Ok(pfn),
            None if order.index() < BATCHED => self.refill(pages, order, mobility),
            None => Err(Refused::NoWord),
        })?;
        if refilled == Err(Refused::BelowLow) {
            C::low_memory();
        }
        refilled.ok()
    }

    fn allocate_recent(&self, pages: &PerCpuPages, order: Order, mobility: Mobility) -> Option<Pfn> {
        let last = pages.recent_of(order, mobility)?.last()?;
        self.blocks_of(last).allocate_recent(pages, order, mobility)
    }

    /// Gets a batch new blocks, as long as a zone is left with more than its `low` mark, and hands out the first. Where no
    /// word would give it many, it gets none, and the block comes from the zone. Mobilities are not mixed here.
    #[inline(never)]
    fn refill(&self, pages: &PerCpuPages, order: Order, mobility: Mobility) -> Result<Pfn, Refused> {
        let batch = pages.batch(order, mobility);
        pages.note_use();
        pages.count_refill();
        self.end_loan(order, batch);
        let mut refused = Refused::BelowLow;
        for kind in ZoneKind::ALL.into_iter().rev() {
            let mut zone = self.zones[kind.index()].lock();
            let (low, reserve) = (zone.watermarks.low, zone.protection[ZoneKind::Normal.index()]);
            if !zone.admits(WORD_FRAMES.into(), low, reserve, false) {
                continue;
            }
            refused = Refused::NoWord;
            match zone.lend(order, mobility, batch) {
                Some(Lent::Block(pfn)) => return Ok(pfn),
                Some(Lent::Batch) => {
                    // What is handed out while others wait for the lock could be taken for theirs.
                    drop(zone);
                    return batch.allocate().ok_or(Refused::NoWord);
                }
                // What serves a whole word must not be spoiled for the sake of one block.
                None if self.slow.unmixed_first => {}
                None => break,
            }
        }
        Err(refused)
    }

    /// Ends the loan of a CPU that is here, or kept out.
    fn end_loan(&self, order: Order, batch: &Batch) {
        let Some(base) = batch.base() else { return };
        let Some((freed, twice)) = self.blocks_of(base).end_loan(order, batch) else { return };
        self.note(base, freed);
        if let Some((base, blocks)) = twice {
            self.latest.store(base.number() + u64::from(blocks.trailing_zeros()), Relaxed);
            // Who sees that there are some sees one of them.
            self.late.fetch_add(blocks.count_ones().into(), Release);
        }
    }

    /// Tells the zone of a frame what became free there.
    #[inline]
    fn note(&self, pfn: Pfn, freed: Freed) {
        if freed != Freed::Frames {
            self.zones[ZoneKind::of(pfn).index()].lock().note(freed);
        }
    }

    /// Gives everything that a CPU's pages hold back to the zones.
    pub(super) fn empty(&self, pages: &PerCpuPages) {
        pages.batches().for_each(|(order, batch)| self.end_loan(order, batch));
        for (order, recent) in pages.recent() {
            while let Some(pfn) = recent.last() {
                if let Some(freed) = self.blocks_of(pfn).give_back(pfn, order, || pages.pop(recent)) {
                    self.note(pfn, freed);
                }
            }
        }
    }

    /// Frees a block that setting a bit is not enough for; false if there is none, or this CPU's pages may not be used now.
    #[inline(never)]
    pub(super) fn free_block(&self, pfn: Pfn, order: Order) -> bool {
        if order >= Order::PAGEBLOCK {
            self.with(ZoneKind::of(pfn), |zone| zone.free_whole(pfn, order))
        } else {
            self.in_pages(|pages| self.free_small(pages, pfn, order)) == Some(true)
        }
    }

    /// Frees a block under its zone's lock, or names what is there instead.
    #[cold]
    pub(super) fn free_or_name(&self, pfn: Pfn, order: Order) -> Result<(), FreeError> {
        self.with(ZoneKind::of(pfn), |zone| zone.free(pfn, order))
    }

    /// Frees a block of less than a pageblock, unless there is none.
    #[inline(always)]
    fn free_small(&self, pages: &PerCpuPages, pfn: Pfn, order: Order) -> bool {
        if order.index() < BATCHED && pages.free(pfn, order) {
            return true;
        }
        self.blocks_of(pfn).free(pfn, order, Some(pages)).map(|freed| self.note(pfn, freed)).is_some()
    }
}
