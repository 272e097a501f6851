//! Refusals that are injected: each way to ask for frames is told, and nothing has changed.

use bifolio::allocator::AllocError;
use bifolio::error::{RangeError, ResizeError};
use bifolio::frame::{Gfp, Order, PfnRange};
use kit::Raw;

use crate::machine::{begin_faults, end_faults};
use crate::soak::{Round, group};

impl Round<'_> {
    /// Asks for frames in some way when the next request is to be refused. (Requests can be refused where debug assertions are on.)
    pub(crate) fn be_refused(&mut self) {
        if !cfg!(debug_assertions) {
            return;
        }
        self.tally.count(group::REFUSALS, "injected");
        let (frames, order, gfp) = (self.machine.frames, self.order(), self.gfp());
        let count = 1 + self.random.below(1200);
        let (way, range) = (self.random.below(7), self.any_range());
        let block = self.in_a_block();
        let before = frames.hash_of_state();
        begin_faults(0, 1);
        let no_memory = |order| AllocError::OutOfMemory { order, gfp };
        let no_run = AllocError::NoFreeRun { frames: count, gfp };
        let is_told = match (way, block) {
            (0, _) => frames.take(order, gfp) == Err(no_memory(order)),
            (1, _) => frames.take_exact(count, gfp) == Err(no_memory(Order::covering(count).unwrap_or(Order::MAX))),
            (2, _) => frames.take_contiguous(count, gfp) == Err(no_run),
            (3, _) => frames.allocate_run(count, 1, gfp).err() == Some(no_run),
            // What asks for no frames is wrong as it is, and not refused.
            (4, _) if !range.is_empty() => frames.take_range(range, gfp) == Err(RangeError::Busy(range.start)),
            (5, Some((pfn, order))) => {
                let block = PfnRange::new(pfn, pfn.offset(order.frames()));
                let no_more = ResizeError::OutOfMemory { frames: count, gfp };
                frames.regrow(block, order.frames() + count, gfp) == Err(no_more)
            }
            _ => {
                frames.take_bulk(&mut [None; 3], gfp - Gfp::ZERO)
                    == Err(AllocError::OutOfMemory { order: Order::ZERO, gfp: gfp - Gfp::ZERO })
            }
        };
        assert!(is_told && end_faults() == 1, "way {way} to ask, with {gfp}");
        assert_eq!(frames.hash_of_state(), before, "way {way} to ask, with {gfp}, has changed something");
    }

    /// The frames of a bulk behind the first are as good as refused, when one is.
    pub(crate) fn be_refused_in_a_bulk(&mut self) {
        if !cfg!(debug_assertions) {
            return;
        }
        self.tally.count(group::REFUSALS, "injected");
        let gfp = self.gfp() - Gfp::NOFRAGMENT - Gfp::ZERO;
        let served = 1 + self.random.below(30) as usize;
        begin_faults(served, 1);
        let mut slots = [None; 40];
        let result = self.machine.frames.take_bulk(&mut slots, gfp);
        let was_refused = end_faults() == 1;
        self.take_note_of_shrinking(gfp);
        let highest = gfp.highest_zone().expect("phases have flags that are in order");
        let filled: Vec<_> = slots.iter().flatten().copied().collect();
        filled.iter().for_each(|pfn| self.took(*pfn, Order::ZERO, highest));
        assert_eq!(result.unwrap_or(0), filled.len());
        assert!(!was_refused || filled.len() == served, "{} of {served} frames came before the refusal", filled.len());
    }
}
