//! Which zone has to serve a request: what lab 3 is about, once more and in the plainest words.

use core::ops::Range;

use bifolio::allocator::BlockState;
use bifolio::frame::ZoneKind;
use kit::oracle::Oracle;

use crate::exam::order_of;
use crate::layout::Layout;
use crate::piece::zone_of;
use crate::{Frame, Request, Urgency};

/// What a zone has.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// Free frames.
    pub free: u64,
    /// The lowest free block that is large enough.
    pub block: Option<Range<Frame>>,
}

/// What a zone has for blocks of an order.
pub fn state(oracle: &Oracle, layout: &Layout, zone: usize, order: u8) -> State {
    let mut state = State::default();
    for (frame, of, is) in oracle.blocks() {
        if is == BlockState::Free && zone_of(layout.zones, frame) == zone {
            state.free += 1 << of;
            if of >= order {
                state.block.get_or_insert(frame..frame + (1 << of));
            }
        }
    }
    state
}

/// How many frames a request must leave in a zone.
pub fn kept(layout: &Layout, zone: usize, request: Request) -> u64 {
    let rules = &layout.zones[zone];
    let reserve = if request.highest > zone { rules.reserve } else { 0 };
    match request.urgency {
        Urgency::Normal => rules.low + reserve,
        Urgency::High => rules.min + reserve,
        Urgency::Emergency => 0,
    }
}

/// Whether a zone with so many free frames may give what is asked for.
pub fn may_give(layout: &Layout, zone: usize, free: u64, request: Request) -> bool {
    free >= kept(layout, zone, request) + (1 << request.order)
}

/// The zone that has to serve a request, and a free block there that is large enough; `None` if it is to be refused.
pub fn that_serves(oracle: &Oracle, layout: &Layout, request: Request) -> Option<(usize, Range<Frame>)> {
    // That is known without a look at all blocks.
    if !oracle.could_serve(order_of(request.order), ZoneKind::Normal) {
        return None;
    }
    (0..=request.highest).rev().find_map(|zone| {
        let State { free, block } = state(oracle, layout, zone, request.order);
        block.filter(|_| may_give(layout, zone, free, request)).map(|block| (zone, block))
    })
}
