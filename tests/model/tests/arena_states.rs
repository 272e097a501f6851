//! Every sequence of up to seven operations on two CPUs with arenas, and blocks of orders 0 and 1.
//!
//! States are told apart by what can be seen: the allocated blocks, every block as the zone shows it, what arenas hold and
//! which CPU has its turn. Each is reached by doing the operations that lead to it once more on a fresh allocator.

use std::collections::{BTreeMap, HashSet, VecDeque};

use bifolio::allocator::{BlockState, PageAllocator, PerCpuPages, Plan};
use bifolio::error::FreeError;
use bifolio::frame::{FRAME_SIZE, Gfp, Order, Pfn, ZoneKind};
use bifolio::memory_map::{MemoryMap, Region, RegionKind};
use kit::{Raw, over_numbers};
use model::machine::Turns;

/// Eight frames in a word, which are lent first, and four whole words, without which nothing would be lent.
const SMALL: u64 = 1 << 20;
const LARGE: u64 = SMALL + 256;
const FRAMES: u64 = 8 + 256;
const GFP: Gfp = Gfp::MOVABLE.union(Gfp::MEMALLOC);
/// Operations in a sequence, at most.
const LENGTH: usize = 7;
const CPUS: usize = 2;

#[derive(Clone, Copy, Debug)]
enum Operation {
    Allocate(u8),
    /// The block with this number among the allocated ones, by address.
    Free(usize),
    Drain,
}

/// What can be seen of a state.
type Seen = (Vec<(u64, u8)>, Vec<(u64, u8, BlockState)>, u64);

/// Does operations, each on its CPU, on a fresh allocator; checks everything after the last, and says what there is to see.
fn replay(path: &[(usize, Operation)]) -> Seen {
    let usable = |start: u64, frames: u64| Region {
        start: start * FRAME_SIZE,
        end: (start + frames) * FRAME_SIZE,
        kind: RegionKind::Usable,
    };
    let mut regions = [usable(SMALL, 8), usable(LARGE, 256), usable(1 << 30, 2)];
    let plan = Plan::new(MemoryMap::sanitise(&mut regions).unwrap()).unwrap();
    assert_eq!(plan.metadata().end, Pfn::new((1 << 30) + 2));
    let mut metadata = vec![!0; plan.metadata_words()];
    let arenas = [const { PerCpuPages::new() }; CPUS];
    let frames: PageAllocator<'_, Turns> = over_numbers(&plan, &mut metadata, &arenas).unwrap();
    let spare = 2 - plan.metadata().frames();
    let order = |order| Order::new(order).unwrap();
    let mut allocated = BTreeMap::new();
    let mut last = None;
    for (cpu, operation) in path {
        Turns::switch_to(*cpu);
        match *operation {
            Operation::Allocate(o) => {
                let pfn = frames.take(order(o), GFP).unwrap();
                assert!(pfn.is_aligned(order(o)));
                let overlaps =
                    |(start, size): (&u64, &u8)| *start < pfn.number() + (1 << o) && pfn.number() < start + (1 << size);
                assert!(!allocated.iter().any(overlaps), "{pfn} was handed out twice: {path:?}");
                allocated.insert(pfn.number(), o);
            }
            Operation::Free(nth) => {
                let (pfn, o) = allocated.iter().nth(nth).map(|(pfn, o)| (*pfn, *o)).unwrap();
                assert_eq!(frames.give(Pfn::new(pfn), order(o)), Ok(()), "{path:?}");
                allocated.remove(&pfn);
                last = Some((Pfn::new(pfn), o));
            }
            Operation::Drain => frames.drain(),
        }
    }
    frames.validate().unwrap();
    let live: u64 = allocated.values().map(|o| 1 << o).sum();
    assert_eq!(frames.zone(ZoneKind::Normal).free + frames.cached() + live, FRAMES + spare, "{path:?}");
    let mut blocks = Vec::new();
    frames.for_each_block(ZoneKind::Normal, |block| blocks.push((block.pfn.number(), block.order.get(), block.state)));
    let seen = (allocated.iter().map(|(pfn, o)| (*pfn, *o)).collect(), blocks, frames.cached());

    // Every bad free is named, on either CPU; then all arenas are emptied, and what is left is what was allocated.
    for cpu in 0..CPUS {
        Turns::switch_to(cpu);
        if let Some((pfn, o)) =
            last.filter(|(pfn, o)| !allocated.keys().any(|at| at >> 1 == pfn.number() >> 1 && *o < 2))
        {
            assert_eq!(frames.give(pfn, order(o)), Err(FreeError::AlreadyFree(pfn)), "on CPU {cpu}: {path:?}");
        }
        for (pfn, o) in &allocated {
            let (pfn, actual, given) = (Pfn::new(*pfn), order(*o), order(1 - o));
            assert_eq!(
                frames.give(pfn, given),
                Err(FreeError::WrongOrder { pfn, given, actual }),
                "on CPU {cpu}: {path:?}"
            );
        }
    }
    frames.drain();
    frames.validate().unwrap();
    assert_eq!((frames.cached(), frames.late_double_frees()), (0, 0), "{path:?}");
    for (pfn, o) in allocated {
        assert_eq!(frames.give(Pfn::new(pfn), order(o)), Ok(()), "{path:?}");
    }
    frames.drain();
    let whole = frames.free_blocks(ZoneKind::Normal);
    assert_eq!((whole.frames(), whole.of(order(3)), whole.of(order(8))), (FRAMES + spare, 1, 1), "{path:?}");
    seen
}

#[test]
fn every_short_sequence_of_operations_on_two_arenas_is_right() {
    let mut known = HashSet::from([(replay(&[]), 0)]);
    let mut paths = VecDeque::from([(Vec::new(), 0)]);
    let mut steps = 0;
    while let Some((path, live)) = paths.pop_front() {
        let allocations = [0, 1].map(Operation::Allocate).into_iter();
        let operations = allocations.chain((0..live).map(Operation::Free)).chain([Operation::Drain]);
        for (operation, cpu) in operations.flat_map(|operation| (0..CPUS).map(move |cpu| (operation, cpu))) {
            let mut longer: Vec<(usize, Operation)> = path.clone();
            longer.push((cpu, operation));
            steps += 1;
            let seen = replay(&longer);
            let live = seen.0.len();
            if known.insert((seen, cpu)) && longer.len() < LENGTH {
                paths.push_back((longer, live));
            }
        }
    }
    println!("two arenas, up to {LENGTH} operations: {} states, {steps} steps between them", known.len());
    assert!(known.len() > 100, "the walk came to an early end");
}
