//! Pageblocks that are kept for requests that can neither wait nor do with single frames (Linux: `MIGRATE_HIGHATOMIC`).
//!
//! When such a request had to go below the watermarks, the pageblock that served it is kept for the next. What is kept is
//! at most a hundredth of the zone, and goes back before a request that can wait is refused.

use super::Zone;
use crate::frame::{Mobility, Order, PAGEBLOCK_FRAMES, Pfn};

impl Zone<'_> {
    /// Allocates a block of `order` from what is kept. `None` if no block is large enough.
    pub(crate) fn allocate_highatomic(&mut self, order: Order) -> Option<Pfn> {
        let number = self.find_own(order, Mobility::HighAtomic).or_else(|| {
            self.settle_all();
            self.find_own(order, Mobility::HighAtomic)
        })?;
        Some(self.take(number, order))
    }

    /// Keeps the pageblocks of the allocated block of `order` that starts at `pfn`, unless a hundredth of the zone, in
    /// whole pageblocks, is kept already. A zone of which that is less than a pageblock keeps none.
    pub(crate) fn reserve_highatomic(&mut self, pfn: Pfn, order: Order) {
        let hundredth = self.stats.managed / 100;
        if hundredth < PAGEBLOCK_FRAMES
            || self.stats.reserved_highatomic >= hundredth.next_multiple_of(PAGEBLOCK_FRAMES)
        {
            return;
        }
        let Some((first, _)) = self.blocks.locate(pfn) else {
            return;
        };
        for number in first..=first | usize::from(order == Order::MAX) {
            if self.blocks.peek(number).mobility().is_mergeable() {
                self.retype(number, |header| header.set_mobility(Mobility::HighAtomic));
            }
        }
    }

    /// Makes a pageblock that is kept, and that has a free frame, one of this mobility, together with its buddy if both are one free
    /// block. Says whether there was one.
    ///
    /// The one with the smallest free block goes first.
    pub(crate) fn unreserve_highatomic(&mut self, mobility: Mobility) -> bool {
        self.settle_all();
        let Some(number) = self.find_own(Order::ZERO, Mobility::HighAtomic) else {
            return false;
        };
        let pair = matches!(self.wholes.block_of(number), Some((_, Order::MAX, _)));
        for number in if pair { number & !1..=number | 1 } else { number..=number } {
            self.retype(number, |header| header.set_mobility(mobility));
        }
        true
    }
}
