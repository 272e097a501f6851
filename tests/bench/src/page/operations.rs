//! The workloads that take time.

use crate::meter::{Clock, Measured, Run, Value};
use bifolio::frame::{Gfp, Order};
use std::sync::Mutex;
use workloads::page::{self, Mixed};
use workloads::{FRAMES, PageFrames, Random};

/// Room for as many blocks as a thread's share of all frames.
pub(super) fn share<A: PageFrames>(run: Run, order: Order) -> Vec<A::Block> {
    vec![A::Block::default(); (FRAMES >> order.get()) / run.threads]
}

/// `page-pair`: as a kernel in use does it. A frame of each thread's is in use all the time, so that nothing merges far.
pub fn pair<A: PageFrames>(run: Run) -> Vec<Measured> {
    let frames = A::new();
    run.on_threads(&|clock| {
        let held = frames.allocate(Order::ZERO, Gfp::KERNEL);
        page::pairs(&frames, run.operations(20_000, 200));
        let count = run.operations(1_000_000, 10_000);
        clock.measure("page-pair", count, &mut || page::pairs(&frames, count));
        page::free_all(&frames, Order::ZERO, held.as_slice());
    })
}

/// `page-pair-top`: half of memory is taken in large blocks, so that all else is as whole as can be, and an eager buddy
/// splits from the top for every allocation and merges to the top at every free.
pub fn pair_top<A: PageFrames>(run: Run) -> Vec<Measured> {
    let frames = A::new();
    let mut blocks = share::<A>(Run { threads: 2, ..run }, Order::PAGEBLOCK);
    assert_eq!(page::fill(&frames, Order::PAGEBLOCK, Gfp::KERNEL, &mut blocks), blocks.len());
    run.on_threads(&|clock| {
        page::pairs(&frames, run.operations(20_000, 200));
        let count = run.operations(200_000, 5_000);
        clock.measure("page-pair-top", count, &mut || page::pairs(&frames, count));
    })
}

/// `page-batch64`: 64 frames allocated, then freed in the same order. An operation is a pair.
pub fn batch<A: PageFrames>(run: Run) -> Vec<Measured> {
    let frames = A::new();
    run.on_threads(&|clock| {
        let held = frames.allocate(Order::ZERO, Gfp::KERNEL);
        page::batches(&frames, run.operations(20_000, 512));
        let count = run.operations(640_000, 12_800);
        clock.measure("page-batch64", count, &mut || page::batches(&frames, count));
        page::free_all(&frames, Order::ZERO, held.as_slice());
    })
}

/// `page-bulk-alloc`, `page-bulk-free`: all of memory, frame by frame, freed in the order of allocation.
pub fn bulk<A: PageFrames>(run: Run) -> Vec<Measured> {
    whole_memory::<A>(run, Order::ZERO, run.operations(4, 1), ["page-bulk-alloc", "page-bulk-free"], |_| {})
}

/// `page-random-alloc`, `page-random-free`: all of memory, freed in random order, after it was freed so before.
pub fn random<A: PageFrames>(run: Run) -> Vec<Measured> {
    let shuffle = |blocks: &mut [A::Block]| Random::new(7).shuffle(blocks);
    whole_memory::<A>(run, Order::ZERO, run.operations(2, 1), ["page-random-alloc", "page-random-free"], shuffle)
}

/// `page-order9-alloc`, `page-order9-free`: all of memory in blocks of 2 MiB, freed in the order of allocation.
pub fn order9<A: PageFrames>(run: Run) -> Vec<Measured> {
    whole_memory::<A>(run, Order::PAGEBLOCK, run.operations(64, 4), ["page-order9-alloc", "page-order9-free"], |_| {})
}

/// Allocates all blocks of an order there are, rearranges them and frees them, and that again; the first time does not
/// count.
fn whole_memory<A: PageFrames>(
    run: Run,
    order: Order,
    times: u64,
    [alloc, free]: [&'static str; 2],
    rearrange: impl Fn(&mut [A::Block]) + Sync,
) -> Vec<Measured> {
    let frames = A::new();
    run.on_threads(&|clock| {
        let mut blocks = share::<A>(run, order);
        let count = blocks.len() as u64;
        let warm = page::fill(&frames, order, page::ALL, &mut blocks);
        clock.wait();
        rearrange(&mut blocks[..warm]);
        page::free_all(&frames, order, &blocks[..warm]);
        for _ in 0..times {
            let mut got = 0;
            clock.measure(alloc, count, &mut || {
                got = page::fill(&frames, order, page::ALL, &mut blocks);
                count - got as u64
            });
            rearrange(&mut blocks[..got]);
            clock.measure(free, got as u64, &mut || {
                page::free_all(&frames, order, &blocks[..got]);
                0
            });
        }
    })
}

/// `page-cross-free`: two threads allocate all of memory at once, and each frees what the other got, in random order.
pub fn cross_free<A: PageFrames>(run: Run) -> Vec<Measured> {
    let frames = A::new();
    let hand_over = [const { Mutex::new(Vec::new()) }; 2];
    let exchange = |clock: &Clock<'_>, blocks: Vec<A::Block>| {
        *hand_over[clock.cpu].lock().expect("nobody panics meanwhile") = blocks;
        clock.wait();
        std::mem::take(&mut *hand_over[clock.cpu ^ 1].lock().expect("nobody panics meanwhile"))
    };
    run.on_threads(&|clock| {
        let mut random = Random::new(7);
        // The first time does not count.
        for time in 0..=run.operations(2, 1) {
            let mut blocks = share::<A>(run, Order::ZERO);
            let got = page::fill(&frames, Order::ZERO, page::ALL, &mut blocks);
            blocks.truncate(got);
            random.shuffle(&mut blocks);
            let blocks = exchange(clock, blocks);
            if time == 0 {
                page::free_all(&frames, Order::ZERO, &blocks);
                clock.wait();
                continue;
            }
            clock.measure("page-cross-free", blocks.len() as u64, &mut || {
                page::free_all(&frames, Order::ZERO, &blocks);
                0
            });
            clock.wait();
        }
    })
}

/// `page-mixed`: mixed sizes with half of memory in use.
pub fn mixed<A: PageFrames>(run: Run) -> Vec<Measured> {
    let frames = A::new();
    run.on_threads(&|clock| {
        let mut mixed = Mixed::<A>::new(11 + clock.cpu as u64, FRAMES / 2 / run.threads);
        mixed.churn(&frames, run.operations(200_000, 100_000));
        let count = run.operations(400_000, 20_000);
        clock.measure("page-mixed", count, &mut || mixed.churn(&frames, count));
    })
}

/// `page-metadata`: what the allocator needs besides the memory.
pub fn metadata<A: PageFrames>(_: Run) -> Vec<Measured> {
    let value = Value::BytesPerFrame(A::new().bytes_per_frame());
    vec![Measured { workload: "page-metadata", value }]
}
