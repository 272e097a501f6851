//! What a request does when the pageblocks of its own mobility have nothing left (Linux: `__rmqueue_fallback`).

use super::index::Bucket;
use super::states::Unity;
use super::{Zone, bucket, is_lower_half};
use crate::frame::{Mobility, Order, PAGEBLOCK_FRAMES};

/// Half a pageblock's order: a free block from here up is worth its whole pageblock.
const WORTH_CLAIMING: u8 = Order::PAGEBLOCK.get() / 2;

impl Zone<'_> {
    /// Finds a bucket of another mobility to serve the request, and takes its pageblock over where that pays.
    ///
    /// The largest foreign block is claimed, with its pageblock: that one disturbance then serves many requests. If
    /// nothing is worth claiming, the smallest sufficient foreign block serves this request alone.
    #[cold]
    pub(super) fn fall_back(&mut self, order: Order, mobility: Mobility) -> Option<Bucket> {
        self.claim(order, mobility).or_else(|| self.steal(order, mobility))
    }

    fn claim(&mut self, order: Order, mobility: Mobility) -> Option<Bucket> {
        let sticky = mobility != Mobility::Movable;
        for order in Order::all().rev().take_while(|candidate| *candidate >= order) {
            let holds = |kind: &Mobility| self.index.filled(*kind) >> order.get() & 1 == 1;
            let Some(foreign) = mobility.fallbacks().iter().copied().find(holds) else {
                continue;
            };
            if order.get() < WORTH_CLAIMING && !sticky {
                return None;
            }
            let pageblock = self.index.lowest(Bucket { mobility: foreign, order });
            // A block that is free as a whole is retyped; in a part of one, what is allocated keeps its kind, so that
            // most of it must be free.
            if u64::from(self.summaries[pageblock].free()) >= PAGEBLOCK_FRAMES / 2 {
                self.retype(pageblock, mobility);
                return bucket(pageblock, self.summaries[pageblock].key());
            }
        }
        None
    }

    fn steal(&self, order: Order, mobility: Mobility) -> Option<Bucket> {
        (mobility.fallbacks().iter().copied())
            .filter_map(|mobility| Some(Bucket { mobility, order: self.index.smallest_sufficient(mobility, order)? }))
            .min_by_key(|bucket| bucket.order)
    }

    /// Changes a pageblock's mobility, and with it that of the free block of order 10 that it may be half of.
    fn retype(&mut self, pageblock: usize, mobility: Mobility) {
        let free_pair = self.summaries[pageblock].largest() == Some(Order::MAX);
        debug_assert!(!free_pair || is_lower_half(pageblock) && self.states.unity(pageblock) == Unity::Free);
        self.change(pageblock, |pageblock| pageblock.summary.set_mobility(mobility));
        if free_pair {
            self.change(pageblock | 1, |pageblock| pageblock.summary.set_mobility(mobility));
        }
    }
}
