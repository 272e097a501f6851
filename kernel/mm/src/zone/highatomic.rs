//! Pageblocks that are kept for requests that can neither wait nor do with single frames (Linux: `MIGRATE_HIGHATOMIC`).
//!
//! When such a request had to go below the watermarks, the pageblock that served it is kept for the next. What is kept is
//! at most a hundredth of the zone, and goes back before anybody who can wait is refused.

use super::index::Bucket;
use super::{Zone, is_lower_half};
use crate::frame::{Mobility, Order, PAGEBLOCK_FRAMES, Pfn};

impl Zone<'_> {
    /// Frames that are free, those that are kept for pressing requests among them.
    pub fn free_with_reserves(&self) -> u64 {
        self.free
    }

    /// Allocates a block of `order` from what is kept. `None` if no block is large enough.
    pub fn allocate_highatomic(&mut self, order: Order) -> Option<Pfn> {
        let largest = self.index.smallest_sufficient(Mobility::HighAtomic, order)?;
        let pageblock = self.index.lowest(Bucket { mobility: Mobility::HighAtomic, order: largest });
        self.special.free_highatomic -= order.frames();
        Some(self.take(pageblock, order))
    }

    /// Keeps the pageblocks of the allocated block of `order` that starts at `pfn`, unless a hundredth of the zone, in
    /// whole pageblocks, is kept already. A zone of which that is less than a pageblock keeps none.
    pub fn reserve_highatomic(&mut self, pfn: Pfn, order: Order) {
        let hundredth = self.managed / 100;
        if hundredth < PAGEBLOCK_FRAMES
            || self.special.reserved_highatomic >= hundredth.next_multiple_of(PAGEBLOCK_FRAMES)
        {
            return;
        }
        let Some((first, _)) = self.states.locate(pfn) else {
            return;
        };
        let last = if order == Order::MAX { first | 1 } else { first };
        for pageblock in first..=last {
            if self.summaries[pageblock].mobility().is_mergeable() {
                self.change_kept(pageblock, Mobility::HighAtomic);
            }
        }
    }

    /// Makes a pageblock that is kept, and that has a free frame, one of this mobility. Says whether there was one.
    ///
    /// The one with the smallest free block goes first.
    pub fn unreserve_highatomic(&mut self, mobility: Mobility) -> bool {
        let Some(order) = self.index.smallest_sufficient(Mobility::HighAtomic, Order::ZERO) else {
            return false;
        };
        let pageblock = self.index.lowest(Bucket { mobility: Mobility::HighAtomic, order });
        debug_assert!(order < Order::MAX || is_lower_half(pageblock));
        self.change_kept(pageblock, mobility);
        true
    }

    /// Keeps a pageblock or gives it back, together with its buddy if both are one free block.
    fn change_kept(&mut self, pageblock: usize, mobility: Mobility) {
        let pair = self.summaries[pageblock].largest() == Some(Order::MAX);
        let (frames, free) = if pair {
            (2 * PAGEBLOCK_FRAMES, 2 * PAGEBLOCK_FRAMES)
        } else {
            (PAGEBLOCK_FRAMES, self.summaries[pageblock].free().into())
        };
        let kept = &mut self.special;
        if mobility == Mobility::HighAtomic {
            kept.reserved_highatomic += frames;
            kept.free_highatomic += free;
        } else {
            kept.reserved_highatomic -= frames;
            kept.free_highatomic -= free;
        }
        self.retype(pageblock, mobility);
    }
}
