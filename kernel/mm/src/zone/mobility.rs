//! What a request does when the pageblocks of its own mobility have nothing left (Linux: `__rmqueue_fallback`).

use super::index::Bucket;
use super::states::Unity;
use super::{Zone, bucket, is_lower_half};
use crate::frame::{Mobility, Order, PAGEBLOCK_FRAMES, Pfn};

/// Half a pageblock's order: a free block from here up is worth its whole pageblock.
const WORTH_CLAIMING: u8 = Order::PAGEBLOCK.get() / 2;

/// Half a pageblock's frames: with so many free, or of its own kind, a request takes the pageblock over.
const HALF: u32 = PAGEBLOCK_FRAMES as u32 / 2;

/// How a request was served from pageblocks of another mobility.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fallback {
    /// A free block of whole pageblocks changed its mobility.
    ClaimedWhole,
    /// A pageblock changed its mobility, and what is allocated in it keeps its own.
    ClaimedPageblock,
    /// The block was taken from a pageblock that keeps its mobility.
    Stolen,
}

impl Fallback {
    /// The ways, in the order in which they are tried.
    pub const ALL: [Self; 3] = [Self::ClaimedWhole, Self::ClaimedPageblock, Self::Stolen];

    /// The way's name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ClaimedWhole => "claim_whole",
            Self::ClaimedPageblock => "claim_pageblock",
            Self::Stolen => "steal",
        }
    }
}

/// How often requests were served from pageblocks of another mobility.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Fallbacks([[[u64; KINDS]; KINDS]; Fallback::ALL.len()]);

const KINDS: usize = Mobility::REQUESTED.len();

impl Fallbacks {
    /// How often this way, from a pageblock of one kind to a request of the other.
    pub fn count(&self, way: Fallback, from: Mobility, to: Mobility) -> u64 {
        let counts = self.0[way as usize].get(from.index());
        counts.and_then(|to_kinds| to_kinds.get(to.index())).copied().unwrap_or(0)
    }

    fn note(&mut self, way: Fallback, from: Mobility, to: Mobility) {
        self.0[way as usize][from.index()][to.index()] += 1;
    }
}

impl core::ops::AddAssign for Fallbacks {
    fn add_assign(&mut self, other: Self) {
        let counts = self.0.as_flattened_mut().as_flattened_mut();
        counts.iter_mut().zip(other.0.as_flattened().as_flattened()).for_each(|(count, other)| *count += other);
    }
}

impl Zone<'_> {
    /// Finds a bucket of another mobility to serve the request, and takes its pageblock over where that pays.
    ///
    /// The largest foreign block is claimed, with its pageblock: that one disturbance then serves many requests. If
    /// nothing is worth claiming, the smallest sufficient foreign block serves this request alone.
    #[cold]
    pub(super) fn fall_back(&mut self, order: Order, mobility: Mobility) -> Option<Bucket> {
        self.claim(order, mobility).or_else(|| self.steal(order, mobility))
    }

    /// Whether a request can be served without mixing mobilities in a pageblock: from a pageblock of the own mobility, or
    /// from one that is free as a whole, which is one of the own then.
    #[inline]
    pub fn serves_unmixed(&mut self, order: Order, mobility: Mobility) -> bool {
        self.index.smallest_sufficient(mobility, order).is_some()
            || self.claim(order.max(Order::PAGEBLOCK), mobility).is_some()
    }

    /// [`Zone::allocate`], if that does not mix mobilities in a pageblock.
    pub fn allocate_unmixed(&mut self, order: Order, mobility: Mobility) -> Option<Pfn> {
        if self.serves_unmixed(order, mobility) { self.allocate(order, mobility) } else { None }
    }

    /// Takes over the pageblock of the largest foreign block of at least `order` that is worth it.
    #[cold]
    fn claim(&mut self, order: Order, mobility: Mobility) -> Option<Bucket> {
        let sticky = mobility != Mobility::Movable;
        for order in Order::all().rev().take_while(|candidate| *candidate >= order) {
            if order.get() < WORTH_CLAIMING && !sticky {
                return None;
            }
            let holds = |kind: &Mobility| self.index.filled(*kind) >> order.get() & 1 == 1;
            let Some(foreign) = mobility.fallbacks().iter().copied().find(holds) else {
                continue;
            };
            let pageblock = self.index.lowest(Bucket { mobility: foreign, order });
            // A block that is free as a whole is retyped; in a part of one, what is allocated keeps its kind, so that
            // most of it must be free, or of a kind that suits.
            let whole = order >= Order::PAGEBLOCK;
            if whole || self.summaries[pageblock].free() + self.compatible(pageblock, mobility) >= HALF {
                let way = if whole { Fallback::ClaimedWhole } else { Fallback::ClaimedPageblock };
                self.special.fallbacks.note(way, foreign, mobility);
                self.retype(pageblock, mobility);
                return bucket(pageblock, self.summaries[pageblock].key());
            }
        }
        None
    }

    /// The smallest sufficient foreign block, of the kind that is asked first among equals.
    fn steal(&mut self, order: Order, mobility: Mobility) -> Option<Bucket> {
        let smallest = (mobility.fallbacks().iter().copied())
            .filter_map(|mobility| Some(Bucket { mobility, order: self.index.smallest_sufficient(mobility, order)? }))
            .min_by_key(|bucket| bucket.order)?;
        self.special.fallbacks.note(Fallback::Stolen, smallest.mobility, mobility);
        self.note_foreign(self.index.lowest(smallest), mobility, order.frames());
        Some(smallest)
    }

    /// Allocated frames of a pageblock that may well be of the request's kind. Between what is unmovable and what is
    /// reclaimable there is no telling, so there they are none.
    fn compatible(&self, pageblock: usize, mobility: Mobility) -> u32 {
        let summary = &self.summaries[pageblock];
        if is_movable(summary.mobility()) == is_movable(mobility) { 0 } else { summary.foreign().into() }
    }

    /// Takes note that frames of a pageblock were allocated for contents of this mobility.
    fn note_foreign(&mut self, pageblock: usize, mobility: Mobility, frames: u64) {
        let summary = &mut self.summaries[pageblock];
        if is_movable(summary.mobility()) != is_movable(mobility) {
            summary.set_foreign(summary.foreign() + frames as u16);
        }
    }

    /// Changes a pageblock's mobility, and with it that of the free block of order 10 that it may be half of.
    pub(super) fn retype(&mut self, pageblock: usize, mobility: Mobility) {
        let free_pair = self.summaries[pageblock].largest() == Some(Order::MAX);
        debug_assert!(!free_pair || is_lower_half(pageblock) && self.states.unity(pageblock) == Unity::Free);
        let halves = if free_pair { pageblock..=pageblock | 1 } else { pageblock..=pageblock };
        for pageblock in halves {
            let summary = &mut self.summaries[pageblock];
            if is_movable(summary.mobility()) != is_movable(mobility) {
                // What was at home is foreign now, and the reverse.
                summary.set_foreign(PAGEBLOCK_FRAMES as u16 - summary.free() as u16 - summary.foreign());
            }
            self.change(pageblock, |pageblock| pageblock.summary.set_mobility(mobility));
        }
    }
}

fn is_movable(mobility: Mobility) -> bool {
    mobility == Mobility::Movable
}
