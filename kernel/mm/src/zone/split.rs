//! Allocated blocks in pieces: nothing moves, only more frames are marked as first ones.

use super::Zone;
use crate::error::FreeError;
use crate::frame::{Order, Pfn};

impl Zone<'_> {
    /// Makes the allocated block of `order` that starts at `pfn` allocated blocks of order `into`, which is no larger.
    ///
    /// # Errors
    /// [`FreeError`] if no such block starts there; the zone is unchanged.
    pub(crate) fn split(&mut self, pfn: Pfn, order: Order, into: Order) -> Result<(), FreeError> {
        self.look_for(pfn, order)?;
        let (number, offset) = self.blocks.locate(pfn).ok_or(FreeError::NotManaged(pfn))?;
        if order < Order::PAGEBLOCK {
            let block = self.blocks.lock(number);
            self.blocks.own(&block, offset, order);
            if !block.is_allocated(offset, order.get().into()) {
                // Another CPU has freed it just now.
                return Err(FreeError::AlreadyFree(pfn));
            }
            block.mark_parts(offset, order.get().into(), into.get().into());
            return Ok(());
        }
        if into == order {
            return Ok(());
        }
        for number in number..=number | usize::from(order == Order::MAX) {
            self.wholes.set_allocated(number, Order::PAGEBLOCK);
        }
        if into < Order::PAGEBLOCK {
            for number in number..=number | usize::from(order == Order::MAX) {
                let mut block = self.blocks.lock(number);
                self.split_whole(&mut block);
                block.mark_parts(0, Order::PAGEBLOCK.get().into(), into.get().into());
            }
        }
        Ok(())
    }

    /// Cuts the allocated block of `order` that starts at `pfn` down to its first `frames` frames, at least one. They are
    /// the largest blocks that they can be, and the rest is free.
    ///
    /// # Errors
    /// [`FreeError`] if no such block starts there; the zone is unchanged.
    pub(crate) fn trim(&mut self, pfn: Pfn, order: Order, frames: u64) -> Result<(), FreeError> {
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
