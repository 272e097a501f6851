//! All ways to get frames, in any order, against the oracle.

use bifolio::allocator::{AllocError, PageAllocator};
use bifolio::frame::{Gfp, Order, Pfn, PfnRange, ZoneKind};
use bifolio::memory_map::Region;
use kit::{Raw, Sound, scale};
use proptest::prelude::*;

use super::{NORMAL, order};
use kit::machine::{SingleCpu, allocator, allocator_with_pages, usable};
use kit::oracle::{Oracle, blocks, range_blocks};

/// Memory in all zones: odd ends, a hole inside a pageblock, RAM on both sides of both bounds.
pub fn ragged() -> Vec<Region> {
    vec![
        usable(0, 700),
        usable(900, 1100),
        usable(3000, 5200),
        usable(NORMAL - 77, NORMAL + 3),
        usable(NORMAL + 513, NORMAL + 4000),
    ]
}

/// A frame somewhere in the regions.
fn frame_at(place: usize) -> u64 {
    let regions = ragged();
    let region = regions[place % regions.len()];
    let frames = region.end / 4096 - region.start / 4096;
    region.start / 4096 + (place / regions.len()) as u64 % frames
}

#[derive(Clone, Debug)]
enum Op {
    Allocate {
        order: u8,
        gfp: Gfp,
    },
    Exact {
        frames: u64,
        gfp: Gfp,
    },
    Contiguous {
        frames: u64,
        gfp: Gfp,
    },
    Range {
        place: usize,
        frames: u64,
    },
    Bulk {
        count: usize,
    },
    Split {
        nth: usize,
        into: u8,
    },
    Free {
        nth: usize,
    },
    /// Frees whatever lies at a place, with any order: mostly an error.
    FreeAnywhere {
        place: usize,
        order: u8,
    },
    Isolate {
        place: usize,
    },
    Unisolate {
        nth: usize,
    },
    Drain,
}

/// A third of the requests for blocks are for single frames of no special zone, which is what per-CPU pages serve.
fn operations() -> impl Strategy<Value = Vec<Op>> {
    let gfp = (0usize..3, 0usize..3).prop_map(|(zone, mobility)| {
        [Gfp::empty(), Gfp::DMA, Gfp::DMA32][zone]
            | [Gfp::empty(), Gfp::MOVABLE, Gfp::RECLAIMABLE][mobility]
            | Gfp::MEMALLOC
    });
    let frames = prop_oneof![4 => 1u64..70, 2 => 1u64..1025, 1 => 1000u64..2500];
    let order = prop_oneof![8 => 0u8..=3, 4 => 4u8..=8, 1 => 9u8..=10];
    let mobility = (0usize..3).prop_map(|nth| [Gfp::KERNEL, Gfp::MOVABLE, Gfp::RECLAIMABLE][nth] | Gfp::MEMALLOC);
    let op = prop_oneof![
        6 => (order, gfp.clone()).prop_map(|(order, gfp)| Op::Allocate { order, gfp }),
        3 => mobility.prop_map(|gfp| Op::Allocate { order: 0, gfp }),
        3 => (1u64..=1024, gfp.clone()).prop_map(|(frames, gfp)| Op::Exact { frames, gfp }),
        1 => (frames.clone(), gfp).prop_map(|(frames, gfp)| Op::Contiguous { frames, gfp }),
        4 => (any::<usize>(), frames).prop_map(|(place, frames)| Op::Range { place, frames }),
        1 => (1usize..100).prop_map(|count| Op::Bulk { count }),
        3 => (any::<usize>(), 0u8..=9).prop_map(|(nth, into)| Op::Split { nth, into }),
        10 => any::<usize>().prop_map(|nth| Op::Free { nth }),
        1 => (any::<usize>(), 0u8..=10).prop_map(|(place, order)| Op::FreeAnywhere { place, order }),
        1 => (any::<usize>(), 0u8..=1).prop_map(|(place, order)| Op::FreeAnywhere { place: place % 50, order }),
        2 => any::<usize>().prop_map(|place| Op::Isolate { place }),
        2 => any::<usize>().prop_map(|nth| Op::Unisolate { nth }),
        1 => Just(Op::Drain),
    ];
    proptest::collection::vec(op, 1..100)
}

/// Takes note of a range that was allocated, as the blocks that make it up.
fn take_range(oracle: &mut Oracle, range: PfnRange, highest: ZoneKind) {
    range_blocks(range).into_iter().for_each(|(pfn, order)| oracle.allocate(pfn, order, highest).unwrap());
}

/// Every answer is one that the oracle allows, every refusal is justified, no invariant is violated, and all freed and
/// drained is the first state.
fn run(operations: Vec<Op>, frames: &PageAllocator<'_, SingleCpu>) -> Result<(), TestCaseError> {
    let mut oracle = Oracle::over(&ragged(), frames.metadata());
    let fresh = blocks(frames);
    let mut isolated: Vec<u64> = Vec::new();
    let pageblock = |frame: u64| PfnRange::new(Pfn::new(frame / 512 * 512), Pfn::new(frame / 512 * 512 + 1));
    for op in operations {
        match op {
            Op::Allocate { order: o, gfp } => match frames.take(order(o), gfp) {
                Ok(pfn) => prop_assert_eq!(oracle.allocate(pfn, order(o), gfp.highest_zone().unwrap()), Ok(())),
                Err(error) => {
                    prop_assert_eq!(error, AllocError::OutOfMemory { order: order(o), gfp });
                    prop_assert!(
                        !oracle.could_serve(order(o), gfp.highest_zone().unwrap()),
                        "refused order {o}, {gfp}"
                    );
                }
            },
            Op::Exact { frames: count, gfp } => match frames.take_exact(count, gfp) {
                Ok(range) => {
                    prop_assert_eq!(range.frames(), count);
                    take_range(&mut oracle, range, gfp.highest_zone().unwrap());
                }
                Err(_) => {
                    let covering = Order::all().find(|order| order.frames() >= count).unwrap();
                    prop_assert!(
                        !oracle.could_serve(covering, gfp.highest_zone().unwrap()),
                        "refused {count} exactly, {gfp}"
                    );
                }
            },
            Op::Contiguous { frames: count, gfp } => {
                let alignment = if count.is_power_of_two() { count } else { 1 };
                let highest = gfp.highest_zone().unwrap();
                match frames.take_contiguous(count, gfp) {
                    Ok(range) => {
                        prop_assert_eq!((range.frames(), range.start.number() % alignment), (count, 0));
                        take_range(&mut oracle, range, highest);
                    }
                    Err(error) => {
                        prop_assert_eq!(error, AllocError::NoFreeRun { frames: count, gfp });
                        prop_assert_eq!(oracle.free_run(count, alignment, highest), None, "refused {} in a row", count);
                    }
                }
            }
            Op::Range { place, frames: count } => {
                let start = frame_at(place);
                let range = PfnRange::new(Pfn::new(start), Pfn::new(start + count));
                let possible = oracle.is_free_range(range);
                prop_assert_eq!(frames.take_range(range, Gfp::NOWAIT).is_ok(), possible, "{}", range);
                if possible {
                    take_range(&mut oracle, range, ZoneKind::Normal);
                }
            }
            Op::Bulk { count } => {
                let mut slots = vec![None; count];
                let filled = frames.take_bulk(&mut slots, Gfp::MEMALLOC).unwrap_or(0);
                prop_assert_eq!(slots.iter().flatten().count(), filled);
                for pfn in slots.into_iter().flatten() {
                    prop_assert_eq!(oracle.allocate(pfn, Order::ZERO, ZoneKind::Normal), Ok(()));
                }
            }
            Op::Split { nth, into } => {
                if oracle.count() > 0 {
                    let (pfn, whole) = oracle.nth(nth % oracle.count());
                    let possible = order(into) <= whole;
                    prop_assert_eq!(frames.cut(pfn, whole, order(into)).is_ok(), possible);
                    // Few pieces at a time, or there is nothing else left to do.
                    if possible {
                        oracle.split(pfn, whole, order(into));
                    }
                }
            }
            Op::Free { nth } => {
                if oracle.count() > 0 {
                    let (pfn, order) = oracle.nth(nth % oracle.count());
                    prop_assert_eq!(frames.order_of(pfn), Ok(order));
                    prop_assert_eq!(frames.give(pfn, order), Ok(()));
                    prop_assert_eq!(oracle.give(pfn, order), Ok(()));
                }
            }
            Op::FreeAnywhere { place, order: o } => {
                let pfn = Pfn::new(frame_at(place));
                prop_assert_eq!(frames.give(pfn, order(o)), oracle.give(pfn, order(o)));
            }
            Op::Isolate { place } => {
                let frame = frame_at(place);
                let was = oracle.in_isolation(Pfn::new(frame));
                oracle.set_isolated(pageblock(frame), true);
                prop_assert_eq!(frames.isolate(pageblock(frame)).is_err(), was);
                if !was {
                    isolated.push(frame);
                }
                // What a CPU's pages hold is handed out until they are drained.
                frames.drain();
            }
            Op::Unisolate { nth } => {
                if !isolated.is_empty() {
                    let frame = isolated.swap_remove(nth % isolated.len());
                    oracle.set_isolated(pageblock(frame), false);
                    frames.unisolate(pageblock(frame)).unwrap();
                }
            }
            Op::Drain => frames.drain(),
        }
        frames.sound();
        let stats = frames.stats();
        let count = |of: fn(&bifolio::allocator::ZoneStats) -> u64| stats.zones.iter().map(of).sum::<u64>();
        let free = count(|zone| zone.free) + count(|zone| zone.isolated) + stats.cached;
        prop_assert_eq!(free, oracle.all_free());
        // A word on loan in an isolated pageblock is waiting for its borrower.
        let isolated: u64 = ZoneKind::ALL.map(|kind| oracle.isolated_frames(kind)).iter().sum();
        prop_assert!(count(|zone| zone.isolated) <= isolated);
        prop_assert!(isolated <= count(|zone| zone.isolated) + stats.cached);
    }
    for frame in isolated {
        oracle.set_isolated(pageblock(frame), false);
        frames.unisolate(pageblock(frame)).unwrap();
    }
    frames.drain();
    prop_assert_eq!(frames.stats().late_double_frees, 0);
    prop_assert_eq!(blocks(frames), oracle.blocks());
    for (pfn, order) in oracle.allocated() {
        prop_assert_eq!(frames.give(pfn, order), Ok(()));
    }
    frames.drain();
    prop_assert_eq!(blocks(frames), fresh);
    frames.sound();
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: scale::rounds(64) as u32, ..ProptestConfig::default() })]

    #[test]
    fn zones_serve_every_entry_point_as_the_oracle_does(operations in operations()) {
        run(operations, &allocator(&ragged()))?;
    }

    #[test]
    fn per_cpu_pages_disturb_no_entry_point(operations in operations()) {
        run(operations, &allocator_with_pages(&ragged()))?;
    }
}
