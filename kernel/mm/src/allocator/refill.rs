//! Blocks beyond what a batch does alone: one that is empty and asks the zones, and a free that is not of this CPU's loans.

use crate::sync::atomic::Ordering::{Relaxed, Release};

use super::{Cpu, PageAllocator};
use crate::buddy::WORD_FRAMES;
use crate::error::FreeError;
use crate::frame::{Mobility, Order, Pfn, ZoneKind};
use crate::per_cpu::{BATCHED, Batch, Entered, PerCpuPages};
use crate::zone::{Header, Locked};

impl<'m, C: Cpu> PageAllocator<'m, C> {
    /// Allocates a block of order 9, as long as zone Normal is left with more than its `low` mark. What takes more than to set bits is
    /// left to a function that is called last: so there is no register to be saved before.
    #[inline(never)]
    pub(super) fn allocate_pageblock(&self, mobility: Mobility) -> Option<Pfn> {
        let taken = self.lock_zone(ZoneKind::Normal).allocate_whole_quickly(mobility);
        if taken.is_some() { taken } else { self.allocate_whole(Order::PAGEBLOCK, mobility) }
    }

    /// The same for a block of order 9 or 10, whatever it takes.
    #[inline(never)]
    pub(super) fn allocate_whole(&self, order: Order, mobility: Mobility) -> Option<Pfn> {
        self.lock_zone(ZoneKind::Normal).allocate_whole(order, mobility, false)
    }

    /// Serves a request for less than a pageblock from what this CPU freed last, or from what a zone lends it or gives it: as long
    /// as that zone is left with more than its `low` mark and mobilities are not mixed. All but a recent block that is at hand is left
    /// to a function that is called last: this one saves no register.
    #[cold]
    #[inline(never)]
    pub(super) fn allocate_small(&self, pages: Entered<'m, C>, order: Order, mobility: Mobility) -> Option<Pfn> {
        match Self::take_recent(&pages, order, mobility, |pfn| self.main.try_lock_at(pfn)) {
            Some(pfn) => Some(pfn),
            None => self.allocate_in(pages, order, mobility),
        }
    }

    /// The same for more than a word, of which no CPU keeps any.
    #[cold]
    #[inline(never)]
    pub(super) fn allocate_unbatched(&self, order: Order, mobility: Mobility) -> Option<Pfn> {
        self.allocate_in(self.enter()?, order, mobility)
    }

    /// Allocates the block of `order` again that this CPU freed last in pageblocks of this mobility, if its pageblock can be locked.
    #[inline(always)]
    fn take_recent<'a>(
        pages: &PerCpuPages,
        order: Order,
        mobility: Mobility,
        lock: impl FnOnce(Pfn) -> Option<(Locked<'a>, u32)>,
    ) -> Option<Pfn> {
        let stack = PerCpuPages::stack(order, mobility.index());
        let (pfn, place) = pages.last(stack)?;
        let (block, offset) = lock(pfn)?;
        pages.pop(stack, place);
        block.take_back(offset);
        Some(pfn)
    }

    /// Serves a request for less than a pageblock, of which no batch has a block, in these pages of the CPU.
    #[inline(never)]
    pub(super) fn allocate_in(&self, pages: Entered<'m, C>, order: Order, mobility: Mobility) -> Option<Pfn> {
        let recent = Self::take_recent(&pages, order, mobility, |pfn| self.blocks_of(pfn).lock_at(pfn));
        if recent.is_some() { recent } else { self.refill(pages, order, mobility) }
    }

    /// Gets a batch new blocks and hands out the first. Where no word would give it many, and for orders that have no batches,
    /// the block comes from the zone alone.
    #[inline(always)]
    fn refill(&self, pages: Entered<'m, C>, order: Order, mobility: Mobility) -> Option<Pfn> {
        pages.note_use();
        pages.count_refill();
        let batch = (order.index() < BATCHED).then(|| pages.batch(order, mobility));
        if let Some((batch, base)) = batch.and_then(|batch| Some((batch, batch.base()?))) {
            self.end_loan(order, batch, base);
        }
        // What has no batch is told of by the walk down the zones that follows.
        let (wanted, mut is_low) = match batch {
            Some(_) => (WORD_FRAMES.into(), true),
            None => (order.frames(), false),
        };
        for kind in ZoneKind::ALL.iter().rev().copied().filter(|kind| self.has_ram(*kind)) {
            let mut zone = self.zones[kind.index()].lock();
            if !zone.is_above_low(wanted) {
                continue;
            }
            is_low = false;
            match zone.lend(order, mobility, batch) {
                // What serves a whole word must not be spoiled for the sake of one block.
                None if self.unmixed_first => {}
                lent => {
                    // What is lent is nobody's to free before the zone can be seen again: then it is handed out.
                    drop(zone);
                    return batch.and_then(Batch::allocate).or(lent);
                }
            }
        }
        drop(pages);
        if is_low {
            C::low_memory();
        }
        None
    }

    /// Ends the loan of the word at `base`, which is that of a CPU that is here, or kept out.
    #[inline(never)]
    fn end_loan(&self, order: Order, batch: &Batch, base: Pfn) {
        let blocks = self.blocks_of(base);
        let Some((is_all_free, twice)) = blocks.end_loan(order, batch, base) else { return };
        self.note(base, is_all_free);
        if twice != 0 {
            self.latest.store(base.number() + u64::from(twice.trailing_zeros()), Relaxed);
            // A CPU that sees that there are some sees one of them.
            self.late.fetch_add(twice.count_ones().into(), Release);
        }
    }

    /// Tells the zone of a frame whether all of the pageblock has become free that the frame is in.
    #[inline]
    pub(super) fn note(&self, pfn: Pfn, is_all_free: bool) {
        if is_all_free {
            self.zones[self.zone_of(pfn).index()].lock().settle_at(pfn);
        }
    }

    /// Gives everything that a CPU's pages hold back to the zones.
    pub(super) fn empty(&self, pages: &PerCpuPages) {
        let lent = pages.batches().filter_map(|(order, batch)| Some((order, batch, batch.base()?)));
        lent.for_each(|(order, batch, base)| self.end_loan(order, batch, base));
        for (order, stack) in pages.filled_stacks() {
            while let Some((pfn, place)) = pages.last(stack) {
                let is_all_free = self.blocks_of(pfn).give_back(pfn, order, || pages.pop(stack, place));
                self.note(pfn, is_all_free == Some(true));
            }
        }
    }

    /// Frees a block of several frames, less than a pageblock, as [`free_quickly`](Self::free_quickly) does. What takes more than to keep
    /// it is left to a function that is called last.
    #[inline(never)]
    pub(super) fn free_small(&self, pfn: Pfn, order: Order) -> bool {
        let Some(pages) = self.enter().filter(|_| order < Order::PAGEBLOCK) else { return false };
        if order.index() < BATCHED && pages.free(pfn, order) {
            return true;
        }
        let Some(found) = self.main.swap_at(pfn) else { return false };
        self.keep_or_free(pages, pfn, order, found)
    }

    /// The same for a frame, after [`Pageblocks::free_quickly`] has failed, for the reason that it has given.
    #[cold]
    #[inline(never)]
    pub(super) fn keep_frame(&self, pages: Entered<'m, C>, pfn: Pfn, found: Header) -> bool {
        self.keep_or_free(pages, pfn, Order::ZERO, found)
    }

    /// The same for a block of whose pageblock a swap has found this.
    #[inline(always)]
    fn keep_or_free(&self, pages: Entered<'m, C>, pfn: Pfn, order: Order, found: Header) -> bool {
        match self.main.keep_found(pfn, order, found, &pages) {
            Ok(()) => true,
            Err(found) => self.free_found(pages, pfn, order, found),
        }
    }

    /// The same for a block that could not be kept.
    #[inline(never)]
    fn free_found(&self, pages: Entered<'m, C>, pfn: Pfn, order: Order, found: Header) -> bool {
        if found == Header::LOCKED {
            // Nothing was tried then.
            return self.free_in(pages, pfn, order);
        }
        let block = self.main.found_at(pfn, found);
        let freed = block.and_then(|block| self.main.free(block, pfn, order, None));
        freed.map(|is_all_free| self.note(pfn, is_all_free)).is_some()
    }

    /// Frees a block of less than a pageblock that is of no batch of this CPU's, wherever it lies, and waits for whichever CPU has locked
    /// its pageblock; false if there is none.
    #[cold]
    #[inline(never)]
    pub(super) fn free_in(&self, pages: Entered<'m, C>, pfn: Pfn, order: Order) -> bool {
        let blocks = self.blocks_of(pfn);
        let freed = blocks.lock_at(pfn).and_then(|(block, _)| blocks.free(block, pfn, order, Some(&pages)));
        freed.map(|is_all_free| self.note(pfn, is_all_free)).is_some()
    }

    /// Frees a block of order 9; false if there is none. Other zones than Normal, where most of memory is, and what takes more than to set
    /// bits, are left to a function that is called last.
    #[inline(never)]
    pub(super) fn free_pageblock(&self, pfn: Pfn) -> bool {
        let is_freed = self.lock_zone(ZoneKind::Normal).free_whole_quickly(pfn);
        is_freed || self.free_whole(pfn)
    }

    /// The same, in any zone and whatever it takes.
    #[inline(never)]
    fn free_whole(&self, pfn: Pfn) -> bool {
        self.lock_zone(self.zone_of(pfn)).free_whole(pfn)
    }

    /// Frees a block by any way there is.
    #[cold]
    #[inline(never)]
    pub(super) fn free_at_length(&self, pfn: Pfn, order: Order) -> Result<(), FreeError> {
        let is_freed = order < Order::PAGEBLOCK
            && self.enter().is_some_and(|pages| {
                order.index() < BATCHED && pages.free(pfn, order) || self.free_in(pages, pfn, order)
            });
        if is_freed { Ok(()) } else { self.free_or_name(pfn, order) }
    }

    /// Frees a block under its zone's lock, or names what is there instead, unless fast paths are closed.
    #[cold]
    #[inline(never)]
    pub(super) fn free_or_name(&self, pfn: Pfn, order: Order) -> Result<(), FreeError> {
        if let Some(recording) = self.recording {
            return self.free_recorded(recording, pfn, order);
        }
        if self.is_hardened() {
            return self.free_as_closed(pfn, order);
        }
        self.with(self.zone_of(pfn), |zone| zone.free(pfn, order))
    }
}
