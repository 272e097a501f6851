//! What a region holds: how much of it is live when a request is refused for the first time.
//!
//! Sizes are at random, the logarithm evenly: 2^k and up to as much again, with k as likely as any other. Each step allocates an
//! object, every second one also frees one at random. Or all objects are of one size, and none is freed.

use crate::meter::{Measured, Run, Value};
use crate::peers::Memory;
use crate::thread::Thread;
use bifolio::heap::{Heap, Objects};
use std::alloc::Layout;
use std::ptr::NonNull;
use std::slice;
use workloads::Random;
use workloads::heap::{Backing, RegionHeap, sized};

/// Sequences of random numbers, of which the median counts.
const SEEDS: u64 = 20;
/// The smallest size is 8 bytes.
const LEAST_LOG: u32 = 3;

/// What is asked for.
#[derive(Clone, Copy)]
enum Asked {
    /// Sizes at random up to so many bytes.
    UpTo(usize),
    /// Always so many bytes.
    Always(usize),
}

struct Workload {
    name: &'static str,
    region: usize,
    asked: Asked,
}

const ALL: [Workload; 10] = [
    Workload { name: "heap-region-64k-to-1k", region: 64 << 10, asked: Asked::UpTo(1_000) },
    Workload { name: "heap-region-256k-to-1k", region: 256 << 10, asked: Asked::UpTo(1_000) },
    Workload { name: "heap-region-2m-to-74k", region: 2 << 20, asked: Asked::UpTo(74_000) },
    Workload { name: "heap-region-8m-to-74k", region: 8 << 20, asked: Asked::UpTo(74_000) },
    Workload { name: "heap-region-64m-of-9000", region: 64 << 20, asked: Asked::Always(9_000) },
    Workload { name: "heap-region-64m-of-17000", region: 64 << 20, asked: Asked::Always(17_000) },
    Workload { name: "heap-region-64m-of-33000", region: 64 << 20, asked: Asked::Always(33_000) },
    Workload { name: "heap-region-64m-of-135000", region: 64 << 20, asked: Asked::Always(135_000) },
    Workload { name: "heap-region-64m-of-300000", region: 64 << 20, asked: Asked::Always(300_000) },
    Workload { name: "heap-region-64m-of-2200000", region: 64 << 20, asked: Asked::Always(2_200_000) },
];

/// All of their names.
pub const NAMES: [&str; ALL.len()] = {
    let mut names = [""; ALL.len()];
    let mut nth = 0;
    while nth < ALL.len() {
        names[nth] = ALL[nth].name;
        nth += 1;
    }
    names
};

/// Bifolio's heap in a region.
pub struct BifolioRegion(bifolio::heap::RegionHeap<'static, Thread>);

impl RegionHeap for BifolioRegion {
    const NAME: &'static str = "bifolio";

    unsafe fn new(base: NonNull<u8>, size: usize) -> Self {
        // SAFETY: by this function's contract the region is readable, writable, and its own while it lives.
        let region = unsafe { slice::from_raw_parts_mut(base.as_ptr(), size) };
        Self(Heap::in_shared_region(region).expect("the region is large enough"))
    }

    fn allocate(&mut self, layout: Layout) -> Option<NonNull<u8>> {
        self.0.heap().allocate(layout)
    }

    unsafe fn free(&mut self, object: NonNull<u8>, layout: Layout) {
        // SAFETY: the caller keeps the same contract.
        unsafe { self.0.heap().free(object, Some(layout)) }.expect("the workload frees what it allocated");
    }
}

/// All of them, in regions of the same memory.
pub fn run<R: RegionHeap>(_: Run) -> Vec<Measured> {
    let memory = Memory::new(0);
    let held = |workload: &Workload| {
        let mut held: Vec<u64> = (1..=SEEDS).map(|seed| fill::<R>(&memory, workload, seed)).collect();
        held.sort_unstable();
        let middle = held.len() / 2;
        (held[middle - 1] + held[middle]) / 2
    };
    let measured = |workload: &Workload| {
        let value = Value::Held { live: held(workload), room: workload.region as u64 };
        Measured { workload: workload.name, value }
    };
    ALL.iter().map(measured).collect()
}

/// Live bytes when a request is refused.
fn fill<R: RegionHeap>(memory: &Memory, workload: &Workload, seed: u64) -> u64 {
    // SAFETY: the memory outlives the allocator, and whoever had the region before is gone.
    let mut heap = unsafe { R::new(Backing::base(memory), workload.region) };
    let mut random = Random::new(seed);
    let (mut held, mut live) = (Vec::new(), 0);
    for step in 0_u64.. {
        let layout = sized(match workload.asked {
            Asked::Always(size) => size,
            Asked::UpTo(most) => size_up_to(&mut random, most),
        });
        let Some(object) = heap.allocate(layout) else { break };
        held.push((object, layout));
        live += layout.size() as u64;
        if step % 2 == 1 && matches!(workload.asked, Asked::UpTo(_)) {
            let (object, layout) = held.swap_remove(random.below(held.len()));
            live -= layout.size() as u64;
            // SAFETY: it was allocated so, and is forgotten.
            unsafe { heap.free(object, layout) };
        }
    }
    live
}

fn size_up_to(random: &mut Random, most: usize) -> usize {
    let logs = most.ilog2() + 1 - LEAST_LOG;
    let power = 1 << (LEAST_LOG + random.below(logs as usize) as u32);
    (power + random.below(power)).min(most)
}
