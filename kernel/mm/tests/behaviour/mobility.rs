//! Fallback between mobilities: claim, steal, and not at all.

use bifolio::allocator::{AllocError, Fallback, PageAllocator, ZoneStats};
use bifolio::frame::{Gfp, Mobility, Order, Pfn, Profile, ZoneKind};
use kit::{Raw, Sound};

use super::{NORMAL, exhaust, free_each, order, pageblocks, pfn};
use kit::machine::{SingleCpu, allocator, allocator_with_pages, usable};

use Mobility::{Movable, Reclaimable, Unmovable};

const KINDS: [(Mobility, Gfp); 3] = [
    (Unmovable, Gfp::MEMALLOC),
    (Movable, Gfp::MOVABLE.union(Gfp::MEMALLOC)),
    (Reclaimable, Gfp::RECLAIMABLE.union(Gfp::MEMALLOC)),
];

/// Eight pageblocks, all allocated frame by frame for one kind.
fn full_of(gfp: Gfp) -> PageAllocator<'static, SingleCpu> {
    let frames = allocator(&[usable(NORMAL, NORMAL + 4096)]);
    exhaust(&frames, gfp | Gfp::MEMALLOC);
    frames
}

fn normal(frames: &PageAllocator<'_, SingleCpu>) -> ZoneStats {
    frames.zone(ZoneKind::Normal)
}

fn kind_at(frames: &PageAllocator<'_, SingleCpu>, at: Pfn) -> Mobility {
    let mut kind = None;
    frames.for_each_block(ZoneKind::Normal, |block| {
        if block.pfn <= at {
            kind = Some(block.mobility);
        }
    });
    kind.unwrap()
}

#[test]
fn each_kind_falls_back_in_linuxs_order() {
    // One free pageblock of each kind: 1, 3 and 6.
    for (gfp, expected) in [(KINDS[0].1, [1, 3, 6]), (KINDS[1].1, [6, 3, 1]), (KINDS[2].1, [3, 1, 6])] {
        let frames = allocator(&[usable(NORMAL, NORMAL + 4096)]);
        assert_eq!(frames.take(order(9), KINDS[0].1), Ok(pfn(0)));
        assert_eq!(frames.take(order(9), KINDS[2].1), Ok(pfn(1024)));
        assert_eq!(frames.take(order(10), KINDS[1].1), Ok(pfn(2048)));
        for pageblock in expected {
            assert_eq!(frames.take(order(9), gfp), Ok(pfn(pageblock * 512)), "{gfp}");
        }
        frames.sound();
    }
}

#[test]
fn a_pageblock_is_claimed_when_half_of_it_is_free_and_not_before() {
    for (free, claimed) in [(256, true), (255, false)] {
        let frames = full_of(Gfp::MOVABLE);
        free_each(&frames, 512..512 + free);
        assert_eq!(frames.take(Order::ZERO, Gfp::MEMALLOC).map(|pfn| pfn.number() / 512), Ok(NORMAL / 512 + 1));
        assert_eq!(kind_at(&frames, pfn(512)), if claimed { Unmovable } else { Movable }, "{free} free frames");
        let way = if claimed { Fallback::ClaimedPageblock } else { Fallback::Stolen };
        for each in Fallback::ALL {
            assert_eq!(normal(&frames).fallbacks(each, Movable, Unmovable), u64::from(each == way), "{each:?}");
        }
        frames.sound();
    }
}

/// 256 frames were movable when the pageblock was claimed, and are for all that is known: with them, 56 free frames are
/// enough for a movable request to claim it back; without them, they are not.
#[test]
fn allocated_frames_of_the_requests_kind_count_as_half_free() {
    for (gfp, claimed) in [(Gfp::MOVABLE, true), (Gfp::RECLAIMABLE, false)] {
        let frames = full_of(Gfp::MOVABLE);
        free_each(&frames, 512..768);
        for _ in 0..200 {
            frames.take(Order::ZERO, Gfp::MEMALLOC).unwrap();
        }
        assert_eq!(kind_at(&frames, pfn(512)), Unmovable);
        let kind = gfp.mobility().unwrap();
        assert_eq!(frames.take(Order::ZERO, gfp | Gfp::MEMALLOC), Ok(pfn(512 + 200)));
        assert_eq!(kind_at(&frames, pfn(512)), if claimed { kind } else { Unmovable }, "{gfp}");
        frames.sound();
    }
}

/// The same the other way round: of a movable pageblock, what was stolen for unmovable contents counts.
#[test]
fn stolen_frames_count_for_who_stole_them() {
    for (stolen, claimed) in [(100, true), (99, false)] {
        let frames = full_of(Gfp::MOVABLE);
        // One pair of frames after the other: never enough for a claim.
        for pair in 0..stolen {
            free_each(&frames, [512 + pair]);
            assert_eq!(frames.take(Order::ZERO, Gfp::MEMALLOC), Ok(pfn(512 + pair)));
        }
        assert_eq!(kind_at(&frames, pfn(512)), Movable);
        free_each(&frames, 1024 - 156..1024);
        frames.take(Order::ZERO, Gfp::MEMALLOC).unwrap();
        assert_eq!(kind_at(&frames, pfn(512)), if claimed { Unmovable } else { Movable }, "{stolen} stolen");
    }
}

#[test]
fn what_was_foreign_is_forgotten_when_the_pageblock_is_free() {
    let frames = full_of(Gfp::MOVABLE);
    for frame in 512..612 {
        free_each(&frames, [frame]);
        frames.take(Order::ZERO, Gfp::MEMALLOC).unwrap();
    }
    free_each(&frames, 512..1024);
    while frames.take(Order::ZERO, Gfp::MOVABLE | Gfp::MEMALLOC).is_ok() {}
    free_each(&frames, 1024 - 156..1024);
    frames.take(Order::ZERO, Gfp::MEMALLOC).unwrap();
    assert_eq!(kind_at(&frames, pfn(512)), Movable);
}

/// Half of the pageblock is free, in blocks of order 3: reason enough for what cannot move to claim it, and none for what
/// can.
#[test]
fn a_movable_request_claims_no_block_below_half_a_pageblocks_order() {
    for (gfp, kind) in [(Gfp::MOVABLE, Unmovable), (Gfp::RECLAIMABLE, Reclaimable)] {
        let frames = full_of(Gfp::empty());
        free_each(&frames, (512..1024).filter(|frame| frame / 8 % 2 == 0));
        frames.take(Order::ZERO, gfp | Gfp::MEMALLOC).unwrap();
        assert_eq!(kind_at(&frames, pfn(512)), kind, "{gfp}");
    }
    let frames = full_of(Gfp::empty());
    free_each(&frames, (512..1024).filter(|frame| frame / 16 % 2 == 0));
    frames.take(Order::ZERO, Gfp::MOVABLE | Gfp::MEMALLOC).unwrap();
    assert_eq!(kind_at(&frames, pfn(512)), Movable, "order 4 is half of 9, rounded down");
}

#[test]
fn whole_blocks_are_counted_as_claimed_whole() {
    let frames = allocator(&[usable(NORMAL, NORMAL + 4096)]);
    frames.take(Order::ZERO, Gfp::RECLAIMABLE).unwrap();
    assert_eq!(normal(&frames).fallbacks(Fallback::ClaimedWhole, Movable, Reclaimable), 1);
    frames.take(order(10), Gfp::KERNEL).unwrap();
    assert_eq!(normal(&frames).fallbacks(Fallback::ClaimedWhole, Movable, Unmovable), 1);
    let all: u64 = Fallback::ALL
        .into_iter()
        .flat_map(|way| Mobility::ALL.map(|from| Mobility::ALL.map(|to| normal(&frames).fallbacks(way, from, to))))
        .flatten()
        .sum();
    assert_eq!(all, 2);
}

#[test]
fn a_no_fragment_request_takes_whole_pageblocks_and_nothing_less() {
    let frames = full_of(Gfp::MOVABLE);
    let gfp = Gfp::MEMALLOC | Gfp::NOFRAGMENT;
    free_each(&frames, 512..1023);
    let error = Err(AllocError::OutOfMemory { order: Order::ZERO, gfp });
    assert_eq!(frames.take(Order::ZERO, gfp), error);
    assert_eq!(pageblocks(&frames)[Movable.index()], 8);
    free_each(&frames, [1023]);
    assert_eq!(frames.take(Order::ZERO, gfp), Ok(pfn(512)));
    assert_eq!(kind_at(&frames, pfn(512)), Unmovable);
    // Of its own kind it takes anything.
    assert_eq!(frames.take(Order::ZERO, gfp), Ok(pfn(513)));
}

#[test]
fn an_arena_neither_mixes_mobilities_nor_hands_out_for_who_must_not() {
    let frames = allocator_with_pages(&[usable(NORMAL, NORMAL + 4096)]);
    exhaust(&frames, Gfp::MOVABLE | Gfp::MEMALLOC);
    free_each(&frames, (0..4000).filter(|frame| frame / 4 % 2 == 0));
    frames.drain();
    // 2000 frames are free, more than the watermarks, and all are movable ones.
    let unmovable = frames.take(Order::ZERO, Gfp::MEMALLOC | Gfp::NOFRAGMENT);
    assert!(unmovable.is_err());
    frames.take(Order::ZERO, Gfp::RECLAIMABLE).unwrap();
    assert_eq!((frames.zone(ZoneKind::Normal).free, frames.cached()), (1999, 0), "one frame, and no word");
    // The claimed pageblock is one of the own now.
    frames.take(Order::ZERO, Gfp::RECLAIMABLE).unwrap();
    assert!(frames.cached() > 0);
}

/// Two zones, the upper with memory for movable contents in pieces, the lower with whole pageblocks.
fn fragmented_above(lower: u64, upper: u64) -> PageAllocator<'static, SingleCpu> {
    let frames = allocator(&[usable(lower, lower + 2048), usable(upper, upper + 16384)]);
    let taken = exhaust(&frames, Gfp::MOVABLE);
    let whole = taken.iter().filter(|pfn| pfn.number() < upper || pfn.number() / 2 % 2 == 0);
    whole.for_each(|pfn| frames.give(*pfn, Order::ZERO).unwrap());
    frames
}

#[test]
fn a_lower_zone_serves_before_zone_normal_mixes_mobilities() {
    let frames = fragmented_above(4096, NORMAL);
    assert!(frames.zone(ZoneKind::Normal).free > 8000);
    let zone = |gfp| frames.take(order(1), gfp).map(|pfn| Profile::X86_64.zone_of(pfn));
    assert_eq!(zone(Gfp::MOVABLE), Ok(ZoneKind::Normal));
    assert_eq!(zone(Gfp::KERNEL), Ok(ZoneKind::Dma32));
    // When no zone has any other, mixed memory it is.
    while zone(Gfp::MOVABLE | Gfp::DMA32).is_ok() {}
    assert_eq!(zone(Gfp::KERNEL), Ok(ZoneKind::Normal));
    assert_eq!(normal(&frames).fallbacks(Fallback::ClaimedPageblock, Movable, Unmovable), 1);
}

/// As in Linux, only requests that zone Normal comes first for.
#[test]
fn zone_dma32_mixes_mobilities_before_a_lower_zone_serves() {
    let frames = fragmented_above(256, 8192);
    let zone = |gfp| frames.take(order(1), gfp).map(|pfn| Profile::X86_64.zone_of(pfn));
    assert_eq!(zone(Gfp::KERNEL), Ok(ZoneKind::Dma32));
    assert_eq!(zone(Gfp::DMA32), Ok(ZoneKind::Dma32));
    assert_eq!(zone(Gfp::DMA), Ok(ZoneKind::Dma));
}
