//! Requests that no arena serves: the walk down the zones, and what is tried before one is refused.
//!
//! The fast path asks every zone for memory above `low`, the highest usable one first: at first only for what mixes no
//! mobilities, so that a lower zone is used before a pageblock is spoiled, and then for any. When no zone has any, the
//! slow path tries, in this order:
//!
//! 1. what the flags allow below `low`;
//! 2. the same with what all arenas gave back;
//! 3. the same with what [shrinkers](super::Shrinker) gave back, if the request may wait;
//! 4. the same with the pageblocks that were kept for requests that cannot wait, if this one can.
//!
//! Then the request is refused, and the refusal reported.

use core::sync::atomic::Ordering::Relaxed;

use super::reclaim::ROUNDS;
use super::{AllocError, Cpu, PageAllocator};
use crate::frame::{Gfp, Mobility, Order, Pfn, ZoneKind};
use crate::zone::{Watermarks, Zone};

/// What a request asks for, as the zonelist sees it.
#[derive(Clone, Copy)]
pub(super) struct Request {
    pub order: Order,
    pub gfp: Gfp,
    pub mobility: Mobility,
    pub highest: ZoneKind,
}

impl Request {
    fn new(order: Order, gfp: Gfp) -> Result<Self, AllocError> {
        match (gfp.mobility(), gfp.highest_zone()) {
            (Some(mobility), Some(highest)) => Ok(Self { order, gfp, mobility, highest }),
            _ => Err(AllocError::ContradictoryFlags(gfp)),
        }
    }

    /// Whether shrinkers may be called: who frees memory for others must not wait for it.
    fn may_reclaim(&self) -> bool {
        self.gfp.contains(Gfp::WAIT) && !self.gfp.contains(Gfp::MEMALLOC)
    }

    /// The zones that the request may use, best first.
    fn zonelist(&self) -> impl Iterator<Item = ZoneKind> {
        ZoneKind::ALL[..=self.highest.index()].iter().rev().copied()
    }

    /// The frames that the request must leave below a zone's `min` mark: pressing ones go to half of it, and to three
    /// eighths if they cannot wait either.
    fn min(&self, marks: &Watermarks) -> u64 {
        match (self.gfp.contains(Gfp::HIGH), self.gfp.contains(Gfp::WAIT)) {
            (false, _) => marks.min,
            (true, true) => marks.min - marks.min / 2,
            (true, false) => {
                let half = marks.min - marks.min / 2;
                half - half / 4
            }
        }
    }
}

/// Whether a request may be served from a pageblock of another mobility.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mixing {
    Never,
    AtNeed,
}

impl<'m, C: Cpu> PageAllocator<'m, C> {
    #[cold]
    #[inline(never)]
    pub(super) fn allocate_from_zones(&self, order: Order, gfp: Gfp) -> Result<Pfn, AllocError> {
        let request = Request::new(order, gfp)?;
        if let Some(pfn) = self.allocate_quickly(&request).or_else(|| self.allocate_slowly(&request)) {
            return Ok(pfn);
        }
        if !gfp.contains(Gfp::READILY) {
            self.refuse(&request);
        }
        Err(AllocError::OutOfMemory { order, gfp })
    }

    /// The fast path: any zone that is left with more than its `low` mark.
    fn allocate_quickly(&self, request: &Request) -> Option<Pfn> {
        let above_low = |mixing| self.allocate_above(request, mixing, |zone| zone.watermarks.low);
        let unmixed_first = self.slow.unmixed_first && request.highest == ZoneKind::Normal;
        unmixed_first.then(|| above_low(Mixing::Never)).flatten().or_else(|| above_low(Mixing::AtNeed))
    }

    /// The slow path: everything there is before a refusal.
    #[cold]
    fn allocate_slowly(&self, request: &Request) -> Option<Pfn> {
        if request.gfp.contains(Gfp::READILY) {
            return None;
        }
        if request.may_reclaim() {
            self.slow.stalls[request.highest.index()].fetch_add(1, Relaxed);
        }
        self.allocate_at_need(request)
            .or_else(|| {
                // What is in an arena must not be missing where it is needed.
                self.drain();
                self.allocate_at_need(request)
            })
            .or_else(|| request.may_reclaim().then(|| self.allocate_reclaiming(request)).flatten())
    }

    /// Goes down to what the flags of the request allow.
    fn allocate_at_need(&self, request: &Request) -> Option<Pfn> {
        if request.gfp.contains(Gfp::MEMALLOC) {
            return request.zonelist().find_map(|kind| self.with(kind, |zone| request.take(zone, Mixing::AtNeed)));
        }
        self.allocate_above(request, Mixing::AtNeed, |zone| request.min(&zone.watermarks))
    }

    /// Asks shrinkers for memory as long as they have any to give and it is not enough.
    fn allocate_reclaiming(&self, request: &Request) -> Option<Pfn> {
        (0..ROUNDS).take_while(|_| self.shrink(request) > 0).find_map(|_| {
            self.drain();
            self.allocate_at_need(request)
        })
    }

    /// Allocates from the highest zone that can serve the request and stay above the mark and its reserve.
    fn allocate_above(&self, request: &Request, mixing: Mixing, mark: impl Fn(&Zone<'m>) -> u64) -> Option<Pfn> {
        request.zonelist().find_map(|kind| {
            self.with(kind, |zone| {
                let reserve = zone.protection[request.highest.index()];
                let admitted = Watermarks::admit(zone.free_frames(), request.order, mark(zone), reserve);
                admitted.then(|| request.take(zone, mixing)).flatten()
            })
        })
    }
}

impl Request {
    /// Takes the block from this zone, if there is one.
    fn take(&self, zone: &mut Zone<'_>, mixing: Mixing) -> Option<Pfn> {
        if mixing == Mixing::Never || self.gfp.contains(Gfp::NOFRAGMENT) {
            zone.allocate_unmixed(self.order, self.mobility)
        } else {
            zone.allocate(self.order, self.mobility)
        }
    }
}
