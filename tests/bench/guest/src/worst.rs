//! The worst single operation among random ones, of each order.

use crate::meter::Meter;
use alloc::vec::Vec;
use bifolio::frame::{Gfp, Order};
use core::hint::black_box;
use workloads::{FRAMES, PageFrames, Random};

/// What the worst of an order is reported as.
const OF_ORDER: [&str; Order::COUNT] = [
    "page-worst-order0",
    "page-worst-order1",
    "page-worst-order2",
    "page-worst-order3",
    "page-worst-order4",
    "page-worst-order5",
    "page-worst-order6",
    "page-worst-order7",
    "page-worst-order8",
    "page-worst-order9",
    "page-worst-order10",
];

/// Allocates blocks while they have less than half of memory, and frees random ones while they have more. Every second
/// request is for any order, the others mostly for small ones, so that memory is in pieces of all sizes.
///
/// A request that is refused is not counted: it looks everywhere, and may.
pub fn run<A: PageFrames>(meter: &Meter<'_>, operations: u64) {
    if !meter.wants(&["page-worst"]) && !meter.wants(&OF_ORDER) {
        return;
    }
    let (frames, mut random) = (A::new(), Random::new(17));
    let mut held: Vec<(A::Block, Order)> = Vec::with_capacity(FRAMES / 2);
    let (mut in_use, mut refused) = (0, 0);
    let mut worst = [0; Order::COUNT];
    for _ in 0..operations {
        let (order, instructions) = if in_use < FRAMES / 2 {
            let order = order(&mut random);
            let mut block = None;
            let instructions = meter.instructions(|| block = black_box(frames.allocate(order, Gfp::KERNEL)));
            let Some(block) = block else {
                refused += 1;
                continue;
            };
            held.push((block, order));
            in_use += 1 << order.get();
            (order, instructions)
        } else {
            let (block, order) = held.swap_remove(random.below(held.len()));
            in_use -= 1 << order.get();
            (order, meter.instructions(|| frames.free(black_box(block), order)))
        };
        let worst = &mut worst[order.index()];
        *worst = instructions.max(*worst);
    }
    for (workload, worst) in OF_ORDER.into_iter().zip(worst) {
        meter.report(workload, A::NAME, 1, worst, 0);
    }
    meter.report("page-worst", A::NAME, 1, worst.into_iter().max().unwrap_or_default(), refused);
}

fn order(random: &mut Random) -> Order {
    let number = random.number();
    let order =
        if number & 1 == 0 { random.below(Order::COUNT) } else { (number >> 1 | 1 << 10).trailing_zeros() as usize };
    Order::new(order as u8).expect("it is at most 10")
}
