//! Allocated blocks in pieces: nothing moves, only more frames are marked as first ones.

use super::Zone;
use super::pageblock::Pageblock;
use super::states::{Unity, place};
use crate::buddy::{self, WORD_ORDER};
use crate::error::FreeError;
use crate::frame::{Order, Pfn};

impl Zone<'_> {
    /// Makes the allocated block of `order` that starts at `pfn` allocated blocks of order `into`, which is no larger.
    ///
    /// # Errors
    /// [`FreeError`] if no such block starts there; the zone is unchanged.
    pub fn split(&mut self, pfn: Pfn, order: Order, into: Order) -> Result<(), FreeError> {
        let actual = self.states.order_of(pfn)?;
        if actual != order {
            return Err(FreeError::WrongOrder { pfn, given: order, actual });
        }
        let (pageblock, offset) = self.states.locate(pfn).ok_or(FreeError::NotManaged(pfn))?;
        if into == order {
            return Ok(());
        }
        if order < Order::MAX {
            self.pageblock(pageblock).part(offset, order, into);
            return Ok(());
        }
        for half in [pageblock, pageblock | 1] {
            self.pageblock(half).unite(Unity::Allocated, None);
            if into < Order::PAGEBLOCK {
                self.pageblock(half).part(0, Order::PAGEBLOCK, into);
            }
        }
        Ok(())
    }

    /// Cuts the allocated block of `order` that starts at `pfn` down to its first `frames` frames, at least one. They are
    /// the largest blocks that they can be, and the rest is free.
    ///
    /// # Errors
    /// [`FreeError`] if no such block starts there; the zone is unchanged.
    pub fn trim(&mut self, pfn: Pfn, order: Order, frames: u64) -> Result<(), FreeError> {
        let (mut pfn, mut order, mut frames) = (pfn, order, frames);
        while let Some(half) = order.get().checked_sub(1).and_then(Order::new).filter(|_| frames < order.frames()) {
            self.split(pfn, order, half)?;
            let upper = pfn.offset(half.frames());
            if frames <= half.frames() {
                self.free(upper, half)?;
            } else {
                (pfn, frames) = (upper, frames - half.frames());
            }
            order = half;
        }
        Ok(())
    }
}

impl Pageblock<'_, '_> {
    /// Marks the starts of blocks of order `into` in the allocated block of `order`, at most 9, at `offset`.
    fn part(&mut self, offset: u32, order: Order, into: Order) {
        self.split();
        let (first, bit) = place(offset);
        let (order, into) = (u32::from(order.get()), u32::from(into.get()));
        // Every `2^into`th frame of a word.
        let starts = u64::MAX / buddy::ones(into.min(WORD_ORDER));
        if order < WORD_ORDER {
            self.word(first).allocate(0, starts & buddy::ones(order) << bit);
            return;
        }
        let step = 1 << into.saturating_sub(WORD_ORDER);
        for word in (first..first + (1 << (order - WORD_ORDER))).step_by(step) {
            self.word(word).allocate(0, starts);
        }
    }
}
