//! Pageblocks that are kept for requests that cannot wait.

use bifolio::allocator::{PageAllocator, ZoneStats};
use bifolio::frame::{Gfp, Mobility, Order, Pfn, ZoneKind};
use kit::{Raw, Sound};

use super::{NORMAL, order, pageblocks};
use kit::machine::{SingleCpu, allocator, usable};

/// A zone of which a hundredth is more than a pageblock and less than two.
fn machine() -> PageAllocator<'static, SingleCpu> {
    allocator(&[usable(NORMAL, NORMAL + 65536)])
}

fn zone(frames: &PageAllocator<'_, SingleCpu>) -> ZoneStats {
    frames.zone(ZoneKind::Normal)
}

/// Allocates until the next request comes to the slow path, and larger ones still find blocks.
fn press(frames: &PageAllocator<'_, SingleCpu>) -> Vec<Pfn> {
    let mut taken = Vec::new();
    while zone(frames).free > zone(frames).watermarks.low {
        taken.push(frames.take(order(4), Gfp::MOVABLE | Gfp::MEMALLOC).unwrap());
    }
    taken
}

/// Free frames that are not kept.
fn spare(frames: &PageAllocator<'_, SingleCpu>) -> u64 {
    zone(frames).free - zone(frames).free_highatomic
}

#[test]
fn a_request_that_cannot_wait_keeps_its_pageblock_for_the_next() {
    let frames = machine();
    press(&frames);
    let first = frames.take(order(3), Gfp::ATOMIC).unwrap();
    assert_eq!(zone(&frames).reserved_highatomic, 512);
    assert_eq!(pageblocks(&frames)[Mobility::HighAtomic.index()], 1);
    let told = frames.explain_allocate(order(3), Gfp::ATOMIC, &mut |_| ()).unwrap();
    let second = frames.take(order(3), Gfp::ATOMIC).unwrap();
    assert_eq!(first.number() / 512, second.number() / 512);
    assert_eq!(told, Some(second));
    frames.sound();
}

#[test]
fn no_pageblock_is_kept_for_requests_that_do_without() {
    let frames = machine();
    frames.take(order(3), Gfp::ATOMIC).unwrap();
    assert_eq!(zone(&frames).reserved_highatomic, 0, "from the fast path");
    press(&frames);
    for (o, gfp) in [(0, Gfp::ATOMIC), (3, Gfp::KERNEL), (3, Gfp::NOWAIT), (3, Gfp::HIGH | Gfp::WAIT)] {
        frames.take(order(o), gfp).unwrap();
        assert_eq!(zone(&frames).reserved_highatomic, 0, "{gfp} of order {o}");
    }
}

#[test]
fn at_most_a_hundredth_of_the_zone_is_kept_in_whole_pageblocks() {
    let frames = machine();
    let mut taken = press(&frames);
    for _ in 0..3 * 512 / 8 {
        // So that there is always enough for one more, and never for the fast path.
        while zone(&frames).free < zone(&frames).watermarks.min {
            frames.give(taken.pop().unwrap(), order(4)).unwrap();
        }
        frames.take(order(3), Gfp::ATOMIC).unwrap();
    }
    assert_eq!(zone(&frames).reserved_highatomic, 1024, "{} managed frames", zone(&frames).managed);
    frames.sound();
    // A zone of which a hundredth is less than a pageblock.
    let frames = allocator(&[usable(NORMAL, NORMAL + 51_200)]);
    press(&frames);
    while frames.take(order(1), Gfp::ATOMIC).is_ok() {}
    assert_eq!(zone(&frames).reserved_highatomic, 0);
}

/// What is kept counts as free for those it is kept for, and for nobody else: to the frame.
#[test]
fn kept_frames_are_not_counted_for_others() {
    let frames = machine();
    let mut taken = press(&frames);
    frames.take(order(3), Gfp::ATOMIC).unwrap();
    while spare(&frames) <= zone(&frames).watermarks.min + 1 {
        frames.give(taken.pop().unwrap(), order(4)).unwrap();
    }
    while spare(&frames) > zone(&frames).watermarks.min + 1 {
        frames.take(Order::ZERO, Gfp::WAIT | Gfp::MEMALLOC).unwrap();
    }
    let kept = zone(&frames).free_highatomic;
    assert!(kept > 400);
    assert!(frames.take(Order::ZERO, Gfp::KERNEL).is_ok());
    assert_eq!(spare(&frames), zone(&frames).watermarks.min);
    // None of these could be served if the kept frames did not count.
    for (o, gfp) in [(0, Gfp::NOWAIT), (0, Gfp::HIGH | Gfp::WAIT), (0, Gfp::ATOMIC), (3, Gfp::ATOMIC)] {
        assert!(frames.take(order(o), gfp).is_ok(), "{gfp} of order {o}");
    }
    assert_eq!((zone(&frames).free_highatomic, zone(&frames).reserved_highatomic), (kept - 8, 512));
    // This one cannot, and has them given up.
    assert!(frames.take(Order::ZERO, Gfp::KERNEL).is_ok());
    assert_eq!(zone(&frames).reserved_highatomic, 0);
    frames.sound();
}

/// A refusal that can wait gets what is kept; one that cannot leaves it reserved.
#[test]
fn what_is_kept_is_given_up_before_a_refusal() {
    let frames = machine();
    press(&frames);
    frames.take(order(3), Gfp::ATOMIC).unwrap();
    while zone(&frames).free > zone(&frames).free_highatomic {
        frames.take(Order::ZERO, Gfp::WAIT | Gfp::MEMALLOC | Gfp::NOWARN).unwrap();
    }
    assert!(zone(&frames).free_highatomic > 0);
    assert!(frames.take(Order::ZERO, Gfp::WAIT | Gfp::MEMALLOC | Gfp::NOWARN).is_err());
    assert_eq!(zone(&frames).reserved_highatomic, 512, "who frees memory for others does not take it");
    while frames.take(order(2), Gfp::MEMALLOC | Gfp::NOWARN).is_ok() {}
    assert_eq!(zone(&frames).reserved_highatomic, 512, "who cannot wait uses it as it is");
    assert_eq!(zone(&frames).free_highatomic, zone(&frames).free);
    assert!(zone(&frames).free < 4);
    frames.sound();
}

#[test]
fn a_kept_pageblock_becomes_one_of_the_request_that_it_is_given_up_for() {
    let frames = machine();
    press(&frames);
    let pfn = frames.take(order(3), Gfp::ATOMIC).unwrap();
    while spare(&frames) > zone(&frames).watermarks.min {
        frames.take(Order::ZERO, Gfp::WAIT | Gfp::MEMALLOC).unwrap();
    }
    let (free, reclaimable) = (zone(&frames).free, pageblocks(&frames)[Mobility::Reclaimable.index()]);
    let given = frames.take(order(1), Gfp::RECLAIMABLE | Gfp::WAIT).unwrap();
    assert_eq!(given.number() / 512, pfn.number() / 512);
    assert_eq!(pageblocks(&frames)[Mobility::Reclaimable.index()], reclaimable + 1);
    let now = zone(&frames);
    assert_eq!((now.reserved_highatomic, now.free_highatomic, now.free), (0, 0, free - 2));
    frames.sound();
}

/// A free pageblock that is kept makes no block of order 10 with one that is not, and does once it is kept no more.
#[test]
fn kept_pageblocks_do_not_merge_with_others() {
    let frames = machine();
    let fresh = frames.free_blocks(ZoneKind::Normal);
    let mut taken = Vec::new();
    while zone(&frames).free > zone(&frames).watermarks.low {
        taken.push((frames.take(order(4), Gfp::MOVABLE | Gfp::MEMALLOC).unwrap(), order(4)));
    }
    taken.push((frames.take(order(3), Gfp::ATOMIC).unwrap(), order(3)));
    taken.into_iter().for_each(|(pfn, order)| frames.give(pfn, order).unwrap());
    frames.sound();
    let parted = frames.free_blocks(ZoneKind::Normal);
    assert_eq!(parted.of(order(10)), fresh.of(order(10)) - 1);
    assert_eq!(parted.blocks[Mobility::HighAtomic.index()][9], 1);
    while frames.take(Order::ZERO, Gfp::KERNEL | Gfp::NOWARN).is_ok() {}
    assert_eq!(zone(&frames).reserved_highatomic, 0);
    frames.sound();
}

#[test]
fn what_is_kept_can_be_given_up_at_any_time() {
    let frames = machine();
    press(&frames);
    frames.take(order(3), Gfp::ATOMIC).unwrap();
    let before = (zone(&frames).free, frames.cached());
    assert_eq!(zone(&frames).reserved_highatomic, 512);
    frames.unreserve_highatomic();
    assert_eq!((zone(&frames).reserved_highatomic, zone(&frames).free_highatomic), (0, 0));
    assert_eq!((zone(&frames).free, frames.cached()), before);
    frames.sound();
}

/// What is given up need not be of use: it may be too small.
#[test]
fn what_is_kept_is_given_up_though_it_does_not_suffice() {
    let frames = machine();
    press(&frames);
    frames.take(order(3), Gfp::ATOMIC).unwrap();
    while frames.take(Order::ZERO, Gfp::WAIT | Gfp::MEMALLOC | Gfp::NOWARN).is_ok() {}
    let kept = zone(&frames).free_highatomic;
    assert!(kept > 0 && zone(&frames).reserved_highatomic == 512);
    assert!(frames.take(order(10), Gfp::KERNEL | Gfp::NOWARN).is_err());
    assert_eq!((zone(&frames).reserved_highatomic, zone(&frames).free_highatomic), (0, 0));
    assert_eq!(zone(&frames).free, kept);
    frames.sound();
}
