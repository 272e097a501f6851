//! The loops that are measured, and the workloads around them.
//!
//! A loop does as little as can be done besides the calls: what a request returned is kept where the next step needs it,
//! and the compiler is kept from seeing through a pair.

use super::frames::{FRAMES, PageFrames};
use crate::meter::{Clock, Measured, Run};
use crate::random::{Random, scale};
use bifolio::frame::{Gfp, Order};
use std::hint::black_box;
use std::sync::Mutex;

const BATCH: usize = 64;

/// For who takes the last frame.
const ALL: Gfp = Gfp::KERNEL.union(Gfp::MEMALLOC);

/// One frame, allocated and freed again.
fn pairs<A: PageFrames>(frames: &A, count: u64) -> u64 {
    let mut refused = 0;
    for _ in 0..count {
        match frames.allocate(Order::ZERO, Gfp::KERNEL) {
            Some(block) => frames.free(black_box(block), Order::ZERO),
            None => refused += 1,
        }
    }
    refused
}

/// Fills the list with blocks; how many it got.
fn fill<A: PageFrames>(frames: &A, order: Order, gfp: Gfp, blocks: &mut [A::Block]) -> usize {
    for (n, slot) in blocks.iter_mut().enumerate() {
        let Some(block) = frames.allocate(order, gfp) else { return n };
        *slot = block;
    }
    blocks.len()
}

fn free_all<A: PageFrames>(frames: &A, order: Order, blocks: &[A::Block]) {
    for &block in blocks {
        frames.free(block, order);
    }
}

/// Room for as many blocks as a thread's share of all frames.
fn share<A: PageFrames>(run: Run, order: Order) -> Vec<A::Block> {
    vec![A::Block::default(); (FRAMES >> order.get()) / run.threads]
}

/// `page-pair`: as a kernel in use does it. A frame of each thread's is in use all the time, so that nothing merges far.
pub fn pair<A: PageFrames>(run: Run) -> Vec<Measured> {
    let frames = A::new();
    run.on_threads(&|clock| {
        let held = frames.allocate(Order::ZERO, Gfp::KERNEL);
        pairs(&frames, run.operations(20_000, 200));
        let count = run.operations(1_000_000, 10_000);
        clock.measure("page-pair", count, &mut || pairs(&frames, count));
        free_all(&frames, Order::ZERO, held.as_slice());
    })
}

/// `page-pair-top`: half of memory is taken in large blocks, so that all else is as whole as can be, and an eager buddy
/// splits from the top for every allocation and merges to the top at every free.
pub fn pair_top<A: PageFrames>(run: Run) -> Vec<Measured> {
    let frames = A::new();
    let mut blocks = share::<A>(Run { threads: 2, ..run }, Order::PAGEBLOCK);
    assert_eq!(fill(&frames, Order::PAGEBLOCK, Gfp::KERNEL, &mut blocks), blocks.len());
    run.on_threads(&|clock| {
        pairs(&frames, run.operations(20_000, 200));
        let count = run.operations(200_000, 5_000);
        clock.measure("page-pair-top", count, &mut || pairs(&frames, count));
    })
}

/// `page-batch64`: 64 frames allocated, then freed in the same order. An operation is a pair.
pub fn batch<A: PageFrames>(run: Run) -> Vec<Measured> {
    let frames = A::new();
    let batches = |count| {
        let mut blocks = [A::Block::default(); BATCH];
        let mut refused = 0;
        for _ in 0..count / BATCH as u64 {
            let got = fill(&frames, Order::ZERO, Gfp::KERNEL, &mut blocks);
            refused += (BATCH - got) as u64;
            free_all(&frames, Order::ZERO, black_box(&blocks[..got]));
        }
        refused
    };
    run.on_threads(&|clock| {
        let held = frames.allocate(Order::ZERO, Gfp::KERNEL);
        batches(run.operations(20_000, 512));
        let count = run.operations(640_000, 12_800);
        clock.measure("page-batch64", count, &mut || batches(count));
        free_all(&frames, Order::ZERO, held.as_slice());
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
        let warm = fill(&frames, order, ALL, &mut blocks);
        clock.wait();
        rearrange(&mut blocks[..warm]);
        free_all(&frames, order, &blocks[..warm]);
        for _ in 0..times {
            let mut got = 0;
            clock.measure(alloc, count, &mut || {
                got = fill(&frames, order, ALL, &mut blocks);
                count - got as u64
            });
            rearrange(&mut blocks[..got]);
            clock.measure(free, got as u64, &mut || {
                free_all(&frames, order, &blocks[..got]);
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
            let got = fill(&frames, Order::ZERO, ALL, &mut blocks);
            blocks.truncate(got);
            random.shuffle(&mut blocks);
            let blocks = exchange(clock, blocks);
            if time == 0 {
                free_all(&frames, Order::ZERO, &blocks);
                clock.wait();
                continue;
            }
            clock.measure("page-cross-free", blocks.len() as u64, &mut || {
                free_all(&frames, Order::ZERO, &blocks);
                0
            });
            clock.wait();
        }
    })
}

/// Blocks of mixed sizes, allocated while they have less than `target` frames and freed at random while they have more.
///
/// Half of the requests are for one frame, a quarter for two, and so on up to order 9. Each allocator gets the same
/// sequence.
pub struct Mixed<A: PageFrames> {
    random: Random,
    held: Vec<(A::Block, Order)>,
    frames: usize,
    target: usize,
}

impl<A: PageFrames> Mixed<A> {
    /// Nothing yet.
    pub fn new(sequence: u64, target: usize) -> Self {
        Self { random: Random::new(sequence), held: Vec::with_capacity(target), frames: 0, target }
    }

    /// Does so many operations; how many requests were refused.
    pub fn churn(&mut self, frames: &A, count: u64) -> u64 {
        let mut refused = 0;
        for _ in 0..count {
            let number = self.random.next();
            if self.frames < self.target {
                let order = ORDERS[(number | 1 << 9).trailing_zeros() as usize % ORDERS.len()];
                match frames.allocate(order, Gfp::KERNEL) {
                    Some(block) => {
                        self.held.push((block, order));
                        self.frames += 1 << order.get();
                    }
                    None => refused += 1,
                }
            } else {
                let (block, order) = self.held.swap_remove(scale(number, self.held.len()));
                frames.free(block, order);
                self.frames -= 1 << order.get();
            }
        }
        refused
    }

    /// What is allocated.
    pub fn held(&self) -> &[(A::Block, Order)] {
        &self.held
    }
}

/// The orders 0 to 9, in a table whose size is a power of two.
const ORDERS: [Order; 16] = {
    let mut orders = [Order::ZERO; 16];
    let mut n = 0;
    while n <= 9 {
        orders[n] = Order::new(n as u8).expect("9 is an order");
        n += 1;
    }
    orders
};

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
    let value = crate::meter::Value::BytesPerFrame(A::new().bytes_per_frame());
    vec![Measured { workload: "page-metadata", value }]
}
