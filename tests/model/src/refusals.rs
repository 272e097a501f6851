//! Refusals: each must be justified by what the oracle knows.

use bifolio::frame::{Gfp, Mobility, Order, PAGEBLOCK_FRAMES, Pfn, Profile, ZoneKind};

use crate::soak::{Round, group};

impl Round<'_> {
    /// Checks that a refused request for one block could not have been served: in every zone that it may use, the marks
    /// or the reserve forbid it, or no block is large enough. Before a refusal all arenas were emptied.
    pub(crate) fn refused(&mut self, what: &'static str, order: Order, gfp: Gfp) {
        self.tally.count(group::REFUSALS, what);
        let highest = gfp.highest_zone().expect("the flags are in order");
        for zone in ZoneKind::ALL.into_iter().filter(|zone| *zone <= highest) {
            let could = self.oracle.admits(zone, highest, order.frames(), gfp) && self.oracle.has_block(zone, order);
            if could {
                assert!(
                    self.are_all_forbidden(zone, order, gfp),
                    "order {order} with {gfp} was refused by zone {zone}"
                );
            }
        }
    }

    /// Whether every free block of this order is one that the request must not have: in a pageblock of another mobility, if
    /// it must not mix them, or in one that is kept for requests that cannot wait, or half in such a one.
    fn are_all_forbidden(&self, zone: ZoneKind, order: Order, gfp: Gfp) -> bool {
        let mobility = gfp.mobility().expect("the flags are in order");
        let unmixed = gfp.contains(Gfp::NOFRAGMENT);
        let may_not_have_kept = gfp.contains(Gfp::WAIT) && gfp.contains(Gfp::MEMALLOC);
        let pageblocks = self.pageblocks(zone);
        let of = |start: Pfn| pageblocks.iter().find(|(first, _)| *first == start).map(|(_, of)| *of);
        let is_forbidden = |start: Pfn, kind: Mobility| {
            let mixes = unmixed && kind != mobility && !self.oracle.is_free_block(start, Order::PAGEBLOCK);
            let kept = kind == Mobility::HighAtomic;
            // Two pageblocks that are kept for different things, or of which one is isolated, are not one block.
            let lower = Pfn::new(start.number() / Order::MAX.frames() * Order::MAX.frames());
            let is = |half: Pfn, kind| of(half) == Some(kind);
            let differ = |kind| is(lower, kind) != is(lower.offset(PAGEBLOCK_FRAMES), kind);
            let apart = order == Order::MAX && (differ(Mobility::HighAtomic) || differ(Mobility::Isolate));
            apart || if kept { may_not_have_kept } else { mixes }
        };
        pageblocks.iter().filter(|(_, kind)| *kind != Mobility::Isolate).all(|(start, kind)| {
            let first = start.number() / order.frames() * order.frames();
            let mut pieces = (first..start.number() + PAGEBLOCK_FRAMES).step_by(order.frames() as usize).map(Pfn::new);
            !pieces.any(|pfn| self.oracle.is_free_block(pfn, order)) || is_forbidden(*start, *kind)
        })
    }

    /// The mobility of each pageblock of a zone, as the allocator has it.
    fn pageblocks(&self, zone: ZoneKind) -> Vec<(Pfn, Mobility)> {
        let mut pageblocks: Vec<(Pfn, Mobility)> = Vec::new();
        self.machine.frames.for_each_block(zone, |block| {
            for half in 0..block.order.frames().div_ceil(PAGEBLOCK_FRAMES) {
                let number = block.pfn.number() / PAGEBLOCK_FRAMES * PAGEBLOCK_FRAMES;
                let start = Pfn::new(number).offset(half * PAGEBLOCK_FRAMES);
                if pageblocks.last().is_none_or(|(last, _)| *last != start) {
                    pageblocks.push((start, block.mobility));
                }
            }
        });
        pageblocks
    }

    /// Checks that a request that must not mix mobilities has not.
    pub(crate) fn check_purity(&mut self, pfn: Pfn, order: Order, gfp: Gfp) {
        if !gfp.contains(Gfp::NOFRAGMENT) {
            return;
        }
        self.tally.count(group::OPERATIONS, "allocate without mixing");
        let start = Pfn::new(pfn.number() / PAGEBLOCK_FRAMES * PAGEBLOCK_FRAMES);
        let pageblocks = self.pageblocks(Profile::X86_64.zone_of(pfn));
        let of = pageblocks.into_iter().find(|(first, _)| *first == start).map(|(_, of)| of);
        let pure = of == gfp.mobility() || of == Some(Mobility::HighAtomic);
        assert!(pure, "order {order} with {gfp} at {pfn} lies in a pageblock of another mobility: {of:?}");
    }
}
