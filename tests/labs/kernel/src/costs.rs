//! What a piece costs, in instructions of the machine: the same in every run, so that they can be judged.

use alloc::vec::Vec;
use core::hint::black_box;

use kernel::host::Stopwatch;
use kit::Random;
use labs::Frames;
use labs::caches::{BATCH, Batches, Caches};
use labs::lab::Lab;
use labs::objects::{self, Objects};

use crate::memory;
use crate::stress::caches::Real;
use crate::stress::size;

/// Operations that are measured.
const OPERATIONS: u64 = 20_000;

/// The instructions of an operation, on average over some thousand allocations and frees. `work` does one of them.
fn measure<R: Copy, H>(
    mut request: impl FnMut(&mut Random) -> R,
    mut work: impl FnMut(Work<R, H>) -> Option<(H, R)>,
) -> u64 {
    let (mut random, mut live) = (Random::new(1), Vec::with_capacity(OPERATIONS as usize));
    let mut total = 0;
    for _ in 0..OPERATIONS {
        let next = request(&mut random);
        let is_request = live.is_empty() || random.per_mille(505);
        let index = random.index(live.len().max(1));
        let next = if is_request { Work::Allocate(next) } else { Work::Free(live.swap_remove(index)) };
        let start = Stopwatch::start();
        let answer = black_box(work(next));
        total += start.elapsed().0;
        live.extend(answer);
    }
    total / OPERATIONS
}

/// What is measured.
enum Work<R, H> {
    Allocate(R),
    Free((H, R)),
}

/// The instructions of an operation with frames.
pub fn frames<P: Frames>(lab: &Lab) -> u64 {
    let layout = memory::layout(lab);
    let mut piece = P::new(layout.memory());
    measure(
        |random| (random.below(4) as u8).min(lab.largest),
        |work| match work {
            Work::Allocate(order) => Some((piece.allocate(layout.request(order)).ok()?, order)),
            Work::Free((frame, order)) => piece.free(frame, order).err().and(None),
        },
    )
}

/// The instructions of an operation with objects.
pub fn objects<P: Objects>(lab: &Lab) -> u64 {
    let layout = memory::layout(lab);
    let mut piece = P::new(objects::Frames::new(layout.source(1)));
    measure(size, |work| match work {
        Work::Allocate(size) => Some((piece.allocate(size).ok()?, size)),
        Work::Free((address, size)) => piece.free(address, size).err().and(None),
    })
}

/// The instructions of an operation with caches.
pub fn caches<P: Caches>(lab: &Lab) -> u64 {
    let layout = memory::layout(lab);
    let (piece, cpu) = (P::new(Batches::new(layout.source(BATCH))), Real::new(0));
    measure(
        |_| (),
        |work| match work {
            Work::Allocate(()) => Some((piece.allocate(&cpu).ok()?, ())),
            Work::Free((frame, ())) => piece.free(&cpu, frame).err().and(None),
        },
    )
}
