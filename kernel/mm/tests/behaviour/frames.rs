//! What every user relies on: each frame is had once, bad frees are named, zones fall back and keep their marks.

use bifolio::allocator::{AllocError, PageAllocator};
use bifolio::error::{AddError, FreeError};
use bifolio::frame::{Gfp, Order, Pfn, PfnRange, Profile, ZoneKind};
use bifolio::memory_map::{Region, RegionKind};
use kit::machine::{SingleCpu, allocator, allocator_with_pages, usable};
use kit::oracle::{Oracle, blocks};
use kit::{Raw, Sound};

use super::sequences::ragged;
use super::{NORMAL, order};

#[test]
fn every_frame_is_handed_out_once_at_every_order() {
    for o in Order::all() {
        let regions = ragged();
        let frames = allocator(&regions);
        let mut oracle = Oracle::over(&regions, frames.metadata());
        let fresh = blocks(&frames);
        while let Ok(pfn) = frames.take(o, Gfp::MEMALLOC) {
            oracle.allocate(pfn, o, ZoneKind::Normal).unwrap();
        }
        assert!(!oracle.could_serve(o, ZoneKind::Normal), "order {o} ended early");
        for (pfn, order) in oracle.allocated() {
            frames.give(pfn, order).unwrap();
        }
        assert_eq!(blocks(&frames), fresh, "order {o}");
        frames.sound();
    }
}

#[test]
fn every_bad_free_is_named_and_changes_nothing() {
    name_every_bad_free(&allocator(&ragged()));
    name_every_bad_free(&allocator_with_pages(&ragged()));
}

fn name_every_bad_free(frames: &PageAllocator<'_, SingleCpu>) {
    let head = frames.take(order(4), Gfp::DMA | Gfp::MEMALLOC).unwrap();
    let huge = frames.take(order(10), Gfp::MEMALLOC).unwrap();
    let half = frames.take(order(8), Gfp::MEMALLOC).unwrap();
    let before = blocks(frames);
    let freed = head.offset(16);
    let bad = [
        (head, 0, FreeError::WrongOrder { pfn: head, given: order(0), actual: order(4) }),
        (head, 3, FreeError::WrongOrder { pfn: head, given: order(3), actual: order(4) }),
        (head, 10, FreeError::WrongOrder { pfn: head, given: order(10), actual: order(4) }),
        (head.offset(1), 0, FreeError::Interior { pfn: head.offset(1), head, order: order(4) }),
        (head.offset(8), 3, FreeError::Interior { pfn: head.offset(8), head, order: order(4) }),
        (huge, 9, FreeError::WrongOrder { pfn: huge, given: order(9), actual: order(10) }),
        (huge.offset(512), 9, FreeError::Interior { pfn: huge.offset(512), head: huge, order: order(10) }),
        (huge.offset(1023), 0, FreeError::Interior { pfn: huge.offset(1023), head: huge, order: order(10) }),
        (half, 7, FreeError::WrongOrder { pfn: half, given: order(7), actual: order(8) }),
        (half.offset(128), 7, FreeError::Interior { pfn: half.offset(128), head: half, order: order(8) }),
        (half.offset(255), 0, FreeError::Interior { pfn: half.offset(255), head: half, order: order(8) }),
        (freed, 0, FreeError::AlreadyFree(freed)),
        (Pfn::new(0), 0, FreeError::Reserved(Pfn::new(0))),
        (Pfn::new(255), 0, FreeError::Reserved(Pfn::new(255))),
        (frames.metadata().start, 0, FreeError::Reserved(frames.metadata().start)),
        (Pfn::new(1 << 30), 0, FreeError::NotManaged(Pfn::new(1 << 30))),
        (Pfn::new(u64::MAX), 10, FreeError::NotManaged(Pfn::new(u64::MAX))),
        (Pfn::new(NORMAL / 2), 0, FreeError::NotManaged(Pfn::new(NORMAL / 2))),
    ];
    for (pfn, o, expected) in bad {
        assert_eq!(frames.give(pfn, order(o)), Err(expected), "freeing {pfn} at order {o}");
        assert_eq!(blocks(frames), before, "freeing {pfn} at order {o} changed something");
    }
    frames.give(half, order(8)).unwrap();
    assert_eq!(frames.give(half, order(8)), Err(FreeError::AlreadyFree(half)));
    frames.sound();
}

#[test]
fn flags_that_contradict_each_other_are_refused() {
    let frames = allocator(&ragged());
    for gfp in [Gfp::DMA | Gfp::DMA32, Gfp::MOVABLE | Gfp::RECLAIMABLE] {
        assert_eq!(frames.take(Order::ZERO, gfp), Err(AllocError::ContradictoryFlags(gfp)));
    }
}

#[test]
fn a_request_falls_back_downward_and_never_upward() {
    let frames = allocator(&[usable(256, 4096), usable(4096, 12288), usable(NORMAL, NORMAL + 4096)]);
    let zone_of = |gfp| frames.take(Order::ZERO, gfp).map(|pfn| Profile::X86_64.zone_of(pfn));
    assert_eq!(zone_of(Gfp::KERNEL), Ok(ZoneKind::Normal));
    assert_eq!(zone_of(Gfp::DMA32), Ok(ZoneKind::Dma32));
    assert_eq!(zone_of(Gfp::DMA), Ok(ZoneKind::Dma));
    while zone_of(Gfp::MEMALLOC) == Ok(ZoneKind::Normal) {}
    assert_eq!(zone_of(Gfp::KERNEL), Ok(ZoneKind::Dma32));
    while zone_of(Gfp::DMA).is_ok() {}
    assert_eq!(frames.zone(ZoneKind::Dma).free, frames.zone(ZoneKind::Dma).watermarks.min);
    assert_eq!(zone_of(Gfp::KERNEL), Ok(ZoneKind::Dma32));
}

/// The exact frame at which each kind of request is refused.
#[test]
fn watermarks_hold_to_the_frame() {
    for (gfp, left) in [(Gfp::KERNEL, 8), (Gfp::NOWAIT, 8), (Gfp::HIGH | Gfp::WAIT, 4), (Gfp::ATOMIC, 3)] {
        let frames = allocator(&[usable(4096, 8192)]);
        let zone = || frames.zone(ZoneKind::Dma32);
        let min = zone().watermarks.min;
        assert!(min >= 8 && zone().protection == [0; 3]);
        while frames.take(Order::ZERO, gfp).is_ok() {}
        let expected = match left {
            8 => min,
            4 => min - min / 2,
            _ => (min - min / 2) - (min - min / 2) / 4,
        };
        assert_eq!(zone().free, expected, "{gfp:?}");
        while frames.take(Order::ZERO, Gfp::MEMALLOC).is_ok() {}
        assert_eq!(zone().free, 0);
    }
}

#[test]
fn lower_zones_keep_a_256th_of_the_higher_ones_back() {
    let frames = allocator(&[usable(256, 4096), usable(NORMAL, NORMAL + 65536)]);
    while frames.take(Order::ZERO, Gfp::KERNEL).is_ok() {}
    let (dma, normal) = (frames.zone(ZoneKind::Dma), frames.zone(ZoneKind::Normal));
    assert_eq!(normal.free, normal.watermarks.min);
    assert_eq!(dma.protection[2], normal.managed / 256);
    assert_eq!(dma.free, dma.watermarks.min + dma.protection[2]);
}

#[test]
fn memory_can_be_added_once_and_only_where_it_was_planned() {
    let mut regions = ragged();
    regions.push(Region { start: 1100 * 4096, end: 1300 * 4096, kind: RegionKind::AcpiReclaimable });
    let frames = allocator(&regions);
    let range = |start, end| PfnRange::new(Pfn::new(start), Pfn::new(end));
    let before = frames.zone(ZoneKind::Dma);
    assert_eq!(frames.give_more(range(1090, 1300)), Err(AddError::Overlaps(Pfn::new(1090))));
    assert_eq!(
        frames.give_more(range(NORMAL / 2, NORMAL / 2 + 9)),
        Err(AddError::NotPlanned(range(NORMAL / 2, NORMAL / 2 + 9)))
    );
    assert_eq!(frames.give_more(range(4096, 5120)), Err(AddError::Overlaps(Pfn::new(4096))));
    assert_eq!(frames.give_more(frames.metadata()), Err(AddError::Overlaps(frames.metadata().start)));
    assert_eq!(frames.zone(ZoneKind::Dma), before);
    assert_eq!(frames.give_more(range(1100, 1300)), Ok(()));
    assert_eq!(frames.give_more(range(1100, 1300)), Err(AddError::Overlaps(Pfn::new(1100))));
    assert_eq!(frames.zone(ZoneKind::Dma).free, before.free + 200);
    regions.pop();
    regions.push(usable(1100, 1300));
    assert_eq!(blocks(&frames), Oracle::over(&regions, frames.metadata()).blocks());
    frames.sound();
}

/// The metadata of 4 TiB, in two pieces a terabyte apart: its cost follows RAM.
#[test]
fn metadata_follows_ram_and_not_the_address_span() {
    let tib: u64 = 1 << 28;
    let mut regions = [usable(0, tib / 2), usable(8 * tib, 8 * tib + 7 * tib / 2)];
    let map = bifolio::memory_map::MemoryMap::sanitise(&mut regions).unwrap();
    let plan = bifolio::allocator::Plan::new(map).unwrap();
    let bytes = plan.metadata_words() as u64 * 8;
    assert!(bytes * 2 <= 4 * tib, "{bytes} bytes are more than half a byte a frame");
}

/// Memory that is used from the bottom leaves whole pageblocks whole: free half of all frames at random, churn, and
/// see how much is still of one piece.
#[test]
fn whole_pageblocks_stay_whole_under_churn() {
    let frames = allocator(&[usable(NORMAL, NORMAL + 32768)]);
    let allocate = || frames.take(Order::ZERO, Gfp::KERNEL).unwrap();
    let mut held: Vec<Pfn> = (0..16384).map(|_| allocate()).collect();
    let mut state = 1u64;
    for _ in 0..16 * held.len() {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let nth = (state >> 33) as usize % held.len();
        frames.give(held.swap_remove(nth), Order::ZERO).unwrap();
        held.push(allocate());
    }
    let blocks = frames.free_blocks(ZoneKind::Normal);
    let whole = blocks.of(order(9)) + 2 * blocks.of(order(10));
    assert!(whole >= 30, "{whole} of 32 free pageblocks are whole");
    frames.sound();
}

#[test]
fn a_double_free_into_the_own_run_is_named_at_the_call() {
    let frames = allocator_with_pages(&ragged());
    let pfn = frames.take(Order::ZERO, Gfp::KERNEL).unwrap();
    frames.give(pfn, Order::ZERO).unwrap();
    let cached = frames.cached();
    assert_eq!(frames.give(pfn, Order::ZERO), Err(FreeError::AlreadyFree(pfn)));
    assert_eq!(frames.order_of(pfn), Err(FreeError::AlreadyFree(pfn)));
    assert_eq!(frames.cached(), cached);
}

/// Between the two frees the block is among those that the arena has collected, where its zone cannot see it.
#[test]
fn a_double_free_of_a_collected_block_is_named_at_the_call() {
    let regions = [usable(NORMAL, NORMAL + 4096)];
    for o in 0..=3 {
        let frames = allocator_with_pages(&regions);
        let fresh = blocks(&frames);
        // More than four words, so that the first are no runs any more.
        let held: Vec<Pfn> = (0..(300 >> o)).map(|_| frames.take(order(o), Gfp::KERNEL).unwrap()).collect();
        for pfn in &held {
            assert_eq!(frames.give(*pfn, order(o)), Ok(()));
            for earlier in held.iter().take_while(|earlier| *earlier <= pfn) {
                assert_eq!(frames.give(*earlier, order(o)), Err(FreeError::AlreadyFree(*earlier)));
                assert_eq!(frames.give(*earlier, order(o + 1)), Err(FreeError::AlreadyFree(*earlier)));
            }
        }
        frames.drain();
        assert_eq!(frames.late_double_frees(), 0);
        assert_eq!(blocks(&frames), fresh);
    }
}

/// An arena decays in two steps: what was used is left alone once.
#[test]
fn an_idle_arena_gives_its_frames_back() {
    let frames = allocator_with_pages(&[usable(NORMAL, NORMAL + 4096)]);
    let fresh = blocks(&frames);
    let pfn = frames.take(Order::ZERO, Gfp::KERNEL).unwrap();
    assert!(!frames.decay());
    frames.give(pfn, Order::ZERO).unwrap();
    assert_eq!(frames.cached(), 64);
    assert!(frames.decay());
    assert_eq!(frames.cached(), 0);
    assert_eq!(blocks(&frames), fresh);
    frames.sound();
}

/// A run that was lent by a lower zone, while the higher one was short, goes back when the higher one serves again.
#[test]
fn a_run_goes_back_to_the_zone_that_lent_it() {
    let regions = [usable(4096, 12288), usable(NORMAL, NORMAL + 4096)];
    let frames = allocator_with_pages(&regions);
    let fresh = blocks(&frames);
    let mut taken = Vec::new();
    while let Ok(pfn) = frames.take(order(3), Gfp::MOVABLE | Gfp::MEMALLOC) {
        taken.push(pfn);
        if Profile::X86_64.zone_of(pfn) < ZoneKind::Normal {
            break;
        }
    }
    let mut singles = vec![frames.take(Order::ZERO, Gfp::KERNEL).unwrap()];
    assert_eq!(Profile::X86_64.zone_of(singles[0]), ZoneKind::Dma32);
    taken.into_iter().for_each(|pfn| frames.give(pfn, order(3)).unwrap());
    while Profile::X86_64.zone_of(*singles.last().unwrap()) == ZoneKind::Dma32 {
        singles.push(frames.take(Order::ZERO, Gfp::KERNEL).unwrap());
    }
    singles.into_iter().for_each(|pfn| frames.give(pfn, Order::ZERO).unwrap());
    frames.drain();
    assert_eq!(blocks(&frames), fresh);
    frames.sound();
}

#[test]
fn a_block_that_is_claimed_whole_changes_its_mobility_as_a_whole() {
    let frames = allocator(&[usable(NORMAL, NORMAL + 4096)]);
    assert_eq!(frames.free_blocks(ZoneKind::Normal).pageblocks, [0, 8, 0, 0, 0]);
    frames.take(Order::ZERO, Gfp::KERNEL).unwrap();
    // The largest block was claimed, order 10: two pageblocks.
    assert_eq!(frames.free_blocks(ZoneKind::Normal).pageblocks, [2, 6, 0, 0, 0]);
}

#[test]
fn what_is_not_worth_claiming_is_stolen_from_the_smallest_block() {
    let frames = allocator(&[usable(NORMAL, NORMAL + 4096)]);
    let first = (0..2048).map(|_| frames.take(Order::ZERO, Gfp::MEMALLOC).unwrap()).max();
    assert_eq!(first, Some(Pfn::new(NORMAL + 2047)));
    while frames.take(Order::ZERO, Gfp::RECLAIMABLE | Gfp::MEMALLOC).is_ok() {}
    let pageblocks = frames.free_blocks(ZoneKind::Normal).pageblocks;
    assert_eq!(pageblocks, [4, 0, 4, 0, 0]);
    // Of the two foreign kinds the one that is asked first has the larger block.
    for frame in [1025, 2048, 2049, 2050, 2051] {
        frames.give(Pfn::new(NORMAL + frame), Order::ZERO).unwrap();
    }
    assert_eq!(frames.take(Order::ZERO, Gfp::MOVABLE | Gfp::MEMALLOC), Ok(Pfn::new(NORMAL + 1025)));
    assert_eq!(frames.free_blocks(ZoneKind::Normal).pageblocks, pageblocks);
    frames.sound();
}
