//! Free frames in a row, of any length: the shortest run that holds the request, wherever it begins and whatever it crosses.

use bifolio::allocator::{AllocError, Fallback, PageAllocator};
use bifolio::frame::{Blocks, Gfp, Mobility, Order, PfnRange, ZoneKind};
use kit::machine::{SingleCpu, allocator, usable};
use kit::{Raw, Sound};

use super::{NORMAL, pfn, range};

const GFP: Gfp = Gfp::MOVABLE.union(Gfp::MEMALLOC);

type Frames = PageAllocator<'static, SingleCpu>;

/// Memory of which nothing is free but these frames.
fn free_but(runs: &[(u64, u64)]) -> Frames {
    let frames = allocator(&[usable(NORMAL, NORMAL + 8192)]);
    while frames.take(Order::ZERO, GFP).is_ok() {}
    for (start, end) in runs {
        (*start..*end).for_each(|frame| frames.give(pfn(frame), Order::ZERO).unwrap());
    }
    frames
}

fn take(frames: &Frames, count: u64, align: u64) -> Option<PfnRange> {
    let run = frames.allocate_run(count, align, GFP).map(Blocks::into_raw);
    assert!(run.is_ok() || run == Err(AllocError::NoFreeRun { frames: count, gfp: GFP }));
    frames.sound();
    run.ok()
}

#[test]
fn the_shortest_run_that_holds_a_request_is_taken() {
    // Each begins where no block of its length does, and the last two cross the border of a pageblock.
    let runs = [(1, 41), (101, 110), (1023 - 6, 1023 + 6), (2048 - 600, 2048 + 700)];
    let frames = free_but(&runs);
    assert_eq!(take(&frames, 9, 1), Some(range(101, 110)));
    assert_eq!(take(&frames, 9, 1), Some(range(1017, 1026)));
    assert_eq!(take(&frames, 9, 1), Some(range(1, 10)));
    assert_eq!(take(&frames, 31, 1), Some(range(10, 41)));
    assert_eq!(take(&frames, 4, 1), Some(range(1448, 1452)), "three frames are left in a row elsewhere");
    assert_eq!(take(&frames, 3, 1), Some(range(1026, 1029)));
    assert_eq!(take(&frames, 1297, 1), None);
    assert_eq!(take(&frames, 1296, 1), Some(range(1452, 2748)));
    assert_eq!(take(&frames, 1, 1), None);
    for (start, end) in [(101, 110), (1017, 1026), (1, 10), (10, 41), (1448, 1452), (1026, 1029), (1452, 2748)] {
        frames.give_range(range(start, end)).unwrap();
    }
    frames.sound();
}

#[test]
fn a_run_is_aligned_to_whatever_is_asked_for() {
    let frames = free_but(&[(1, 7000)]);
    // `NORMAL` itself is aligned to more than any of these.
    for (count, align, start) in [(1300, 2, 2), (5, 64, 1344), (1, 2048, 2048), (1500, 2048, 4096), (600, 512, 5632)] {
        assert_eq!(take(&frames, count, align), Some(range(start, start + count)), "{count} aligned to {align}");
    }
    // What one at a multiple of 4096 would need is taken.
    assert_eq!(take(&frames, 1, 4096), None);
    assert_eq!(frames.allocate_run(0, 1, GFP), Err(AllocError::NoFrames));
}

#[test]
fn a_run_of_another_mobility_is_left_alone_unless_it_is_whole_pageblocks() {
    let frames = free_but(&[(10, 400), (1024 - 100, 1024 + 600)]);
    let unmovable = Gfp::MEMALLOC;
    // Every pageblock is for what can move. One that is free becomes one of the kind that asks, as everywhere.
    let run = frames.allocate_run(50, 1, unmovable).map(Blocks::into_raw);
    assert_eq!(run, Ok(range(1024, 1074)));
    let zone = frames.zone(ZoneKind::Normal);
    assert_eq!(zone.fallbacks(Fallback::ClaimedWhole, Mobility::Movable, Mobility::Unmovable), 1);
    let refused = frames.allocate_run(463, 1, unmovable);
    assert!(refused.is_err(), "what is left is of pageblocks that hold what can move");
    frames.sound();
}

#[test]
fn more_memory_is_always_enough_for_a_request_up_to_the_largest_block() {
    // Free pageblocks that stand alone, more than a search looks at, and behind them a block.
    let mut runs: Vec<(u64, u64)> = (0..6).map(|nth| (nth * 1024, nth * 1024 + 512)).collect();
    runs.push((6144, 7168));
    for gfp in [GFP, Gfp::MEMALLOC] {
        let frames = free_but(&runs);
        let run = frames.allocate_run(513, 1, gfp).map(Blocks::into_raw);
        assert_eq!(run, Ok(range(6144, 6144 + 513)), "{gfp:?}");
        frames.sound();
    }
}

#[test]
fn every_run_is_found_by_who_may_look_everywhere() {
    // More pageblocks than a search looks at have a free block that is large enough and lies wrongly.
    let mut runs: Vec<(u64, u64)> =
        (0..8).flat_map(|n| [(n * 512 + 1, n * 512 + 16), (n * 512 + 301, n * 512 + 332)]).collect();
    runs.push((7000, 7032));
    let frames = free_but(&runs);
    for count in [32, 31, 31] {
        let contiguous = frames.allocate_contiguous_aligned(count, 1, GFP).map(Blocks::into_raw).unwrap();
        assert_eq!(contiguous.frames(), count);
        assert!(runs.iter().any(|run| range(run.0, run.1) == contiguous), "{contiguous:?}");
    }
    assert!(frames.allocate_contiguous_aligned(32, 1, GFP).is_err());
}

/// Two ranges of a zone whose pageblocks have numbers in a row, and a hole between them.
#[test]
fn a_run_does_not_reach_across_a_hole() {
    const BEHIND: u64 = 1 << 20;
    let frames = allocator(&[usable(NORMAL, NORMAL + 8192), usable(NORMAL + BEHIND, NORMAL + BEHIND + 1024)]);
    // The metadata is at the end of what lies behind the hole, where there is room for it.
    let metadata = frames.metadata();
    assert!(metadata.start > pfn(BEHIND + 512), "{metadata}");
    while frames.take(Order::ZERO, GFP).is_ok() {}
    for frame in (8192 - 10..8192).chain(BEHIND..BEHIND + 7) {
        frames.give(pfn(frame), Order::ZERO).unwrap();
    }
    assert_eq!(take(&frames, 11, 1), None);
    assert_eq!(take(&frames, 7, 1), Some(range(BEHIND, BEHIND + 7)));
    assert_eq!(take(&frames, 10, 1), Some(range(8182, 8192)));
}
