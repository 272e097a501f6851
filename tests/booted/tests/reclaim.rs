//! Memory in the background: a CPU that idles reclaims it when it is low, and gives back what it holds itself.
#![no_std]
#![no_main]
#![feature(custom_test_frameworks)]
#![test_runner(framework::run)]
#![reexport_test_harness_main = "test_main"]
#![allow(missing_docs, reason = "a test's name says what it tests")]

extern crate alloc;

use alloc::boxed::Box;
use alloc::vec::Vec;
use bifolio::allocator::{Shrinker, ZoneStats};
use bifolio::frame::{Gfp, Order, Pfn, ZoneKind};
use booted::Hoard;
use core::hint::{self, black_box};
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use core::time::Duration;
use framework::Snapshot;
use kernel::cpu::{self, clock, timer, work};
use kernel::memory::heap::HEAP;
use kernel::memory::{frames, reclaim};
use kernel::sync::Mutex;
use kit::Raw;

framework::entry!(test_main);

/// How long something that is to happen by itself may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Waits until something has happened: by idling, if there is no other CPU that does.
#[track_caller]
fn wait_until(mut happened: impl FnMut() -> bool) {
    let start = clock::uptime();
    let idles = cpu::count() == 1;
    if idles {
        // It looks around more often than when it must.
        timer::set_period(Duration::from_millis(10));
    }
    while !happened() {
        assert!(clock::uptime() - start < PATIENCE, "it does not happen");
        if idles {
            work::wait();
        }
        hint::spin_loop();
    }
    if idles {
        timer::set_period(Duration::ZERO);
    }
}

/// Is at work for so long.
fn pause(time: Duration) {
    let start = clock::uptime();
    while clock::uptime() - start < time {
        hint::spin_loop();
    }
}

/// Frames that could be done without.
struct Cache {
    frames: Mutex<Vec<Pfn>>,
    /// Whether it gives any.
    gives: AtomicBool,
}

impl Shrinker for Cache {
    fn shrink(&self, frames: u64) -> u64 {
        if !self.gives.load(Ordering::Acquire) {
            return 0;
        }
        let mut given = 0;
        while given < frames
            && let Some(pfn) = { self.frames.lock().pop() }
        {
            kernel::memory::frames().give(pfn, Order::ZERO).expect("the cache has it");
            given += 1;
        }
        given
    }
}

/// The zone that most requests are served from: the highest that has any memory.
fn top() -> ZoneStats {
    let zones = ZoneKind::ALL.map(|kind| frames().zone(kind));
    zones.into_iter().rfind(|zone| zone.managed > 0).expect("there is memory")
}

/// Takes all memory, but for so much that requests that may wait need not do so, though it is low.
fn run_low(hoard: &mut Hoard, single: &mut Vec<Pfn>) {
    let marks = top().watermarks;
    hoard.take(Gfp::KERNEL | Gfp::NOWARN);
    while top().free <= (marks.min + marks.low) / 2 {
        frames().give(single.pop().expect("there are more of them"), Order::ZERO).expect("it was allocated");
        frames().drain();
    }
    assert!(top().free < marks.low && !frames().is_balanced());
    // The other CPUs have nothing to do any more, so that nothing else wakes them.
    pause(3 * reclaim::DECAY);
}

#[test_case]
fn what_comes_below_low_is_soon_above_high_and_nobody_has_waited() {
    static CACHE: Cache = Cache { frames: Mutex::new("test cache", Vec::new()), gives: AtomicBool::new(false) };
    let before = Snapshot::take();
    let room = (2 * top().watermarks.high) as usize;
    let mut single: Vec<Pfn> = Vec::with_capacity(room);
    let mut cached = Vec::with_capacity(room);
    let mut hoard = Hoard::new();
    for list in [&mut single, &mut cached] {
        list.extend((0..room).map(|_| frames().take(Order::ZERO, Gfp::KERNEL).expect("there is memory")));
    }
    *CACHE.frames.lock() = cached;
    frames().add_shrinker(&CACHE).expect("there is room for it");
    run_low(&mut hoard, &mut single);
    let stats = frames().stats();
    CACHE.gives.store(true, Ordering::Release);
    let start = clock::uptime();
    wait_until(|| {
        let pfn = frames().take(Order::ZERO, Gfp::KERNEL).expect("there is memory");
        frames().give(pfn, Order::ZERO).expect("it was allocated a moment ago");
        frames().stats().background_reclaimed > stats.background_reclaimed
    });
    assert!(clock::uptime() - start < reclaim::DECAY / 2, "not at once: {:?}", clock::uptime() - start);
    wait_until(|| {
        frames().drain();
        frames().is_balanced()
    });
    let after = frames().stats();
    assert_eq!((after.scanned, after.refused), (stats.scanned, stats.refused), "no request asked shrinkers itself");

    assert!(frames().remove_shrinker(&CACHE));
    hoard.give_back();
    let cached = core::mem::take(&mut *CACHE.frames.lock());
    assert!(cached.len() < room);
    single.into_iter().chain(cached).for_each(|pfn| frames().give(pfn, Order::ZERO).expect("it was allocated"));
    drop(hoard);
    assert_eq!(Snapshot::take(), before);
}

/// Something that takes its time when it is first asked for frames, and has none.
struct Slow {
    /// The CPU that asks first, plus one.
    first: AtomicUsize,
    /// It may have its answer soon.
    done: AtomicBool,
    /// Another one has asked.
    other: AtomicBool,
}

impl Shrinker for Slow {
    fn shrink(&self, _: u64) -> u64 {
        let cpu = cpu::current() + 1;
        match self.first.compare_exchange(0, cpu, Ordering::SeqCst, Ordering::SeqCst) {
            Ok(_) => {
                wait_until(|| self.done.load(Ordering::SeqCst));
                pause(Duration::from_millis(20));
            }
            Err(first) if first != cpu => self.other.store(true, Ordering::SeqCst),
            Err(_) => {}
        }
        0
    }
}

#[test_case]
fn memory_that_was_low_while_a_cpu_reclaimed_is_another_ones_business_if_that_has_work() {
    static SLOW: Slow =
        Slow { first: AtomicUsize::new(0), done: AtomicBool::new(false), other: AtomicBool::new(false) };
    if cpu::count() < 3 {
        return;
    }
    let before = Snapshot::take();
    let room = (2 * top().watermarks.high) as usize;
    let mut single: Vec<Pfn> = Vec::with_capacity(room);
    let mut hoard = Hoard::new();
    single.extend((0..room).map(|_| frames().take(Order::ZERO, Gfp::KERNEL).expect("there is memory")));
    run_low(&mut hoard, &mut single);
    frames().add_shrinker(&SLOW).expect("there is room for it");
    let request = || {
        let pfn = frames().take(Order::ZERO, Gfp::KERNEL).expect("there is memory");
        frames().give(pfn, Order::ZERO).expect("it was allocated a moment ago");
        frames().drain();
    };
    wait_until(|| {
        request();
        SLOW.first.load(Ordering::SeqCst) != 0
    });
    // Whoever is woken by these finds somebody at it, and sleeps again.
    for _ in 0..3 {
        request();
        pause(Duration::from_millis(10));
    }
    SLOW.done.store(true, Ordering::SeqCst);
    cpu::on(SLOW.first.load(Ordering::SeqCst) - 1, &|_| wait_until(|| SLOW.other.load(Ordering::SeqCst)));

    assert!(frames().remove_shrinker(&SLOW));
    hoard.give_back();
    single.into_iter().for_each(|pfn| frames().give(pfn, Order::ZERO).expect("it was allocated"));
    drop(hoard);
    assert_eq!(Snapshot::take(), before);
}

/// Frames that the pages of a CPU hold.
fn held_by(cpu: usize) -> u64 {
    let of_zone = |kind| frames().held(cpu, kind);
    ZoneKind::ALL.into_iter().map(of_zone).sum()
}

/// The slabs that are a CPU's own.
fn slabs_of(cpu: usize) -> usize {
    HEAP.arena_stats(Some(cpu)).map_or(0, |arena| arena.slabs)
}

/// Uses this CPU's pages and its arena of the heap, which keep something of that.
fn use_frames_and_heap() {
    drop(black_box(Box::new([0_u64; 9])));
    for mobility in [Gfp::empty(), Gfp::MOVABLE, Gfp::RECLAIMABLE] {
        let pfn = frames().take(Order::ZERO, Gfp::KERNEL | mobility).expect("there is memory");
        frames().give(pfn, Order::ZERO).expect("it was allocated a moment ago");
    }
}

#[test_case]
fn a_cpu_that_idles_gives_back_what_it_holds() {
    frames().drain();
    let start = clock::uptime();
    if cpu::count() == 1 {
        reclaim::postpone_decay();
        use_frames_and_heap();
        assert!(held_by(0) > 0 && slabs_of(0) > 0);
        wait_until(|| held_by(0) == 0 && slabs_of(0) == 0);
    } else {
        cpu::on_cpus(cpu::count(), &|_| use_frames_and_heap());
        let others: Vec<usize> = work::online().filter(|&cpu| cpu != cpu::current()).collect();
        assert!(others.iter().any(|&cpu| held_by(cpu) > 0) && others.iter().any(|&cpu| slabs_of(cpu) > 0));
        wait_until(|| others.iter().all(|&cpu| held_by(cpu) == 0 && slabs_of(cpu) == 0));
        assert!(held_by(cpu::current()) > 0 && slabs_of(cpu::current()) > 0, "this one does not idle");
    }
    assert!(clock::uptime() - start >= reclaim::DECAY, "but not at once");
}

#[test_case]
fn a_cpu_that_starts_again_has_what_it_holds_looked_at_whatever_its_timer_did_before() {
    let Some(other) = work::online().find(|&cpu| cpu != 0 && cpu != cpu::current()) else { return };
    // So slowly that it is no help.
    cpu::on(other, &|_| timer::set_period(10 * PATIENCE));
    cpu::stop(other);
    cpu::start(other).expect("the CPU ran before");
    cpu::on(other, &|_| use_frames_and_heap());
    assert!(held_by(other) > 0);
    wait_until(|| held_by(other) == 0);
}

#[test_case]
fn a_cpu_that_is_at_work_again_and_again_keeps_what_it_holds() {
    let own = cpu::current();
    let worker = work::online().find(|&cpu| cpu != own).unwrap_or(own);
    let start = clock::uptime();
    while clock::uptime() - start < 3 * reclaim::DECAY {
        if worker == own {
            // The only CPU has work as the shell has: between the times that it idles.
            reclaim::postpone_decay();
            use_frames_and_heap();
        } else {
            cpu::on(worker, &|_| use_frames_and_heap());
        }
        // Each finds what the one before has left: it is not gone as soon as there is nothing to do.
        assert!(held_by(worker) > 0);
        let end = clock::uptime() + reclaim::DECAY / 20;
        wait_until(|| clock::uptime() >= end);
        assert!(held_by(worker) > 0, "after {:?}", clock::uptime() - start);
    }
}
