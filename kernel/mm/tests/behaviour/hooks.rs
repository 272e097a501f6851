//! What the allocator tells the machine that it runs on, and when.

use bifolio::allocator::{PageAllocator, PerCpuPages, Shrinker};
use bifolio::frame::{Gfp, Order, Pfn, ZoneKind};
use bifolio::sync::Acquire;
use kit::{Raw, Turns};

use super::machine::{self, Calls, Machine};
use super::{NORMAL, exhaust, order, range};
use kit::machine::{allocator_with, usable};

const CPUS: usize = 4;

fn machine() -> PageAllocator<'static, Machine> {
    let arenas: &'static [PerCpuPages; CPUS] = Box::leak(Box::new([const { PerCpuPages::new() }; CPUS]));
    allocator_with(&[usable(NORMAL, NORMAL + 4096)], arenas)
}

fn allocate_and_free(frames: &PageAllocator<'_, Machine>, order: Order) {
    let pfn = frames.take(order, Gfp::KERNEL).unwrap();
    frames.give(pfn, order).unwrap();
}

#[test]
fn every_lock_tells_of_itself_when_it_is_taken_and_let_go() {
    let frames = machine();
    machine::take_taken();
    allocate_and_free(&frames, order(6));
    assert_eq!(machine::take_taken(), [("zone Normal", Acquire::Wait); 2], "the free makes a pageblock whole");
    frames.drain();
    assert_eq!(machine::take_taken(), [("draining", Acquire::Try)]);
    frames.add_shrinker(&Nothing).unwrap();
    assert_eq!(machine::take_taken(), [("shrinkers", Acquire::Wait)]);
    frames.cached();
    assert_eq!(machine::take_taken(), []);
    assert!(machine::held().is_empty());
}

/// A lock's guard tells too, wherever it goes.
#[test]
fn a_lock_that_is_had_already_tells_nothing_of_a_try() {
    let lock = bifolio::sync::Mutex::<u32, Machine>::new("number", 1);
    let guard = lock.try_lock().unwrap();
    assert!(lock.try_lock().is_none());
    assert_eq!(machine::held(), ["number"]);
    drop(guard);
    assert!(machine::held().is_empty());
    assert_eq!(machine::take_taken(), [("number", Acquire::Try)]);
    assert_eq!(lock.with(|number| core::mem::replace(number, 2)), 1);
    assert_eq!(lock.into_inner(), 2);
}

struct Nothing;

impl Shrinker for Nothing {
    fn shrink(&self, _: u64) -> u64 {
        0
    }
}

/// Whoever asks, and whether or not it has to wait.
#[test]
fn requests_that_may_wait_are_announced_and_no_others() {
    type Way = fn(&PageAllocator<'static, Machine>, Gfp) -> bool;
    let ways: [Way; 7] = [
        |frames, gfp| frames.take(Order::ZERO, gfp).is_ok(),
        |frames, gfp| frames.take(Order::ZERO, gfp | Gfp::NOFRAGMENT).is_ok(),
        |frames, gfp| frames.allocate_owned(order(3), gfp).is_ok(),
        |frames, gfp| frames.take_bulk(&mut [None; 2], gfp).is_ok(),
        |frames, gfp| frames.take_exact(5, gfp).is_ok(),
        |frames, gfp| frames.take_contiguous(2000, gfp).is_ok(),
        |frames, gfp| frames.take_range(range(8, 10), gfp).is_ok(),
    ];
    for (nth, way) in ways.into_iter().enumerate() {
        machine::take_calls();
        assert!(way(&machine(), Gfp::NOWAIT));
        assert_eq!(machine::take_calls().might_wait, 0, "way {nth}");
        assert!(way(&machine(), Gfp::KERNEL));
        assert!(machine::take_calls().might_wait > 0, "way {nth}");
    }
    let frames = machine();
    let grown = frames.take_exact(8, Gfp::NOWAIT).unwrap();
    let _ = frames.regrow(grown, 9, Gfp::NOWAIT);
    assert_eq!(machine::take_calls().might_wait, 0);
    let _ = frames.regrow(grown, 9, Gfp::KERNEL);
    assert_eq!(machine::take_calls().might_wait, 1);
}

#[test]
fn low_memory_is_told_of_by_who_finds_no_zone_above_low() {
    let frames = machine();
    let marks = frames.zone(ZoneKind::Normal).watermarks;
    machine::take_calls();
    // A block of order 6 comes from its zone; what is free stays above the mark.
    let mut held = Vec::new();
    while frames.zone(ZoneKind::Normal).free > marks.low + 64 {
        held.push(frames.take(order(6), Gfp::NOWAIT).unwrap());
    }
    assert_eq!(machine::take_calls(), Calls::default());
    held.push(frames.take(order(6), Gfp::NOWAIT).unwrap());
    assert_eq!(machine::take_calls().low_memory, 1, "it was served from below the mark");
    // So is an arena, as no word is left that it may have; and the request behind it, which comes from the zone.
    frames.give(held.pop().unwrap(), order(6)).unwrap();
    frames.take(Order::ZERO, Gfp::NOWAIT).unwrap();
    assert_eq!(machine::take_calls().low_memory, 1);
}

/// A cache that gives what it is asked for, as long as it has it.
struct Cache<'a>(&'a PageAllocator<'static, Machine>, std::sync::Mutex<Vec<Pfn>>);

impl Shrinker for Cache<'_> {
    fn shrink(&self, count: u64) -> u64 {
        let mut held = self.1.lock().unwrap();
        let rest = held.len().saturating_sub(count as usize);
        held.drain(rest..).map(|pfn| self.0.give(pfn, Order::ZERO).map_or(0, |()| 1)).sum()
    }
}

#[test]
fn balancing_reclaims_until_all_zones_are_above_high_and_no_more() {
    let frames: &'static _ = Box::leak(Box::new(machine()));
    assert!(frames.is_balanced());
    let high = frames.zone(ZoneKind::Normal).watermarks.high;
    let cache: &'static Cache<'_> = Box::leak(Box::new(Cache(frames, exhaust(frames, Gfp::MEMALLOC).into())));
    assert!(!frames.is_balanced());
    assert_eq!(frames.balance(), 0, "nobody has anything to give");
    assert_eq!((frames.stats().balances, frames.stats().background_scanned), (1, 0));
    frames.add_shrinker(cache).unwrap();
    let given = frames.balance();
    assert!(frames.is_balanced());
    let free = frames.zone(ZoneKind::Normal).free;
    assert!((high + 1..high + 64).contains(&free), "{free} frames are free above {high}");
    let stats = frames.stats();
    assert_eq!((stats.balances, stats.background_reclaimed), (2, given));
    assert!(stats.background_scanned >= given);
    assert_eq!((stats.scanned, stats.reclaimed, stats.stalls), (0, 0, [0; 3]), "no request had to wait");
    assert_eq!(frames.balance(), 0, "there is nothing to do");
    assert_eq!(frames.stats().balances, 2);
}

/// What arenas hold is given back first: no cache is asked for what an idle CPU has.
#[test]
fn balancing_takes_what_arenas_hold_before_it_asks_anybody() {
    let frames: &'static _ = Box::leak(Box::new(machine()));
    let marks = frames.zone(ZoneKind::Normal).watermarks;
    for cpu in 1..CPUS {
        Turns::switch_to(cpu);
        for gfp in [Gfp::KERNEL, Gfp::MOVABLE, Gfp::RECLAIMABLE] {
            frames.take(Order::ZERO, gfp).unwrap();
        }
    }
    Turns::switch_to(0);
    let mut held = Vec::new();
    while frames.zone(ZoneKind::Normal).free > marks.high {
        held.push(frames.take(order(4), Gfp::NOWAIT).unwrap());
    }
    frames.add_shrinker(Box::leak(Box::new(Cache(frames, Default::default())))).unwrap();
    assert_eq!(frames.balance(), 0);
    assert!(frames.is_balanced());
    assert_eq!(frames.stats().background_scanned, 0);
}

/// Whose shrinkers say that they give frames, and free none, are not believed for ever.
#[test]
fn balancing_ends_though_a_shrinker_lies() {
    struct Liar;
    impl Shrinker for Liar {
        fn shrink(&self, frames: u64) -> u64 {
            frames
        }
    }
    let frames = machine();
    exhaust(&frames, Gfp::MEMALLOC);
    frames.add_shrinker(&Liar).unwrap();
    assert!(frames.balance() > 0);
    assert!(!frames.is_balanced());
}

/// However many arenas are emptied, there is one barrier; and none for arenas that hold nothing.
#[test]
fn all_arenas_are_stopped_with_one_barrier() {
    let frames = machine();
    for cpu in 0..CPUS {
        Turns::switch_to(cpu);
        allocate_and_free(&frames, Order::ZERO);
    }
    Turns::switch_to(0);
    assert!(frames.cached() > 0);
    machine::take_calls();
    frames.drain();
    assert_eq!((frames.cached(), machine::take_calls().synchronize), (0, 1));
    allocate_and_free(&frames, Order::ZERO);
    frames.drain();
    assert_eq!((frames.cached(), machine::take_calls().synchronize), (0, 0), "nobody else holds anything");
}
