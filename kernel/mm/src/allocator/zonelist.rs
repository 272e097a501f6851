//! Requests that no CPU's own pages serve: the walk down the zones, and what is tried before one is refused.
//!
//! The fast path asks every zone for memory above `low`, the highest usable one first: at first only for what mixes no
//! mobilities, so that a lower zone is used before a pageblock is spoiled, and then for any. When no zone has any, the
//! slow path tries, in this order:
//!
//! 1. what the flags allow below `low`;
//! 2. the same with what all CPUs' pages gave back;
//! 3. the same with what [shrinkers](super::Shrinker) gave back, if the request may wait;
//! 4. the same with the pageblocks that were kept for requests that cannot wait, if this one can.
//!
//! Then the request is refused, and the refusal reported.

use crate::sync::atomic::Ordering::Relaxed;
use core::cell::Cell;

use super::reclaim::ROUNDS;
use super::{AllocError, Call, Cpu, PageAllocator, View};
use crate::error::RangeError;
use crate::frame::{Gfp, Mobility, Order, Pfn, ZoneKind};
use crate::zone::Zone;

/// What a request asks for, as the zonelist sees it.
#[derive(Clone, Copy)]
pub(super) struct Request {
    pub order: Order,
    pub gfp: Gfp,
    pub mobility: Mobility,
    pub highest: ZoneKind,
}

impl<C: Cpu> View<'_, C> {
    /// What these flags ask for.
    ///
    /// # Errors
    /// They contradict each other, or ask for a zone that this kind of machine does not have, nor any below it.
    pub(super) fn request(&self, order: Order, gfp: Gfp) -> Result<Request, AllocError> {
        let (Some(mobility), Some(highest)) = (gfp.mobility(), gfp.highest_zone()) else {
            return Err(AllocError::ContradictoryFlags(gfp));
        };
        if self.profile.range(highest).end == Pfn::new(0) {
            return Err(AllocError::NoZone(gfp));
        }
        Ok(Request { order, gfp, mobility, highest })
    }

    /// What these flags ask for, of frames in a zone.
    ///
    /// # Errors
    /// They contradict each other, or do not allow that zone.
    pub(super) fn request_in(&self, kind: ZoneKind, gfp: Gfp) -> Result<Request, RangeError> {
        let request = self.request(Order::ZERO, gfp).ok().filter(|request| request.highest >= kind);
        request.ok_or(RangeError::ContradictoryFlags(gfp))
    }
}

impl Request {
    /// Whether shrinkers may be called: a task that frees memory for others must not wait for it.
    pub(super) fn may_reclaim(&self) -> bool {
        self.gfp.contains(Gfp::WAIT) && !self.gfp.contains(Gfp::MEMALLOC)
    }

    /// Whether the request is one that HighAtomic pageblocks are kept for.
    pub(super) fn is_highatomic(&self) -> bool {
        self.gfp.contains(Gfp::HIGH) && !self.gfp.contains(Gfp::WAIT) && self.order > Order::ZERO
    }

    /// Whether the request would rather have frames from HighAtomic pageblocks than be refused, and may.
    pub(super) fn may_use_reserves(&self) -> bool {
        self.gfp.contains(Gfp::HIGH) || !self.gfp.contains(Gfp::WAIT)
    }

    /// Whether the request may mix mobilities in a pageblock, at need.
    pub(super) fn may_mix(&self) -> bool {
        !self.gfp.contains(Gfp::NOFRAGMENT)
    }

    /// What the fast path must leave in a zone: the `low` mark, and what the zone keeps from requests that could use a higher one.
    pub(super) fn low(&self, zone: &Zone<'_>) -> (u64, u64) {
        (zone.stats.watermarks.low, zone.stats.protection[self.highest.index()])
    }

    /// What the request must leave in a zone at least: the mark, and what the zone keeps from requests that could use a
    /// higher one.
    ///
    /// Pressing requests go to half of `min`, and to three eighths if they cannot wait either.
    pub(super) fn marks(&self, zone: &Zone<'_>) -> (u64, u64) {
        let (min, reserve) = (zone.stats.watermarks.min, zone.stats.protection[self.highest.index()]);
        match (self.gfp.contains(Gfp::HIGH), self.gfp.contains(Gfp::WAIT)) {
            _ if self.gfp.contains(Gfp::MEMALLOC) => (0, 0),
            (false, _) => (min, reserve),
            (true, true) => (min - min / 2, reserve),
            (true, false) => {
                let half = min - min / 2;
                (half - half / 4, reserve)
            }
        }
    }
}

impl<'m, C: Cpu> PageAllocator<'m, C> {
    /// Whether a zone has RAM, and so can have anything to give.
    #[inline]
    pub(super) fn has_ram(&self, kind: ZoneKind) -> bool {
        self.blocks[kind.index()].count() > 0
    }

    /// The zones with RAM that a request may use, best first.
    pub(super) fn zonelist(&self, request: &Request) -> impl Iterator<Item = ZoneKind> {
        ZoneKind::ALL[..=request.highest.index()].iter().rev().copied().filter(|kind| self.has_ram(*kind))
    }

    #[inline(never)]
    pub(super) fn allocate_from_zones(&self, order: Order, gfp: Gfp) -> Result<Pfn, AllocError> {
        let request = self.request(order, gfp)?;
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
        let is_above_low = Cell::new(false);
        let allocate = |mixing| {
            self.zonelist(request).find_map(|kind| {
                self.with(kind, |zone| {
                    let admitted = zone.admits(request.order.frames(), request.low(zone), false);
                    is_above_low.set(is_above_low.get() | admitted);
                    admitted.then(|| zone.allocate(request.order, request.mobility, mixing)).flatten()
                })
            })
        };
        if self.unmixed_first && request.highest == ZoneKind::Normal {
            let unmixed = allocate(false);
            if unmixed.is_some() || !is_above_low.get() {
                return unmixed;
            }
        }
        allocate(request.may_mix())
    }

    /// The slow path: everything there is before a refusal.
    #[cold]
    fn allocate_slowly(&self, request: &Request) -> Option<Pfn> {
        C::low_memory();
        if request.gfp.contains(Gfp::READILY) {
            return None;
        }
        if request.may_reclaim() {
            self.stalls[request.highest.index()].fetch_add(1, Relaxed);
        }
        self.allocate_at_need(request)
            .or_else(|| {
                // What is in a CPU's pages must not be missing where it is needed.
                self.drain();
                self.allocate_at_need(request)
            })
            .or_else(|| request.may_reclaim().then(|| self.allocate_reclaiming(request)).flatten())
            .or_else(|| request.may_reclaim().then(|| self.allocate_unreserving(request)).flatten())
    }

    /// Goes down to what the flags of the request allow.
    fn allocate_at_need(&self, request: &Request) -> Option<Pfn> {
        self.zonelist(request).find_map(|kind| self.with(kind, |zone| request.take_at_need(zone)))
    }

    /// Asks shrinkers for memory as long as they have any to give and it is not enough.
    fn allocate_reclaiming(&self, request: &Request) -> Option<Pfn> {
        (0..ROUNDS).take_while(|_| self.shrink(request.order.frames(), &self.direct) > 0).find_map(|_| {
            self.drain();
            self.allocate_at_need(request)
        })
    }

    /// Gives up all pageblocks that are kept for requests that can neither wait nor do with single frames, and that have a
    /// free frame: they are [`Mobility::Movable`] then. Until such a request goes below the watermarks, none are kept.
    pub fn unreserve_highatomic(&self) {
        let unreserve = || {
            for kind in ZoneKind::ALL {
                while self.with(kind, |zone| zone.unreserve_highatomic(Mobility::Movable)) {}
            }
        };
        self.recorded(Call::UnreserveHighAtomic, |()| Some(0), unreserve);
    }

    /// Gives up pageblocks that are kept for requests that cannot wait, one by one, until there is enough.
    fn allocate_unreserving(&self, request: &Request) -> Option<Pfn> {
        self.zonelist(request).find_map(|kind| {
            while self.with(kind, |zone| zone.unreserve_highatomic(request.mobility)) {
                if let Some(pfn) = self.allocate_at_need(request) {
                    return Some(pfn);
                }
            }
            None
        })
    }
}

impl Request {
    /// Takes the block from this zone, if the zone may go so low for the request.
    fn take_at_need(&self, zone: &mut Zone<'_>) -> Option<Pfn> {
        let marks = self.marks(zone);
        if !self.gfp.contains(Gfp::MEMALLOC) && !zone.admits(self.order.frames(), marks, self.may_use_reserves()) {
            return None;
        }
        let highatomic = self.is_highatomic();
        let kept = highatomic.then(|| zone.allocate_highatomic(self.order)).flatten();
        let any = |zone: &mut Zone<'_>| zone.allocate(self.order, self.mobility, self.may_mix());
        let pfn = kept.or_else(|| any(zone)).or_else(|| {
            // To be refused now is worse than to leave less for a larger block later.
            let cannot_wait = !self.gfp.contains(Gfp::WAIT);
            cannot_wait.then(|| zone.allocate_highatomic(self.order)).flatten()
        })?;
        if highatomic {
            zone.reserve_highatomic(pfn, self.order);
        }
        Some(pfn)
    }
}
