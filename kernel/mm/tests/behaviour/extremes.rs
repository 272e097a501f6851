//! Numbers that no caller should have, in every call that takes one: an error that says so, and nothing has changed. Tests
//! are built with overflow checks, so that arithmetic that wraps is a panic.

use std::sync::atomic::{AtomicU64, Ordering};

use bifolio::allocator::{AllocError, FreeBlocks, PageAllocator, Shrinker, Watermarks, min_free_kib, protection};
use bifolio::error::{AddError, FreeError, RangeError, ResizeError, SplitError};
use bifolio::frame::{FRAME_SIZE, Gfp, Mobility, Order, Pfn, PfnRange, Profile, ZoneKind};
use bifolio::memory_map::{MemoryMap, Region, RegionKind};
use kit::{Raw, Sound};

use crate::NORMAL;
use crate::machine::Machine;
use kit::machine::{SingleCpu, allocator, allocator_with, allocator_with_pages, usable};
use kit::oracle::{Seen, blocks};

/// Frame numbers that no machine has: around the limits of what can be addressed, and around the ends of the type, where the
/// next block, pageblock or pair of them does not exist.
fn numbers() -> Vec<u64> {
    let limit = 1 << 40;
    let ends = [0, 1, 63, 511, 512, 513, 1023, 1024].map(|below| u64::MAX - below);
    let limits = [limit - 1, limit, limit + 1, 1 << 52, (1 << 52) - 1, 1 << 63, (1 << 63) - 1];
    ends.into_iter().chain(limits).collect()
}

/// Ranges with such numbers at one end or both, in either order, the empty ones among them.
fn ranges() -> Vec<PfnRange> {
    let numbers = || numbers().into_iter().chain([0, 1, NORMAL, NORMAL + 100]);
    let all = numbers().flat_map(|start| numbers().map(move |end| PfnRange::new(Pfn::new(start), Pfn::new(end))));
    all.filter(|range| range.start.number() > NORMAL + 100 || range.end.number() > NORMAL + 100).collect()
}

/// Memory in all zones, some of it reclaimable, and an arena in use.
fn machine() -> PageAllocator<'static, SingleCpu> {
    let later = Region { start: 8192 * 4096, end: 8704 * 4096, kind: RegionKind::AcpiReclaimable };
    let frames = allocator_with_pages(&[usable(256, 4096), usable(4096, 8192), later, usable(NORMAL, NORMAL + 4096)]);
    let held: Vec<Pfn> = (0..100).map(|_| frames.take(Order::ZERO, Gfp::KERNEL).unwrap()).collect();
    held.iter().step_by(2).for_each(|pfn| frames.give(*pfn, Order::ZERO).unwrap());
    frames
}

/// What there is to change.
fn state(frames: &PageAllocator<'_, SingleCpu>) -> (Vec<Seen>, u64, [u64; ZoneKind::COUNT]) {
    (blocks(frames), frames.cached(), ZoneKind::ALL.map(|kind| frames.zone(kind).managed))
}

/// Does something that must be refused to a machine, and sees that nothing has changed.
fn unchanged(each: impl Fn(&PageAllocator<'_, SingleCpu>)) {
    let frames = machine();
    // Whether arenas hold frames makes no difference to what there is.
    frames.drain();
    let before = state(&frames);
    each(&frames);
    frames.drain();
    assert_eq!(state(&frames), before);
    frames.sound();
}

#[test]
fn frees_and_splits_of_frames_that_are_nowhere() {
    unchanged(|frames| {
        for pfn in numbers().into_iter().map(Pfn::new) {
            let nowhere = FreeError::NotManaged(pfn);
            for order in Order::all() {
                assert_eq!(frames.give(pfn, order), Err(nowhere), "{pfn}");
                // Twice: the second might be taken for one that belongs to the first.
                assert_eq!(frames.give(pfn, order), Err(nowhere), "{pfn}");
                assert_eq!(frames.cut(pfn, order, Order::ZERO), Err(SplitError::NoBlock(nowhere)), "{pfn}");
            }
            assert_eq!(frames.order_of(pfn), Err(nowhere));
            assert_eq!(frames.give_bulk(&mut [None, Some(pfn)]), Err(nowhere));
        }
    });
}

#[test]
fn ranges_that_are_nowhere() {
    unchanged(|frames| {
        for range in ranges() {
            let free = frames.give_range(range);
            let taken = [frames.isolate(range), frames.unisolate(range), frames.take_range(range, Gfp::KERNEL)];
            if range.is_empty() {
                assert_eq!(free, Err(FreeError::NoFrames), "{range}");
                assert_eq!(taken, [Err(RangeError::NoFrames); 3], "{range}");
            } else {
                assert!(free.is_err(), "{range}");
                assert!(taken.iter().all(Result::is_err), "{range}: {taken:?}");
            }
        }
    });
}

#[test]
fn additions_that_are_nowhere() {
    unchanged(|frames| {
        for range in ranges() {
            match frames.give_more(range).unwrap_err() {
                AddError::NoFrames => assert!(range.is_empty(), "{range}"),
                // Where a part of it is in a zone, that is said of the part.
                AddError::NotPlanned(part) => assert_eq!(part.intersection(range), part),
                AddError::Overlaps(pfn) => assert_eq!(pfn, frames.metadata().start),
                error => panic!("{range}: {error}"),
            }
        }
        for number in [0, NORMAL, u64::MAX] {
            let empty = PfnRange::new(Pfn::new(number), Pfn::new(number));
            assert_eq!(frames.give_more(empty), Err(AddError::NoFrames));
        }
    });
}

#[test]
fn sizes_that_are_too_large() {
    let sizes = || numbers().into_iter().filter(|frames| *frames >= 1 << 40);
    unchanged(|frames| {
        for count in sizes() {
            assert_eq!(frames.take_exact(count, Gfp::KERNEL), Err(AllocError::TooManyFrames(count)));
            let aligned = frames.take_exact_aligned(count, Order::MAX, Gfp::KERNEL);
            assert_eq!(aligned, Err(AllocError::TooManyFrames(count)));
            let refused = AllocError::NoFreeRun { frames: count, gfp: Gfp::KERNEL };
            assert_eq!(frames.take_contiguous(count, Gfp::KERNEL), Err(refused));
            assert_eq!(Order::covering(count), None);
        }
    });
    unchanged(|frames| {
        let taken = frames.take_exact(3, Gfp::KERNEL).unwrap();
        for count in sizes() {
            let error = frames.regrow(taken, count, Gfp::KERNEL | Gfp::MEMALLOC).unwrap_err();
            assert!(matches!(error, ResizeError::NoRoom(RangeError::CrossesZones(_))), "{error}");
        }
        frames.give_range(taken).unwrap();
    });
    unchanged(|frames| {
        for (range, count) in ranges().into_iter().flat_map(|range| sizes().chain([0, 1]).map(move |n| (range, n))) {
            assert!(frames.regrow(range, count, Gfp::KERNEL | Gfp::MEMALLOC).is_err(), "{range} to {count}");
        }
    });
}

/// There are no numbers that these refuse.
#[test]
fn frames_and_ranges_of_any_number() {
    for number in numbers() {
        let pfn = Pfn::new(number);
        assert_eq!(Profile::X86_64.zone_of(pfn), ZoneKind::Normal);
        assert_eq!(Pfn::containing(number), Pfn::new(number >> 12));
        assert_eq!(pfn.address(), number.wrapping_mul(FRAME_SIZE));
        assert_eq!(pfn.offset(u64::MAX), Pfn::new(number.wrapping_sub(1)));
        assert!(pfn.is_aligned(Order::ZERO));
    }
    for range in ranges() {
        let frames = range.end.number().saturating_sub(range.start.number());
        assert_eq!((range.frames(), range.is_empty()), (frames, frames == 0));
        assert_eq!(range.intersection(range), range);
        let first: Vec<(Pfn, Order)> = range.blocks().take(3).collect();
        assert_eq!(first.first().map(|(pfn, _)| *pfn), (frames > 0).then_some(range.start));
        assert!(first.iter().all(|(pfn, order)| pfn.is_aligned(*order) && range.contains(*pfn)), "{range}: {first:?}");
        assert!(!range.to_string().is_empty());
    }
    let last = PfnRange::new(Pfn::new(u64::MAX - 1500), Pfn::new(u64::MAX));
    assert_eq!(last.blocks().map(|(_, order)| order.frames()).sum::<u64>(), 1500);
}

#[test]
fn entries_of_any_number_make_a_map_or_none() {
    let edges = || numbers().into_iter().map(|number| number.wrapping_mul(4096)).chain(numbers()).chain([0, 1 << 20]);
    for (start, end) in edges().flat_map(|start| edges().map(move |end| (start, end))) {
        for kind in RegionKind::ALL {
            let mut regions = [Region { start, end, kind }, usable(256, 4096)];
            let Ok(map) = MemoryMap::sanitise(&mut regions) else {
                assert!(start <= 1 << 20 && kind != RegionKind::Usable, "{start:#x}..{end:#x} {kind}");
                continue;
            };
            assert!(map.iter().all(|(range, _)| range.end.number() <= 1 << 40));
            assert!(map.ram().last().is_some());
            map.faults().for_each(|fault| assert!(!fault.to_string().is_empty()));
        }
    }
}

#[test]
fn marks_and_reserves_of_any_numbers() {
    let numbers = || [0, 1, 1 << 40, 1 << 60, 1 << 63, u64::MAX];
    for (managed, total) in numbers().into_iter().flat_map(|managed| numbers().map(|total| (managed, total))) {
        for min_free in numbers() {
            let marks = Watermarks::new(managed, total, min_free);
            assert!(marks.min <= marks.low && marks.low <= marks.high, "{marks}");
        }
        for frames in numbers().into_iter().skip(1) {
            assert!(!Watermarks::admit_frames(0, frames, managed, total));
            assert!(!Watermarks::admit_frames(u64::MAX, frames, u64::MAX, total), "nothing is above that");
        }
        assert!(protection([managed, total, managed]).iter().flatten().all(|reserve| *reserve <= u64::MAX / 256));
        assert!((128..=262_144).contains(&min_free_kib(managed)));
    }
    assert!(Watermarks::admit_frames(u64::MAX, Order::MAX.frames(), 0, 0));
}

#[test]
fn pieces_of_any_number() {
    for number in [1 << 40, 1 << 54, 1 << 62, u64::MAX] {
        let mut blocks = FreeBlocks::default();
        blocks.blocks = [[number; Order::COUNT]; Mobility::COUNT];
        for order in Order::all() {
            assert!(blocks.of(order) >= number && blocks.frames() >= number && blocks.suitable(order) >= number);
            assert_eq!(blocks.fragmentation_index(order), -1000);
            assert!(blocks.unusable_index(order) <= 1000 && blocks.unusable_percent(order) <= 100);
        }
        let mut small = FreeBlocks::default();
        small.blocks[0][0] = number;
        assert!(small.fragmentation_index(Order::MAX) <= 1000 && small.unusable_index(Order::MAX) == 1000);
    }
}

/// Says that it gave more than there is.
struct Boaster(AtomicU64);

impl Shrinker for Boaster {
    fn shrink(&self, _: u64) -> u64 {
        // What the first says is not enough.
        if self.0.fetch_add(1, Ordering::Relaxed) == 0 { 1 } else { u64::MAX }
    }
}

#[test]
fn shrinkers_that_boast() {
    static BOASTERS: [Boaster; 2] = [Boaster(AtomicU64::new(0)), Boaster(AtomicU64::new(1))];
    let frames = allocator_with::<Machine>(&[usable(NORMAL, NORMAL + 4096)], &[]);
    BOASTERS.iter().for_each(|shrinker| frames.add_shrinker(shrinker).unwrap());
    let held = crate::exhaust(&frames, Gfp::KERNEL);
    assert_eq!(frames.balance(), u64::MAX);
    held.into_iter().for_each(|pfn| frames.give(pfn, Order::ZERO).unwrap());
    frames.sound();
    // Without any it is the same as ever.
    assert_eq!(allocator(&[usable(NORMAL, NORMAL + 4096)]).balance(), 0);
}
