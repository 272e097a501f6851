//! Single operations among random ones: the median, the 99th percentile and the worst, the worst of each order too.

use crate::meter::Meter;
use alloc::vec::Vec;
use bifolio::frame::Order;
use workloads::PageFrames;
use workloads::singles::{RANKS, Singles, ranks};

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

/// Measures so many operations, each by itself.
pub fn run<A: PageFrames>(meter: &mut Meter<'_>, operations: usize) {
    if !meter.wants(&RANKS) && !meter.wants(&OF_ORDER) {
        return;
    }
    let (frames, mut singles) = (A::new(), Singles::<A>::default());
    let (mut counts, mut worst) = (Vec::with_capacity(operations), [0; Order::COUNT]);
    for _ in 0..operations {
        let Some((order, instructions)) = singles.next(&frames, meter) else { continue };
        let worst = &mut worst[order.index()];
        *worst = instructions.max(*worst);
        counts.push(instructions as u32);
    }
    let refused = (operations - counts.len()) as u64;
    for (workload, worst) in OF_ORDER.into_iter().zip(worst) {
        meter.report(workload, A::NAME, 1, worst, 0);
    }
    for (workload, instructions) in RANKS.into_iter().zip(ranks(&mut counts)) {
        meter.report(workload, A::NAME, 1, instructions, refused);
    }
}
