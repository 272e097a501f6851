//! What is tried before a request is refused, in which order, and what is said of the refusal.

use std::time::Duration;

use std::cell::RefCell;
use std::sync::Mutex;

use bifolio::allocator::{PageAllocator, PerCpuPages, SetupError, Shrinker};
use bifolio::frame::{Gfp, Order, Pfn, ZoneKind};
use kit::{Raw, Sound, Turns};

use super::machine::Machine;
use super::{NORMAL, exhaust, order};
use kit::machine::{allocator_with, usable};

type Frames = PageAllocator<'static, Machine>;

/// A machine with an arena, that lives as long as the program, as a kernel's does.
fn machine() -> &'static Frames {
    let arenas: &'static [PerCpuPages; 1] = Box::leak(Box::new([PerCpuPages::new()]));
    Box::leak(Box::new(allocator_with(&[usable(NORMAL, NORMAL + 4096)], arenas)))
}

/// A cache that gives up to so many blocks back with each call, and writes down what it saw.
struct Cache {
    frames: &'static Frames,
    blocks: Mutex<Vec<(Pfn, Order)>>,
    at_once: usize,
    calls: Mutex<Vec<u64>>,
}

impl Cache {
    fn new(frames: &'static Frames, blocks: Vec<(Pfn, Order)>, at_once: usize) -> &'static Self {
        Box::leak(Box::new(Self { frames, blocks: Mutex::new(blocks), at_once, calls: Mutex::default() }))
    }

    fn calls(&self) -> usize {
        self.calls.lock().unwrap().len()
    }
}

impl Shrinker for Cache {
    fn shrink(&self, frames: u64) -> u64 {
        self.calls.lock().unwrap().push(frames);
        // Every lock of the allocator's is taken here, so none may be held.
        self.frames.stats();
        self.frames.sound();
        let mut blocks = self.blocks.lock().unwrap();
        let count = blocks.len().saturating_sub(self.at_once);
        blocks.drain(count..).map(|(pfn, order)| self.frames.give(pfn, order).map_or(0, |()| order.frames())).sum()
    }
}

/// Takes everything that requests with these flags can get.
fn take_all(frames: &'static Frames, gfp: Gfp) -> Vec<(Pfn, Order)> {
    exhaust(frames, gfp).into_iter().map(|pfn| (pfn, Order::ZERO)).collect()
}

#[test]
fn shrinkers_are_asked_by_requests_that_may_wait_and_no_others() {
    let frames = machine();
    let cache = Cache::new(frames, take_all(frames, Gfp::MEMALLOC), 64);
    frames.add_shrinker(cache).unwrap();
    for gfp in [Gfp::NOWAIT, Gfp::ATOMIC, Gfp::empty(), Gfp::MEMALLOC, Gfp::MEMALLOC | Gfp::KERNEL] {
        assert!(frames.take(Order::ZERO, gfp).is_err());
        assert_eq!(cache.calls(), 0, "{gfp}");
    }
    assert_eq!(frames.stats().stalls, [0; 3]);
    assert!(frames.take(Order::ZERO, Gfp::KERNEL).is_ok());
    assert!(cache.calls() > 0);
    assert_eq!(frames.stats().stalls, [0, 0, 1]);
}

/// They are asked again as long as they have something to give and it is not enough.
#[test]
fn shrinkers_are_asked_until_there_is_enough() {
    let frames = machine();
    let min = frames.zone(ZoneKind::Normal).watermarks.min;
    let cache = Cache::new(frames, take_all(frames, Gfp::MEMALLOC), 10);
    frames.add_shrinker(cache).unwrap();
    assert!(frames.take(Order::ZERO, Gfp::KERNEL).is_ok());
    assert_eq!(cache.calls(), min as usize / 10 + 1, "what each call gave was needed");
    let stats = frames.stats();
    assert_eq!(stats.reclaimed, 10 * cache.calls() as u64);
    assert_eq!(stats.scanned, 32 * cache.calls() as u64);
}

#[test]
fn shrinkers_are_not_asked_for_ever() {
    let frames = machine();
    let cache = Cache::new(frames, take_all(frames, Gfp::MEMALLOC), 1);
    frames.add_shrinker(cache).unwrap();
    assert!(frames.take(order(9), Gfp::KERNEL).is_err());
    assert_eq!(cache.calls(), 16);
    cache.blocks.lock().unwrap().clear();
    assert!(frames.take(order(9), Gfp::KERNEL).is_err());
    assert_eq!(cache.calls(), 17, "one that has nothing is not asked again");
}

#[test]
fn shrinkers_are_asked_in_turn_for_what_is_still_missing() {
    let frames = machine();
    let mut all = take_all(frames, Gfp::MEMALLOC);
    let rest = all.split_off(20);
    let [first, second, third] =
        [(all, 20), (rest[..2000].to_vec(), 100), (rest[2000..].to_vec(), 100)].map(|(b, n)| Cache::new(frames, b, n));
    for cache in [first, second, third] {
        frames.add_shrinker(cache).unwrap();
    }
    let _ = frames.take(order(6), Gfp::KERNEL);
    // 64 frames are wanted: 20 are given, then 100, and so the third is not asked this time.
    assert_eq!(first.calls.lock().unwrap()[0], 64);
    assert_eq!(second.calls.lock().unwrap()[0], 44);
    assert!(third.calls() < second.calls());
    assert!(frames.remove_shrinker(second));
    assert!(!frames.remove_shrinker(second));
    let (before, after) = (second.calls(), third.calls());
    frames.take(order(10), Gfp::KERNEL).unwrap_err();
    assert_eq!(second.calls(), before);
    assert!(third.calls() > after);
}

/// Allocates in its turn, when it is asked for memory.
struct Greedy {
    frames: &'static Frames,
    calls: RefCell<Vec<bool>>,
}

// SAFETY: it is used by the thread of one test.
unsafe impl Sync for Greedy {}

impl Shrinker for Greedy {
    fn shrink(&self, _: u64) -> u64 {
        let served = self.frames.take(Order::ZERO, Gfp::KERNEL).is_ok();
        self.calls.borrow_mut().push(served);
        0
    }
}

#[test]
fn a_shrinker_that_allocates_is_not_called_again_inside() {
    let frames = machine();
    let greedy: &'static Greedy = Box::leak(Box::new(Greedy { frames, calls: RefCell::default() }));
    take_all(frames, Gfp::MEMALLOC);
    frames.add_shrinker(greedy).unwrap();
    frames.take(Order::ZERO, Gfp::KERNEL).unwrap_err();
    assert_eq!(*greedy.calls.borrow(), [false]);
    frames.take(Order::ZERO, Gfp::KERNEL).unwrap_err();
    assert_eq!(greedy.calls.borrow().len(), 2, "the next request may call it again");
}

#[test]
fn there_is_room_for_sixteen_shrinkers() {
    let frames = machine();
    let caches: Vec<_> = (0..17).map(|_| Cache::new(frames, Vec::new(), 0)).collect();
    for cache in &caches[..16] {
        assert_eq!(frames.add_shrinker(*cache), Ok(()));
    }
    assert_eq!(frames.add_shrinker(caches[16]), Err(SetupError::TooManyShrinkers));
    assert!(frames.remove_shrinker(caches[3]));
    assert_eq!(frames.add_shrinker(caches[16]), Ok(()));
    take_all(frames, Gfp::MEMALLOC);
    frames.take(Order::ZERO, Gfp::KERNEL).unwrap_err();
    let calls: Vec<_> = caches.iter().map(|cache| cache.calls()).collect();
    assert_eq!(calls, (0..17).map(|n| usize::from(n != 3)).collect::<Vec<_>>());
}

/// What is in arenas costs nobody anything, so it comes before what is in caches.
#[test]
fn arenas_are_drained_before_shrinkers_are_asked() {
    let frames = machine();
    let cache = Cache::new(frames, vec![(frames.take(order(4), Gfp::KERNEL).unwrap(), order(4))], 1);
    frames.add_shrinker(cache).unwrap();
    let all = take_all(frames, Gfp::MEMALLOC);
    let zone = || frames.zone(ZoneKind::Normal);
    for (pfn, order) in all.iter().filter(|(_, order)| *order == Order::ZERO) {
        if zone().free == zone().watermarks.min {
            break;
        }
        frames.give(*pfn, *order).unwrap();
    }
    assert!(frames.cached() > 0);
    let drains = frames.stats().drains;
    // Of another mobility than what is held.
    assert!(frames.take(Order::ZERO, Gfp::KERNEL | Gfp::MOVABLE).is_ok());
    assert_eq!((cache.calls(), frames.stats().drains), (0, drains + 1));
}

#[test]
fn the_report_of_a_refusal_is_linuxs() {
    let frames = machine();
    take_all(frames, Gfp::MEMALLOC);
    let [mark, low, high] = {
        let marks = frames.zone(ZoneKind::Normal).watermarks;
        [marks.min, marks.low, marks.high].map(|frames| frames * 4)
    };
    frames.give(Pfn::new(NORMAL + 8), Order::ZERO).unwrap();
    frames.give(Pfn::new(NORMAL + 12), Order::ZERO).unwrap();
    frames.give(Pfn::new(NORMAL + 13), Order::ZERO).unwrap();
    frames.drain();
    frames.take(order(2), Gfp::KERNEL | Gfp::ZERO).unwrap_err();
    let managed = frames.zone(ZoneKind::Normal).managed * 4;
    let expected = format!(
        "page allocation failure: order:2, mode:0x400(GFP_KERNEL)\n\
         Mem-Info:\n\
         free:3 free_pcp:0\n\
         Node 0 Normal free:12kB boost:0kB min:{mark}kB low:{low}kB high:{high}kB reserved_highatomic:0KB \
         free_highatomic:0KB present:16384kB managed:{managed}kB\n\
         lowmem_reserve[]: 0 0 0\n\
         Node 0 Normal: 1*4kB (U) 1*8kB (U) 0*16kB 0*32kB 0*64kB 0*128kB 0*256kB 0*512kB 0*1024kB 0*2048kB 0*4096kB \
         = 12kB\n"
    );
    assert_eq!(Turns::reports(), [expected]);
}

#[test]
fn refusals_are_reported_at_most_every_ten_seconds() {
    let frames = machine();
    take_all(frames, Gfp::MEMALLOC | Gfp::NOWARN);
    let refused_at = |milliseconds| {
        Turns::set_uptime(Duration::from_millis(milliseconds));
        // Of a request that wants no report none is missing.
        frames.take(Order::ZERO, Gfp::KERNEL | Gfp::NOWARN).unwrap_err();
        frames.take(Order::ZERO, Gfp::KERNEL).unwrap_err();
        let reports = Turns::reports().into_iter().map(|report| report.lines().next().unwrap_or_default().to_string());
        reports.collect::<Vec<_>>()
    };
    let reports = [0, 1, 9_999, 10_000, 10_001, 19_999, 25_000, 34_999, 35_000].map(refused_at);
    let (first, none) = (vec!["page allocation failure: order:0, mode:0x400(GFP_KERNEL)".to_string()], vec![]);
    let missed = |count: u32| vec![format!("warn_alloc: {count} callbacks suppressed")];
    let expected =
        [first, none.clone(), none.clone(), missed(2), none.clone(), none.clone(), missed(2), none, missed(1)];
    assert_eq!(reports, expected);
    assert_eq!(frames.stats().refused, 19);
}

/// What is recorded has no time in it, and is repeated to the same state all the same.
#[test]
fn whether_a_refusal_is_reported_makes_no_difference_to_the_state() {
    let refused_at = |times: [u64; 2]| {
        let arenas: &'static [PerCpuPages; 1] = Box::leak(Box::new([PerCpuPages::new()]));
        let map = [usable(0x100, 0x1000), usable(NORMAL, NORMAL + 4096)];
        let frames: &'static Frames = Box::leak(Box::new(allocator_with(&map, arenas)));
        let blocks = take_all(frames, Gfp::KERNEL | Gfp::MOVABLE | Gfp::NOWARN);
        let (one, other): (Vec<_>, Vec<_>) = blocks.into_iter().partition(|(pfn, _)| pfn.number() % 2 == 0);
        let reports = [one, other].into_iter().zip(times).map(|(blocks, time)| {
            // Searches have not looked at the pageblocks yet in which these lie.
            blocks.iter().step_by(3).for_each(|(pfn, order)| frames.give(*pfn, *order).unwrap());
            Turns::set_uptime(Duration::from_millis(time));
            frames.take(Order::MAX, Gfp::KERNEL | Gfp::DMA).unwrap_err();
            Turns::reports().len()
        });
        (reports.collect::<Vec<_>>(), frames.hash())
    };
    let ((often, reported), (once, silent)) = (refused_at([0, 20_000]), refused_at([0, 1]));
    assert_eq!((often, once), (vec![1, 1], vec![1, 0]));
    assert_eq!(reported, silent);
}

#[test]
fn refusals_that_nobody_wants_to_hear_of_are_not_reported() {
    let frames = machine();
    take_all(frames, Gfp::MEMALLOC | Gfp::NOWARN);
    for gfp in [Gfp::NOWAIT, Gfp::KERNEL | Gfp::NOWARN, Gfp::ATOMIC | Gfp::NOWARN, Gfp::NOWAIT | Gfp::MOVABLE] {
        frames.take(Order::ZERO, gfp).unwrap_err();
        assert!(Turns::reports().is_empty(), "{gfp}");
    }
    assert!(frames.take_bulk(&mut [None; 9], Gfp::NOWAIT).is_err());
    assert!(Turns::reports().is_empty());
    frames.take(Order::ZERO, Gfp::ATOMIC).unwrap_err();
    assert_eq!(Turns::reports().len(), 1);
}

/// That a request was content with less is no refusal.
#[test]
fn a_bulk_that_returns_fewer_is_not_reported() {
    let frames = machine();
    let mut slots = vec![None; 5000];
    assert!(frames.take_bulk(&mut slots, Gfp::KERNEL).unwrap() > 3000);
    assert_eq!((Turns::reports().len(), frames.stats().refused), (0, 0));
}
