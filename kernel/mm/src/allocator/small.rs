//! Small blocks on their way through an arena, beyond what an arena does alone: a run that is empty, a block that was
//! allocated elsewhere.

use crate::sync::atomic::Ordering::Relaxed;

use super::arena::{Collected, ORDERS, Run};
use super::{Cpu, PageAllocator, PerCpuPages, View};
use crate::buddy::WORD_ORDER;
use crate::error::FreeError;
use crate::frame::{Mobility, Order, Pfn, ZoneKind};
use crate::sync::Guard;
use crate::zone::{Batch, Lent, Watermarks, Zone};

/// What a refill asks for: a whole word.
const WORD: Order = Order::new(WORD_ORDER as u8).expect("a word is a block");

/// The zone that is locked, if any.
pub(super) type Locked<'a, 'm, C> = Option<(ZoneKind, Guard<'a, Zone<'m>, C>)>;

/// Why a run got no new blocks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Refused {
    /// No zone would be left with more than its `low` mark.
    BelowLow,
    /// No word would give it many that are of its mobility.
    NoWord,
}

impl<'m, C: Cpu> PageAllocator<'m, C> {
    #[inline(never)]
    pub(super) fn allocate_refilling(&self, order: Order, mobility: Mobility) -> Option<Pfn> {
        let refilled = self.in_arena(|arena| self.refill(arena, order, mobility))?;
        if refilled == Err(Refused::BelowLow) {
            C::low_memory();
        }
        refilled.ok()
    }

    /// Gets a run new blocks, as long as a zone is left with more than its `low` mark, and hands out the first. Where no
    /// word would give the run many, it gets none, and the block comes from the zone. Mobilities are not mixed here.
    ///
    /// A run changes its word only while the zone of that word is locked.
    fn refill(&self, arena: &PerCpuPages, order: Order, mobility: Mobility) -> Result<Pfn, Refused> {
        let run = arena.run(order, mobility);
        let mut old = run.loan(order);
        arena.note_use();
        arena.count_refill();
        let mut refused = Refused::BelowLow;
        for kind in ZoneKind::ALL.into_iter().rev() {
            let mut zone = self.zones[kind.index()].lock();
            if let Some((_, old)) = old.filter(|(lender, _)| *lender == kind) {
                let more = zone.lend_more(old.word, order);
                if more != 0 {
                    self.found_late(run.take_more(more));
                    return run.allocate().ok_or(Refused::NoWord);
                }
            }
            let (low, reserve) = (zone.watermarks.low, zone.protection[ZoneKind::Normal.index()]);
            if !Watermarks::admit(zone.free_frames(), WORD, low, reserve) {
                continue;
            }
            refused = Refused::NoWord;
            if !zone.serves_unmixed(order, mobility) {
                // What serves a whole word must not be spoiled for the sake of one block.
                if self.slow.unmixed_first { continue } else { break }
            }
            if let Some((lender, loan)) = old.take_if(|(lender, _)| *lender != kind) {
                // Before anything is lent: that must be found in the zone or in the run by whoever has the lock.
                drop(zone);
                self.end_loan(run, lender, loan);
                zone = self.zones[kind.index()].lock();
                if !Watermarks::admit(zone.free_frames(), WORD, low, reserve) || !zone.serves_unmixed(order, mobility) {
                    continue;
                }
            }
            match zone.lend(order, mobility) {
                None => {}
                Some(Lent::Block(pfn)) => return Ok(pfn),
                Some(Lent::Word(base, loan)) => {
                    if let Some((_, old)) = old {
                        self.found_late(zone.end_loan(old));
                    }
                    run.take(base, loan);
                    drop(zone);
                    return run.allocate().ok_or(Refused::NoWord);
                }
            }
        }
        Err(refused)
    }

    pub(super) fn end_loan(&self, run: &Run, lender: ZoneKind, loan: Batch) {
        let mut zone = self.zones[lender.index()].lock();
        self.found_late(zone.end_loan(loan));
        run.clear();
    }

    /// The zone of that kind, locked in place of the one that was, unless that is it.
    #[inline]
    pub(super) fn lock_one<'a, 'g>(&'a self, kind: ZoneKind, locked: &'g mut Locked<'a, 'm, C>) -> &'g mut Zone<'m> {
        // The one must be unlocked before the other is locked.
        locked.take_if(|(held, _)| *held != kind);
        &mut locked.get_or_insert_with(|| (kind, self.zones[kind.index()].lock())).1
    }

    /// Returns what the arena has collected to its zone.
    #[inline(never)]
    pub(super) fn return_word<'a>(&'a self, arena: &PerCpuPages, locked: &mut Locked<'a, 'm, C>) {
        let Some((kind, _)) = arena.returning() else { return };
        let zone = self.lock_one(kind, locked);
        if let Some((batch, twice)) = arena.take() {
            self.found_late(twice | zone.free_batch(batch));
            zone.states().end_return(batch.word);
        }
    }

    /// Takes note of frames that were freed twice, which was seen only now.
    pub(super) fn found_late(&self, frames: u64) {
        if frames != 0 {
            self.late.fetch_add(frames.count_ones().into(), Relaxed);
        }
    }

    /// Frees a small block that is of no run of this CPU's. That it is a `SINGLE` frame, as most are, spares much.
    #[inline(never)]
    pub(super) fn free_elsewhere<const SINGLE: bool>(&self, pfn: Pfn, order: Order) -> Result<(), FreeError> {
        let order = if SINGLE { Order::ZERO } else { order };
        match self.in_arena(|arena| self.free_small(arena, pfn, order)) {
            Some(Some(Collected::Kept)) => Ok(()),
            Some(Some(Collected::Twice)) => Err(FreeError::AlreadyFree(pfn)),
            Some(None) | None => self.free_into_zone(pfn, order),
        }
    }

    /// Frees a small block: into its zone, unless the last one was of the same word. Those are collected, to be returned
    /// together. `None` if nothing was done.
    #[inline(always)]
    fn free_small(&self, arena: &PerCpuPages, pfn: Pfn, order: Order) -> Option<Collected> {
        let collected = arena.free_into_return(pfn, order);
        if collected.is_some() {
            return collected;
        }
        if arena.follow(pfn) {
            return self.collect(arena, pfn, order);
        }
        let mut locked = None;
        if arena.returning().is_some() {
            self.return_word(arena, &mut locked);
        }
        let zone = self.lock_one(ZoneKind::of(pfn), &mut locked);
        let freed = if order == Order::ZERO { zone.free_frame(pfn) } else { zone.free_small(pfn, order) };
        freed.then_some(Collected::Kept)
    }

    /// Collects a small block, to be returned with others, if that may be done.
    #[inline(never)]
    fn collect(&self, arena: &PerCpuPages, pfn: Pfn, order: Order) -> Option<Collected> {
        let mut locked = None;
        self.return_word(arena, &mut locked);
        // Under the lock: who frees or lends blocks of the word did so before, or sees that it is being returned and tells.
        let states = self.lock_one(ZoneKind::of(pfn), &mut locked).states();
        let (word, allocated) = states.begin_return(pfn, order)?;
        arena.collect(pfn, order, word, allocated);
        Some(Collected::Kept)
    }

    /// Frees a block under its zone's lock.
    #[inline(never)]
    pub(super) fn free_into_zone(&self, pfn: Pfn, order: Order) -> Result<(), FreeError> {
        self.with(ZoneKind::of(pfn), |zone| {
            // What an arena holds looks allocated to its zone.
            let small = order.index() < ORDERS && zone.states().is_in_arena(pfn);
            if small && self.holds(pfn) {
                return Err(FreeError::AlreadyFree(pfn));
            }
            zone.free(pfn, order).map_err(|error| match error {
                FreeError::WrongOrder { pfn: head, .. } | FreeError::Interior { head, .. } if self.holds(head) => {
                    FreeError::AlreadyFree(pfn)
                }
                error => error,
            })?;
            if small {
                self.arenas.iter().for_each(|arena| arena.forget(pfn));
            }
            Ok(())
        })
    }
}

impl<C: Cpu> View<'_, C> {
    /// Whether an arena holds the block that starts at this frame, which then looks allocated to its zone. With that locked: an
    /// arena may hold something else from one moment to the next, but no other word of the zone.
    #[cold]
    pub(super) fn holds(&self, pfn: Pfn) -> bool {
        self.arenas.iter().any(|arena| arena.holds(pfn))
    }
}
