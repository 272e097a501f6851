//! Requests that no arena serves: the walk down the zones, and what is tried before one is refused.
//!
//! The fast path asks every zone for memory above `low`, the highest usable one first. Only when none has any, a request
//! goes down to what its flags allow, and then once more with what the arenas gave back.

use super::{AllocError, Cpu, PageAllocator};
use crate::frame::{Gfp, Mobility, Order, Pfn, ZoneKind};
use crate::zone::{Watermarks, Zone};

/// What a request asks for, as the zonelist sees it.
#[derive(Clone, Copy)]
struct Request {
    order: Order,
    mobility: Mobility,
    highest: ZoneKind,
}

impl<'m, C: Cpu> PageAllocator<'m, C> {
    #[cold]
    #[inline(never)]
    pub(super) fn allocate_from_zones(&self, order: Order, gfp: Gfp) -> Result<Pfn, AllocError> {
        let (Some(highest), Some(mobility)) = (gfp.highest_zone(), gfp.mobility()) else {
            return Err(AllocError::ContradictoryFlags(gfp));
        };
        let request = Request { order, mobility, highest };
        self.allocate_above(request, |zone| zone.watermarks.low)
            .or_else(|| self.allocate_slowly(request, gfp))
            .or_else(|| {
                // What is in an arena must not be missing where it is needed.
                self.drain();
                self.allocate_slowly(request, gfp)
            })
            .ok_or(AllocError::OutOfMemory { order, gfp })
    }

    #[cold]
    fn allocate_slowly(&self, request: Request, gfp: Gfp) -> Option<Pfn> {
        if gfp.contains(Gfp::MEMALLOC) {
            let request = |kind| self.with(kind, |zone| zone.allocate(request.order, request.mobility));
            return ZoneKind::ALL[..=gfp.highest_zone()?.index()].iter().rev().find_map(|kind| request(*kind));
        }
        // As Linux has it: pressing requests go to half the mark, and to three eighths if they cannot wait either.
        self.allocate_above(request, |zone| {
            let min = zone.watermarks.min;
            match (gfp.contains(Gfp::HIGH), gfp.contains(Gfp::WAIT)) {
                (false, _) => min,
                (true, true) => min - min / 2,
                (true, false) => {
                    let half = min - min / 2;
                    half - half / 4
                }
            }
        })
    }

    /// Allocates from the highest zone that can serve the request and stay above the mark and its reserve.
    fn allocate_above(&self, request: Request, mark: impl Fn(&Zone<'m>) -> u64) -> Option<Pfn> {
        let zonelist = ZoneKind::ALL[..=request.highest.index()].iter().rev();
        zonelist.copied().find_map(|kind| {
            self.with(kind, |zone| {
                let reserve = zone.protection[request.highest.index()];
                let admitted = Watermarks::admit(zone.free_frames(), request.order, mark(zone), reserve);
                admitted.then(|| zone.allocate(request.order, request.mobility)).flatten()
            })
        })
    }
}
