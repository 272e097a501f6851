//! The workloads that LLFree is measured by, as its authors describe them (Wrenger et al., USENIX ATC 2023), so that figures can be
//! compared: half of memory, in blocks of one order.
//!
//! Its test of fragmentation is in [`super::fragmentation`].

use super::operations::share;
use crate::meter::{Measured, Run};
use bifolio::frame::{Gfp, Order};
use std::hint::black_box;
use std::sync::Mutex;
use workloads::page;
use workloads::{PageFrames, Random};

/// The workloads of an order.
pub struct Names {
    order: Order,
    pub bulk: [&'static str; 2],
    pub random: [&'static str; 1],
    pub repeat: [&'static str; 1],
}

const fn order(order: u8) -> Order {
    Order::new(order).expect("orders end at 10")
}

/// By the order of their blocks: single frames, 16 of them, and blocks of 2 MiB.
pub const NAMES: [Names; 3] = [
    Names {
        order: order(0),
        bulk: ["page-llfree-bulk-alloc-order0", "page-llfree-bulk-free-order0"],
        random: ["page-llfree-random-free-order0"],
        repeat: ["page-llfree-repeat-order0"],
    },
    Names {
        order: order(4),
        bulk: ["page-llfree-bulk-alloc-order4", "page-llfree-bulk-free-order4"],
        random: ["page-llfree-random-free-order4"],
        repeat: ["page-llfree-repeat-order4"],
    },
    Names {
        order: order(9),
        bulk: ["page-llfree-bulk-alloc-order9", "page-llfree-bulk-free-order9"],
        random: ["page-llfree-random-free-order9"],
        repeat: ["page-llfree-repeat-order9"],
    },
];

/// How often a measurement is taken in a run: large blocks are few.
fn times(run: Run, order: Order) -> u64 {
    run.operations(if order == Order::PAGEBLOCK { 64 } else { 4 }, 1)
}

/// Room for a thread's share of half of memory.
fn half<A: PageFrames>(run: Run, order: Order) -> Vec<A::Block> {
    let mut blocks = share::<A>(run, order);
    blocks.truncate(blocks.len() / 2);
    blocks
}

/// `page-llfree-bulk-alloc`, `-free`: each thread allocates its share of half of memory, and then frees it in the order of
/// allocation.
pub fn bulk<A: PageFrames, const ORDER: usize>(run: Run) -> Vec<Measured> {
    let Names { order, bulk: [alloc, free], .. } = &NAMES[ORDER];
    let frames = A::new();
    run.on_threads(&|clock| {
        let mut blocks = half::<A>(run, *order);
        let (count, mut got) = (blocks.len() as u64, 0);
        let warm = page::fill(&frames, *order, page::ALL, &mut blocks);
        page::free_all(&frames, *order, &blocks[..warm]);
        for _ in 0..times(run, *order) {
            clock.measure(alloc, count, &mut || {
                got = page::fill(&frames, *order, page::ALL, &mut blocks);
                count - got as u64
            });
            clock.measure(free, got as u64, &mut || {
                page::free_all(&frames, *order, &blocks[..got]);
                0
            });
        }
    })
}

/// `page-llfree-random-free`: all threads together allocate half of memory, and each frees a share of it in random order,
/// whoever allocated it.
pub fn random_free<A: PageFrames, const ORDER: usize>(run: Run) -> Vec<Measured> {
    let Names { order, random: [free], .. } = &NAMES[ORDER];
    let (frames, everybodys) = (A::new(), Mutex::new(Vec::<A::Block>::new()));
    let everybodys = || everybodys.lock().expect("nobody panics meanwhile");
    run.on_threads(&|clock| {
        let mut blocks = half::<A>(run, *order);
        // The first time does not count.
        for time in 0..=times(run, *order) {
            let got = page::fill(&frames, *order, page::ALL, &mut blocks);
            everybodys().extend(&blocks[..got]);
            clock.wait();
            if clock.cpu == 0 {
                Random::new(7).shuffle(&mut everybodys());
            }
            clock.wait();
            let own: Vec<A::Block> = everybodys().iter().skip(clock.cpu).step_by(run.threads).copied().collect();
            clock.wait();
            everybodys().clear();
            let mut free_own = || {
                page::free_all(&frames, *order, &own);
                0
            };
            if time == 0 {
                free_own();
            } else {
                clock.measure(free, own.len() as u64, &mut free_own);
            }
            clock.wait();
        }
    })
}

/// `page-llfree-repeat`: with half of memory in use, the same block again and again. An operation is a pair.
pub fn repeat<A: PageFrames, const ORDER: usize>(run: Run) -> Vec<Measured> {
    let Names { order, repeat: [repeat], .. } = &NAMES[ORDER];
    let frames = A::new();
    run.on_threads(&|clock| {
        page::fill(&frames, *order, page::ALL, &mut half::<A>(run, *order));
        pairs(&frames, *order, run.operations(5_000, 200));
        let count = run.operations(200_000, 5_000);
        clock.measure(repeat, count, &mut || pairs(&frames, *order, count));
    })
}

fn pairs<A: PageFrames>(frames: &A, order: Order, count: u64) -> u64 {
    let mut refused = 0;
    for _ in 0..count {
        match frames.allocate(order, Gfp::KERNEL) {
            Some(block) => frames.free(black_box(block), order),
            None => refused += 1,
        }
    }
    refused
}
