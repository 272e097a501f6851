//! What a piece costs, in instructions of the machine: the same in every run, so that they can be judged.

use alloc::vec::Vec;
use core::hint::black_box;

use kernel::host::Stopwatch;
use kit::Random;
use labs::Frames;
use labs::lab::Lab;

use crate::memory;

/// Operations that are measured.
const OPERATIONS: u64 = 20_000;

/// The instructions of an operation, on average over some thousand allocations and frees.
pub fn costs<P: Frames>(lab: &Lab) -> u64 {
    let layout = memory::layout(lab);
    let mut piece = P::new(layout.memory());
    let (mut random, mut live) = (Random::new(1), Vec::with_capacity(OPERATIONS as usize));
    let mut total = 0;
    for _ in 0..OPERATIONS {
        let order = (random.below(4) as u8).min(lab.largest);
        let is_request = live.is_empty() || random.per_mille(505);
        let index = random.index(live.len().max(1));
        if is_request {
            let start = Stopwatch::start();
            let answer = black_box(piece.allocate(layout.request(order)));
            total += start.elapsed().0;
            live.extend(answer.map(|frame| (frame, order)));
        } else {
            let (frame, order) = live.swap_remove(index);
            let start = Stopwatch::start();
            let _ = black_box(piece.free(frame, order));
            total += start.elapsed().0;
        }
    }
    total / OPERATIONS
}
