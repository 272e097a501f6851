//! The host's workloads, with one processor.

use crate::meter::Meter;
use alloc::vec;
use bifolio::frame::{Gfp, Order};
use workloads::page::{self, Mixed};
use workloads::{FRAMES, PageFrames, Random};

/// Runs all of them with one allocator.
pub fn run<A: PageFrames>(meter: &Meter<'_>) {
    pairs::<A>(meter);
    whole_memory::<A>(meter, Order::ZERO, ["page-bulk-alloc", "page-bulk-free"], |_| {});
    let shuffle = |blocks: &mut [A::Block]| Random::new(7).shuffle(blocks);
    whole_memory::<A>(meter, Order::ZERO, ["page-random-alloc", "page-random-free"], shuffle);
    mixed::<A>(meter);
    whole_memory::<A>(meter, Order::PAGEBLOCK, ["page-order9-alloc", "page-order9-free"], |_| {});
}

fn pairs<A: PageFrames>(meter: &Meter<'_>) {
    const COUNT: u64 = 9_600;
    if !meter.wants(&["page-pair", "page-batch64"]) {
        return;
    }
    let frames = A::new();
    let held = frames.allocate(Order::ZERO, Gfp::KERNEL);
    page::pairs(&frames, 200);
    meter.measure("page-pair", A::NAME, COUNT, || page::pairs(&frames, COUNT));
    page::batches(&frames, 512);
    meter.measure("page-batch64", A::NAME, COUNT, || page::batches(&frames, COUNT));
    page::free_all(&frames, Order::ZERO, held.as_slice());
}

fn mixed<A: PageFrames>(meter: &Meter<'_>) {
    const COUNT: u64 = 20_000;
    if !meter.wants(&["page-mixed"]) {
        return;
    }
    let (frames, mut mixed) = (A::new(), Mixed::<A>::new(11, FRAMES / 2));
    mixed.churn(&frames, 100_000);
    meter.measure("page-mixed", A::NAME, COUNT, || mixed.churn(&frames, COUNT));
}

fn whole_memory<A: PageFrames>(
    meter: &Meter<'_>,
    order: Order,
    [alloc, free]: [&'static str; 2],
    rearrange: impl Fn(&mut [A::Block]),
) {
    if !meter.wants(&[alloc, free]) {
        return;
    }
    let frames = A::new();
    let mut blocks = vec![A::Block::default(); FRAMES >> order.get()];
    // As on the host, the first time does not count.
    let got = page::fill(&frames, order, page::ALL, &mut blocks);
    rearrange(&mut blocks[..got]);
    page::free_all(&frames, order, &blocks[..got]);

    let count = blocks.len() as u64;
    let mut got = 0;
    meter.measure(alloc, A::NAME, count, || {
        got = page::fill(&frames, order, page::ALL, &mut blocks);
        count - got as u64
    });
    rearrange(&mut blocks[..got]);
    meter.measure(free, A::NAME, got as u64, || {
        page::free_all(&frames, order, &blocks[..got]);
        0
    });
}
