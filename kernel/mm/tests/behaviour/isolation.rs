//! Ranges of frames: isolated, taken, put back.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use bifolio::allocator::{AllocError, BlockInfo, Cpu, PageAllocator, Shrinker};
use bifolio::error::RangeError;
use bifolio::frame::{Gfp, Mobility, Order, Pfn, PfnRange, ZoneKind};
use kit::{Raw, Sound, Turns};

use super::{NORMAL, exhaust, free_each, order, pageblocks, pfn, range};
use kit::machine::{allocator, allocator_with, allocator_with_pages, usable};

/// Every block with its mobility: what must be the same again after a failure.
fn everything<C: Cpu>(frames: &PageAllocator<'_, C>) -> Vec<BlockInfo> {
    let mut all = Vec::new();
    ZoneKind::ALL.into_iter().for_each(|kind| frames.for_each_block(kind, |block| all.push(block)));
    all
}

/// Eight pageblocks, with one of each kind among them: unmovable 0, reclaimable 2, movable the others.
fn mixed() -> PageAllocator<'static, Turns> {
    let frames: PageAllocator<'static, Turns> = allocator_with(&[usable(NORMAL, NORMAL + 4096)], &[]);
    let gfps = [Gfp::KERNEL, Gfp::RECLAIMABLE];
    let firsts = gfps.map(|gfp| frames.take(order(9), gfp).unwrap());
    assert_eq!(firsts, [pfn(0), pfn(1024)]);
    firsts.into_iter().for_each(|pfn| frames.give(pfn, order(9)).unwrap());
    assert_eq!(pageblocks(&frames), [2, 4, 2, 0, 0]);
    frames
}

#[test]
fn isolated_frames_are_counted_apart_and_not_allocated() {
    let frames = mixed();
    let zone = || frames.zone(ZoneKind::Normal);
    let before = everything(&frames);
    let free = zone().free;
    let held = frames.take(order(3), Gfp::MOVABLE).unwrap();
    assert_eq!(held.number() / 512, pfn(3584).number() / 512);
    // Part of a pageblock is all of it.
    frames.isolate(range(3700, 3701)).unwrap();
    frames.isolate(range(600, 1100)).unwrap();
    assert_eq!(pageblocks(&frames)[Mobility::Isolate.index()], 3);
    let isolated = zone().isolated;
    assert_eq!(isolated + zone().free + 8, free);
    assert!(isolated > 1024 && isolated < 1536);
    frames.sound();
    // What is freed there is isolated too.
    frames.give(held, order(3)).unwrap();
    assert_eq!((zone().isolated, zone().free), (isolated + 8, free - isolated - 8));
    let all = exhaust(&frames, Gfp::MEMALLOC);
    assert_eq!((all.len() as u64, zone().free), (free - isolated - 8, 0));
    assert!(
        all.iter()
            .all(|pfn| (0..512).contains(&(pfn.number() - NORMAL)) || (1536..3584).contains(&(pfn.number() - NORMAL)))
    );
    frames.sound();
    all.into_iter().for_each(|pfn| frames.give(pfn, Order::ZERO).unwrap());
    frames.unisolate(range(512, 1536)).unwrap();
    frames.unisolate(range(3584, 3585)).unwrap();
    assert_eq!((zone().isolated, zone().free), (0, free));
    frames.sound();
    let states =
        |all: Vec<BlockInfo>| all.into_iter().map(|block| (block.pfn, block.order, block.state)).collect::<Vec<_>>();
    assert_eq!(states(everything(&frames)), states(before));
}

#[test]
fn a_pageblock_keeps_its_mobility_while_it_is_isolated() {
    let frames = mixed();
    let before = everything(&frames);
    for pageblock in 0..7 {
        frames.isolate(range(pageblock * 512, pageblock * 512 + 1)).unwrap();
        frames.sound();
    }
    assert_eq!(pageblocks(&frames), [0, 1, 0, 0, 7]);
    for pageblock in [3, 0, 6, 1, 5, 2, 4] {
        frames.unisolate(range(pageblock * 512, pageblock * 512 + 1)).unwrap();
        frames.sound();
    }
    assert_eq!(everything(&frames), before);
}

#[test]
fn halves_of_an_allocated_block_of_order_10_are_counted_each_as_what_they_are() {
    let frames = mixed();
    let before = everything(&frames);
    let huge = frames.take(order(10), Gfp::KERNEL).unwrap();
    frames.isolate(PfnRange::new(huge.offset(512), huge.offset(513))).unwrap();
    frames.sound();
    frames.give(huge, order(10)).unwrap();
    assert_eq!(frames.zone(ZoneKind::Normal).isolated, 512);
    frames.sound();
    frames.unisolate(PfnRange::new(huge.offset(512), huge.offset(513))).unwrap();
    assert_eq!(everything(&frames), before);
}

#[test]
fn what_cannot_be_isolated_is_named_and_nothing_is() {
    let frames = allocator(&[usable(4096, 8192), usable(NORMAL - 512, NORMAL + 4096)]);
    let before = everything(&frames);
    let isolate = |range| frames.isolate(range);
    assert_eq!(isolate(range(9, 9)), Err(RangeError::NoFrames));
    assert_eq!(isolate(range(9, 8)), Err(RangeError::NoFrames));
    let both = PfnRange::new(Pfn::new(NORMAL - 1), pfn(1));
    assert_eq!(isolate(both), Err(RangeError::CrossesZones(both)));
    assert_eq!(isolate(range(4000, 4097)), Err(RangeError::NotManaged(pfn(4096))));
    assert_eq!(isolate(PfnRange::new(pfn(0), Pfn::new(1 << 40))), Err(RangeError::NotManaged(pfn(4096))));
    let hole = PfnRange::new(Pfn::new(8191), Pfn::new(NORMAL - 511));
    assert_eq!(isolate(hole), Err(RangeError::NotManaged(Pfn::new(8192))));
    assert_eq!(everything(&frames), before);
    isolate(range(1000, 1001)).unwrap();
    let isolated = everything(&frames);
    assert_eq!(isolate(range(0, 2048)), Err(RangeError::Isolated(pfn(512))));
    assert_eq!(everything(&frames), isolated);
    // What a range cannot be isolated for, its isolation cannot be ended for: all of it stays isolated then.
    let unisolate = |range| frames.unisolate(range);
    assert_eq!(unisolate(range(9, 9)), Err(RangeError::NoFrames));
    assert_eq!(unisolate(both), Err(RangeError::CrossesZones(both)));
    assert_eq!(unisolate(range(0, 4097)), Err(RangeError::NotManaged(pfn(4096))));
    assert_eq!(everything(&frames), isolated);
    unisolate(range(0, 4096)).unwrap();
    assert_eq!(everything(&frames), before);
}

#[test]
fn exactly_the_range_is_taken_and_put_back() {
    let frames = mixed();
    let before = everything(&frames);
    let free = frames.zone(ZoneKind::Normal).free;
    let ranges = [
        (0, 1),
        (0, 512),
        (512, 1536),
        (0, 1024),
        (1024, 3072),
        (511, 513),
        (700, 2901),
        (63, 65),
        (64, 128),
        (100, 101),
    ];
    for (start, end) in ranges {
        let range = range(start, end);
        frames.take_range(range, Gfp::KERNEL).unwrap();
        for (pfn, order) in range.blocks() {
            assert_eq!(frames.order_of(pfn), Ok(order), "{range}");
        }
        assert_eq!(free - frames.zone(ZoneKind::Normal).free, range.frames());
        assert_eq!(frames.zone(ZoneKind::Normal).isolated, 0);
        frames.sound();
        assert_eq!(frames.take_range(range, Gfp::KERNEL), Err(RangeError::Busy(range.start)));
        frames.give_range(range).unwrap();
        let now = everything(&frames);
        assert!(now.iter().map(|b| (b.pfn, b.order, b.state)).eq(before.iter().map(|b| (b.pfn, b.order, b.state))));
    }
}

/// An allocated frame is in the way; everything is put back, with the types that there were.
#[test]
fn a_range_that_cannot_be_had_leaves_everything_as_it_was() {
    let frames = mixed();
    let held = exhaust(&frames, Gfp::MOVABLE | Gfp::MEMALLOC);
    free_each(&frames, (0..4000).filter(|frame| ![600, 1500, 2048].contains(frame)));
    assert!(held.len() > 4000);
    let before = everything(&frames);
    for (start, end, busy) in [(500, 700, 600), (1024, 2048, 1500), (2048, 2049, 2048), (100, 2000, 600)] {
        assert_eq!(frames.take_range(range(start, end), Gfp::KERNEL), Err(RangeError::Busy(pfn(busy))));
        assert_eq!(everything(&frames), before);
    }
    let metadata = frames.metadata();
    assert_eq!(frames.take_range(metadata, Gfp::KERNEL), Err(RangeError::Reserved(metadata.start)));
    assert_eq!(everything(&frames), before);
    frames.sound();
}

#[test]
fn flags_that_do_not_fit_a_range_are_errors() {
    let frames = mixed();
    for gfp in [Gfp::DMA | Gfp::DMA32, Gfp::MOVABLE | Gfp::RECLAIMABLE, Gfp::DMA32, Gfp::DMA] {
        assert_eq!(frames.take_range(range(0, 9), gfp), Err(RangeError::ContradictoryFlags(gfp)));
    }
    assert_eq!(frames.take_range(range(9, 9), Gfp::KERNEL), Err(RangeError::NoFrames));
    assert_eq!(frames.zone(ZoneKind::Normal).isolated, 0);
}

#[test]
fn a_range_takes_back_what_arenas_hold() {
    let frames = allocator_with_pages(&[usable(NORMAL, NORMAL + 4096)]);
    let held: Vec<Pfn> = (0..100).map(|_| frames.take(Order::ZERO, Gfp::MOVABLE).unwrap()).collect();
    let first = held[0].number() / 512 * 512;
    held.into_iter().for_each(|pfn| frames.give(pfn, Order::ZERO).unwrap());
    assert_eq!(frames.cached(), 64, "the word that was lent last");
    let pageblock = PfnRange::new(Pfn::new(first), Pfn::new(first + 300));
    assert_eq!(frames.take_range(pageblock, Gfp::KERNEL), Ok(()));
    frames.give_range(pageblock).unwrap();
    frames.sound();
}

/// What is freed into a word on loan is its borrower's to find, but not while the pageblock is isolated.
#[test]
fn an_arena_gets_no_more_frames_of_an_isolated_pageblock() {
    for isolated in [false, true] {
        let frames = allocator_with_pages(&[usable(NORMAL, NORMAL + 4096)]);
        let block = frames.take(order(5), Gfp::MOVABLE).unwrap();
        let first = frames.take(Order::ZERO, Gfp::MOVABLE).unwrap();
        assert_eq!(first.number() / 64, block.number() / 64, "the tightest word was lent");
        if isolated {
            frames.isolate(PfnRange::new(first, first.offset(1))).unwrap();
        }
        frames.give(block, order(5)).unwrap();
        let taken: Vec<Pfn> = (0..256).map(|_| frames.take(Order::ZERO, Gfp::MOVABLE).unwrap()).collect();
        let found = taken.iter().filter(|pfn| PfnRange::new(block, block.offset(32)).contains(**pfn)).count();
        assert_eq!(found, if isolated { 0 } else { 32 });
        frames.drain();
        assert!((frames.zone(ZoneKind::Normal).isolated >= 32) == isolated);
        frames.sound();
    }
}

/// Holds a block until it is asked for memory.
struct Hoard {
    frames: PageAllocator<'static, Turns>,
    block: Pfn,
    asked: AtomicU64,
}

impl Shrinker for Hoard {
    fn shrink(&self, _: u64) -> u64 {
        match self.asked.fetch_add(1, Relaxed) {
            0 => self.frames.give(self.block, order(5)).map_or(0, |()| 32),
            _ => 0,
        }
    }
}

#[test]
fn a_range_that_may_wait_asks_shrinkers_once() {
    for (gfp, served) in [(Gfp::KERNEL, true), (Gfp::NOWAIT, false)] {
        let frames = mixed();
        let block = frames.take(order(5), Gfp::KERNEL).unwrap();
        let hoard: &'static Hoard = Box::leak(Box::new(Hoard { frames, block, asked: AtomicU64::new(0) }));
        let frames = &hoard.frames;
        frames.add_shrinker(hoard).unwrap();
        let range = PfnRange::new(block, block.offset(64));
        assert_eq!(frames.take_range(range, gfp), if served { Ok(()) } else { Err(RangeError::Busy(block)) });
        assert_eq!(hoard.asked.load(Relaxed), u64::from(served));
        // What is no cache's to give is not asked for.
        assert!(frames.take_range(frames.metadata(), gfp).is_err());
        assert_eq!(hoard.asked.load(Relaxed), u64::from(served));
    }
}

#[test]
fn a_run_longer_than_any_block_is_found_between_what_is_allocated() {
    let frames = allocator(&[usable(NORMAL, NORMAL + 8192)]);
    let fresh = everything(&frames);
    assert_eq!(frames.take_contiguous(0, Gfp::KERNEL), Err(AllocError::NoFrames));
    // Not aligned: 1500 is no power of two.
    let block = frames.take_exact(3, Gfp::KERNEL).unwrap();
    assert_eq!(block, range(0, 3));
    let run = frames.take_contiguous(1500, Gfp::KERNEL).unwrap();
    assert_eq!(run, range(3, 1503));
    let aligned = frames.take_contiguous(2048, Gfp::KERNEL).unwrap();
    assert_eq!(aligned, range(2048, 4096));
    frames.sound();
    let gfp = Gfp::MEMALLOC | Gfp::KERNEL;
    assert_eq!(frames.take_contiguous(4100, gfp), Err(AllocError::NoFreeRun { frames: 4100, gfp }));
    [block, run, aligned].into_iter().for_each(|range| frames.give_range(range).unwrap());
    assert!(everything(&frames).iter().map(|b| (b.pfn, b.order)).eq(fresh.iter().map(|b| (b.pfn, b.order))));
}

#[test]
fn a_run_that_no_zone_has_room_for_costs_nobody_anything() {
    let frames = allocator(&[usable(256, 1024), usable(NORMAL, NORMAL + 4096)]);
    let error = |frames| Err(AllocError::NoFreeRun { frames, gfp: Gfp::KERNEL });
    assert_eq!(frames.take_contiguous(4097, Gfp::KERNEL), error(4097));
    assert_eq!(frames.take_contiguous(u64::MAX, Gfp::KERNEL), error(u64::MAX));
    assert_eq!(frames.stats().drains, 0);
    assert_eq!(frames.take_contiguous(4080, Gfp::KERNEL), error(4080));
    assert!(frames.stats().drains > 0);
}

#[test]
fn a_run_leaves_the_watermark_and_what_others_keep() {
    let frames = allocator(&[usable(NORMAL, NORMAL + 8192)]);
    let zone = || frames.zone(ZoneKind::Normal);
    let spare = zone().free - zone().watermarks.min;
    // The zone is of one piece, so the mark is all that stands in the way.
    assert!(frames.take_contiguous(spare + 1, Gfp::KERNEL).is_err());
    let run = frames.take_contiguous(spare, Gfp::KERNEL).unwrap();
    assert_eq!(zone().free, zone().watermarks.min);
    frames.give_range(run).unwrap();
    frames.isolate(range(4096, 4097)).unwrap();
    assert!(frames.take_contiguous(4096, Gfp::KERNEL).is_ok());
    assert!(frames.take_contiguous(3584, Gfp::KERNEL | Gfp::MEMALLOC).is_err(), "a pageblock between is isolated");
    frames.sound();
}

/// More pageblocks than a word has bits: those of the second word go, and come back.
#[test]
fn pageblocks_far_behind_others_can_be_taken_and_given_back() {
    const WORD: u64 = 64 * 512;
    let frames = allocator(&[usable(NORMAL, NORMAL + 3 * WORD)]);
    let before = everything(&frames);
    frames.take_range(range(WORD, 2 * WORD), Gfp::MOVABLE).unwrap();
    frames.sound();
    let first = frames.take(Order::MAX, Gfp::MOVABLE).unwrap();
    assert!(!range(WORD, 2 * WORD).contains(first));
    frames.give(first, Order::MAX).unwrap();
    frames.give_range(range(WORD, 2 * WORD)).unwrap();
    frames.sound();
    assert_eq!(everything(&frames), before);
}
