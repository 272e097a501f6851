//! How whole memory stays: workloads that end with as many blocks of 2 MiB as the allocator can really give.
//!
//! Meanwhile the harness knows which frames are allocated, so it counts the blocks of 2 MiB without one over time and
//! disturbs nobody.

use crate::meter::{Measured, Run, Value};
use bifolio::frame::{Gfp, Order, PAGEBLOCK_FRAMES};
use workloads::page::Mixed;
use workloads::{FRAMES, PageFrames, Random};

const PAGEBLOCK: usize = PAGEBLOCK_FRAMES as usize;
const PAGEBLOCKS: usize = FRAMES / PAGEBLOCK;
/// Points of a plot.
const SAMPLES: usize = 64;

const KERNEL: Gfp = Gfp::KERNEL.union(Gfp::MEMALLOC);
const MOVABLE: Gfp = KERNEL.union(Gfp::MOVABLE);

/// How many frames of each pageblock are allocated, in blocks of one order.
struct Census {
    order: Order,
    frames: [u16; PAGEBLOCKS],
}

impl Census {
    fn new(order: Order) -> Self {
        Self { order, frames: [0; PAGEBLOCKS] }
    }

    fn take<A: PageFrames>(&mut self, frames: &A, block: A::Block) {
        self.frames[frames.number(block) / PAGEBLOCK] += 1 << self.order.get();
    }

    fn give<A: PageFrames>(&mut self, frames: &A, block: A::Block) {
        self.frames[frames.number(block) / PAGEBLOCK] -= 1 << self.order.get();
    }

    fn whole(&self) -> u64 {
        self.frames.iter().filter(|&&frames| frames == 0).count() as u64
    }
}

/// How many blocks of 2 MiB can be allocated now.
fn allocatable<A: PageFrames>(frames: &A, gfp: Gfp) -> u64 {
    std::iter::from_fn(|| frames.allocate(Order::PAGEBLOCK, gfp)).count() as u64
}

fn allocate_all<A: PageFrames>(frames: &A, gfp: Gfp, census: &mut Census) -> Vec<A::Block> {
    let most = FRAMES >> census.order.get();
    let mut held = Vec::with_capacity(most);
    while held.len() < most
        && let Some(block) = frames.allocate(census.order, gfp)
    {
        census.take(frames, block);
        held.push(block);
    }
    held
}

/// `frag-churn`: all of memory is allocated in single frames, half of it freed at random, and then each frame is replaced
/// 16 times over: a random one is freed and another allocated.
pub fn churn<A: PageFrames>(run: Run) -> Vec<Measured> {
    replace_at_random::<A>(run, "frag-churn", Order::ZERO, 16 * FRAMES / 2, SAMPLES)
}

/// Replacements of LLFree's test: a hundred times a tenth of what is allocated.
const LLFREE_ROUNDS: usize = 100;

/// `frag-llfree-order0`: LLFree's test of fragmentation, as `frag-churn` but for how often is replaced: a tenth of what is
/// allocated is between two looks, of which there are a hundred.
pub fn llfree_order0<A: PageFrames>(run: Run) -> Vec<Measured> {
    replace_at_random::<A>(run, "frag-llfree-order0", Order::ZERO, LLFREE_ROUNDS * (FRAMES / 2) / 10, LLFREE_ROUNDS)
}

/// `frag-llfree-order3`: the same with blocks of eight frames.
pub fn llfree_order3<A: PageFrames>(run: Run) -> Vec<Measured> {
    const ORDER: Order = Order::new(3).expect("3 is an order");
    replace_at_random::<A>(run, "frag-llfree-order3", ORDER, LLFREE_ROUNDS * (FRAMES / 16) / 10, LLFREE_ROUNDS)
}

/// Allocates all of memory in blocks of an order, frees half of them at random, and then replaces random ones in so many steps.
fn replace_at_random<A: PageFrames>(
    run: Run,
    workload: &'static str,
    order: Order,
    steps: usize,
    samples: usize,
) -> Vec<Measured> {
    measure(run, workload, (PAGEBLOCKS / 2) as u64, &|over_time: &mut Vec<u64>| {
        let (frames, mut random, mut census) = (A::new(), Random::new(3), Census::new(order));
        let mut held = allocate_all(&frames, MOVABLE, &mut census);
        random.shuffle(&mut held);
        for block in held.split_off((FRAMES >> order.get()) / 2) {
            frames.free(block, order);
            census.give(&frames, block);
        }
        for step in 0..steps {
            if step % (steps / samples) == 0 {
                over_time.push(census.whole());
            }
            let slot = random.below(held.len());
            frames.free(held[slot], order);
            census.give(&frames, held[slot]);
            let Some(block) = frames.allocate(order, MOVABLE) else { return 0 };
            census.take(&frames, block);
            held[slot] = block;
        }
        allocatable(&frames, MOVABLE)
    })
}

/// `frag-unmovable`: 15/16 of memory is allocated in single frames, 24 pageblocks' worth of which, one in 20, are
/// unmovable; then all the movable ones are freed, in random order. An allocator that is not told what is movable has no
/// chance.
pub fn unmovable<A: PageFrames>(run: Run) -> Vec<Measured> {
    const TAKEN: usize = FRAMES / 16 * 15;
    const UNMOVABLE: usize = TAKEN / 20;
    measure(run, "frag-unmovable", (PAGEBLOCKS - UNMOVABLE / PAGEBLOCK) as u64, &|over_time: &mut Vec<u64>| {
        let (frames, mut random, mut census) = (A::new(), Random::new(5), Census::new(Order::ZERO));
        let mut is_movable = vec![true; TAKEN];
        is_movable[..UNMOVABLE].fill(false);
        random.shuffle(&mut is_movable);
        let mut movable = Vec::with_capacity(TAKEN);
        for (step, is_movable) in is_movable.into_iter().enumerate() {
            if step % (2 * TAKEN / SAMPLES) == 0 {
                over_time.push(census.whole());
            }
            let Some(block) = frames.allocate(Order::ZERO, if is_movable { MOVABLE } else { KERNEL }) else { return 0 };
            census.take(&frames, block);
            if is_movable {
                movable.push(block);
            }
        }
        random.shuffle(&mut movable);
        for (step, block) in movable.into_iter().enumerate() {
            if step % (2 * TAKEN / SAMPLES) == 0 {
                over_time.push(census.whole());
            }
            frames.free(block, Order::ZERO);
            census.give(&frames, block);
        }
        over_time.push(census.whole());
        allocatable(&frames, MOVABLE)
    })
}

/// `frag-mixed`: mixed orders, half of memory in use, for a million operations.
pub fn mixed<A: PageFrames>(run: Run) -> Vec<Measured> {
    let steps = run.operations(1_000_000, 0);
    measure(run, "frag-mixed", (PAGEBLOCKS / 2) as u64, &|over_time: &mut Vec<u64>| {
        let (frames, mut mixed) = (A::new(), Mixed::<A>::new(13, FRAMES / 2));
        for _ in 0..SAMPLES {
            mixed.churn(&frames, steps / SAMPLES as u64);
            let mut census = [0u32; PAGEBLOCKS];
            for &(block, order) in mixed.held() {
                census[frames.number(block) / PAGEBLOCK] += order.frames() as u32;
            }
            over_time.push(census.iter().filter(|&&frames| frames == 0).count() as u64);
        }
        allocatable(&frames, KERNEL)
    })
}

fn measure(
    run: Run,
    workload: &'static str,
    limit: u64,
    work: &(dyn Fn(&mut Vec<u64>) -> u64 + Sync),
) -> Vec<Measured> {
    let result = std::sync::Mutex::new(None);
    run.on_threads(&|_| {
        let mut over_time = Vec::new();
        let allocated = work(&mut over_time);
        *result.lock().expect("one thread only") = Some(Value::Blocks { allocated, limit, over_time });
    });
    let value = result.into_inner().expect("one thread only").expect("it ran");
    vec![Measured { workload, value }]
}
