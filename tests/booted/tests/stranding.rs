//! No CPU can strand memory: what one has in its pages and its arena of the heap when it stops, another gets to the last frame and the last slot.
//!
//! On a machine with a single CPU it is the same one that fills them and that needs what they hold.
#![no_std]
#![no_main]
#![feature(custom_test_frameworks)]
#![test_runner(framework::run)]
#![reexport_test_harness_main = "test_main"]
#![allow(missing_docs, reason = "a test's name says what it tests")]

extern crate alloc;

use alloc::vec::Vec;
use bifolio::frame::{Gfp, Order, Pfn, ZoneKind};
use bifolio::heap::{CacheStats, SizeClass};
use booted::{Hoard, frames_free, leaving_nothing};
use core::alloc::Layout;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicUsize, Ordering};
use framework::Snapshot;
use kernel::cpu::{self, ipi};
use kernel::memory::frames;
use kernel::memory::heap::HEAP;
use kernel::sync::Mutex;
use kit::Raw;

framework::entry!(test_main);

/// The flags with which the last frame can be had, without a report when there is none.
const ALL: Gfp = Gfp::KERNEL.union(Gfp::MEMALLOC).union(Gfp::NOWARN);

/// A CPU that is to stop: the last, which is not the one that tests run on unless there is no other.
fn victim() -> usize {
    cpu::online().last().expect("this CPU runs")
}

/// Runs something while a CPU is stopped, if it is another.
fn while_stopped<R>(cpu: usize, work: impl FnOnce() -> R) -> R {
    if cpu == cpu::current() {
        return work();
    }
    cpu::stop(cpu);
    let result = work();
    cpu::start(cpu).expect("the CPU ran before");
    result
}

/// Frames that a CPU's pages hold.
fn held_by(cpu: usize) -> u64 {
    ZoneKind::ALL.iter().map(|kind| frames().held(cpu, *kind)).sum()
}

/// Has this CPU's pages hold something of each order and mobility: as much as a zone lends at once.
fn fill_pages() {
    let mobilities = [Gfp::KERNEL, Gfp::KERNEL | Gfp::MOVABLE, Gfp::KERNEL | Gfp::RECLAIMABLE];
    for order in (0..4).filter_map(Order::new) {
        for gfp in mobilities {
            let pfn = frames().take(order, gfp).expect("there is memory");
            frames().give(pfn, order).expect("it was allocated so");
        }
    }
}

#[test_case]
fn every_frame_in_the_pages_of_a_cpu_that_stopped_is_allocated_by_another() {
    let before = Snapshot::take();
    let mut hoard = Hoard::new();
    let free = frames_free();
    cpu::on(victim(), &|_| fill_pages());
    let held = held_by(victim());
    // A word at least. Where memory is small there may be none that has room for another mobility.
    assert!(held >= 64, "its pages hold {held} frames");
    while_stopped(victim(), || {
        hoard.take(ALL);
        assert_eq!((hoard.frames(), frames_free(), held_by(victim())), (free, 0, 0));
        hoard.give_back();
    });
    drop(hoard);
    assert_eq!(Snapshot::take(), before);
}

#[test_case]
fn frames_that_were_freed_on_a_cpu_that_stopped_are_allocated_by_another() {
    let before = Snapshot::take();
    let mut hoard = Hoard::new();
    let free = frames_free();
    // Others' frames, of many words, none of them on loan to the CPU that frees them.
    let mut words = Vec::<Pfn>::with_capacity(64 * 32);
    (0..64 * 32).for_each(|_| words.push(frames().take(Order::ZERO, Gfp::KERNEL).expect("there is memory")));
    let words = Mutex::new("test", words);
    let take = || words.lock().pop();
    cpu::on(victim(), &|_| {
        while let Some(pfn) = take() {
            frames().give(pfn, Order::ZERO).expect("it was allocated so");
        }
    });
    drop(words);
    HEAP.shrink();
    while_stopped(victim(), || {
        hoard.take(ALL);
        assert_eq!((hoard.frames(), frames_free()), (free, 0));
        hoard.give_back();
    });
    drop(hoard);
    assert_eq!(Snapshot::take(), before);
}

/// Objects that go from CPU to CPU.
struct Objects(Vec<NonNull<u8>>);

// SAFETY: objects are memory that any CPU may use and free.
unsafe impl Send for Objects {}

impl Objects {
    fn allocate(&mut self, layout: Layout) -> bool {
        match HEAP.allocate(layout) {
            Some(object) if self.0.len() < self.0.capacity() => {
                self.0.push(object);
                true
            }
            Some(_) => panic!("there are more objects than expected"),
            None => false,
        }
    }

    fn free(&mut self, layout: Layout, count: usize) {
        for object in self.0.drain(self.0.len() - count..) {
            // SAFETY: it was allocated so, and nobody uses it.
            unsafe { HEAP.free(object, layout) }.expect("it is live");
        }
    }
}

#[test_case]
fn every_slot_of_a_cpu_that_stopped_is_allocated_by_another() {
    for size in [8, 64, 200, 1024, 4096] {
        leaving_nothing(|| {
            let layout = Layout::from_size_align(size, 8).expect("it is a layout");
            let class = SizeClass::of(layout).expect("it has a class");
            let theirs = Mutex::new("test", Objects(Vec::with_capacity(2000)));
            cpu::on(victim(), &|_| (0..2000).for_each(|_| assert!(theirs.lock().allocate(layout))));
            // All but a few are freed where they were allocated, some elsewhere: free slots of both kinds, in slabs that stay.
            cpu::on(victim(), &|_| theirs.lock().free(layout, 1700));
            theirs.lock().free(layout, 290);
            let free = |stats: CacheStats| stats.objects - stats.active_objects;
            // Lists that need no memory of the heap's later.
            let mut ours = Objects(Vec::with_capacity(free(HEAP.cache_stats(class)) + 64));
            let mut hoard = Hoard::new();
            while_stopped(victim(), || {
                // Not one frame is left, so that what is allocated now is what there is in slabs, those that are empty
                // having been given back for want of memory.
                hoard.take(ALL);
                let free = free(HEAP.cache_stats(class));
                assert!(free > 0, "{size} bytes: no slab has a free slot");
                while ours.allocate(layout) {}
                assert_eq!(ours.0.len(), free, "{size} bytes: a free slot was refused, or frames came from somewhere");
                hoard.give_back();
                let count = ours.0.len();
                ours.free(layout, count);
            });
            let mut theirs = theirs.lock();
            let count = theirs.0.len();
            theirs.free(layout, count);
        });
    }
}

#[test_case]
fn what_is_freed_for_a_cpu_that_stopped_is_not_lost() {
    let sizes = [16, 100, 2000, 8000, 20_000, 5 << 20];
    leaving_nothing(|| {
        let layouts = sizes.map(|size| Layout::from_size_align(size, 8).expect("it is a layout"));
        let theirs = Mutex::new("test", Objects(Vec::with_capacity(100 * sizes.len())));
        // The largest two of a machine of 64 MiB.
        let counts = [100, 100, 100, 50, 10, 2];
        for (layout, count) in layouts.into_iter().zip(counts) {
            cpu::on(victim(), &|_| {
                // Not with the lock held: a mapping waits.
                for _ in 0..count {
                    let object = HEAP.allocate(layout).expect("there is memory");
                    theirs.lock().0.push(object);
                }
            });
        }
        while_stopped(victim(), || {
            let mut theirs = core::mem::take(&mut theirs.lock().0);
            for (layout, count) in layouts.into_iter().zip(counts).rev() {
                for object in theirs.drain(theirs.len() - count..) {
                    // SAFETY: it was allocated so, and nobody uses it.
                    unsafe { HEAP.free(object, layout) }.expect("it is live");
                }
            }
        });
    });
}

#[test_case]
fn frames_that_all_cpus_hand_round_come_back() {
    let before = Snapshot::take();
    let cpus = cpu::count();
    {
        let rounds: Vec<Mutex<Vec<Pfn>>> = (0..cpus).map(|_| Mutex::new("test", Vec::with_capacity(512))).collect();
        let arrived = AtomicUsize::new(0);
        let meet = |times: usize| {
            arrived.fetch_add(1, Ordering::SeqCst);
            while arrived.load(Ordering::SeqCst) < times * cpus {
                ipi::relax();
            }
        };
        cpu::on_cpus(cpus, &|cpu| {
            for round in 0..8 {
                let mine = &rounds[cpu];
                for _ in 0..512 {
                    let pfn = frames().take(Order::ZERO, Gfp::KERNEL).expect("there is memory");
                    mine.lock().push(pfn);
                }
                meet(2 * round + 1);
                let next = &rounds[(cpu + 1) % cpus];
                while let Some(pfn) = { next.lock().pop() } {
                    frames().give(pfn, Order::ZERO).expect("it was allocated so");
                }
                meet(2 * round + 2);
            }
        });
    }
    assert_eq!(Snapshot::take(), before);
}
