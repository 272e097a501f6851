//! Memory where nothing may wait: interrupt handlers allocate and free, frames and objects, small and large.
#![no_std]
#![no_main]
#![feature(custom_test_frameworks)]
#![test_runner(framework::run)]
#![reexport_test_harness_main = "test_main"]
#![allow(missing_docs, reason = "a test's name says what it tests")]

extern crate alloc;

use alloc::boxed::Box;
use alloc::vec::Vec;
use bifolio::frame::{FRAME_SIZE, Gfp, Order};
use booted::{Hoard, in_interrupt, leaving_nothing};
use core::alloc::Layout;
use core::hint::{self, black_box};
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
use core::time::Duration;
use kernel::cpu::{self, clock};
use kernel::memory::heap::HEAP;
use kernel::memory::{frames, vmalloc};
use kit::Raw;

framework::entry!(test_main);

/// More than any block of frames.
const LARGE: usize = 5 << 20;

fn layout(size: usize) -> Layout {
    Layout::from_size_align(size, 8).expect("a size of a test")
}

#[test_case]
fn handlers_allocate_and_free_frames_and_objects() {
    leaving_nothing(|| {
        in_interrupt(|| {
            for order in Order::all() {
                let pfn = frames().take(order, Gfp::ATOMIC).expect("there is memory");
                frames().give(pfn, order).expect("it was allocated a moment ago");
            }
            for size in [1, 100, 8192, 100_000, 1 << 20] {
                let objects: Vec<Box<[u8]>> = (0..3).map(|_| black_box(alloc::vec![0xa5; size].into())).collect();
                assert!(objects.iter().all(|object| object.iter().all(|&byte| byte == 0xa5)));
            }
        });
    });
}

#[test_case]
fn what_a_handler_frees_of_a_mapping_is_unmapped_later() {
    static OBJECT: AtomicPtr<u8> = AtomicPtr::new(ptr::null_mut());
    fn free() {
        let object = NonNull::new(OBJECT.swap(ptr::null_mut(), Ordering::Relaxed));
        // SAFETY: the object is the test's, which does not use it any more.
        object.into_iter().for_each(|object| unsafe { HEAP.free(object, layout(LARGE)) }.expect("it is live"));
    }
    let in_handler = || {
        let object = HEAP.allocate(layout(LARGE)).expect("there is memory");
        assert!(vmalloc::contains(x86_64::VirtAddr::from_ptr(object.as_ptr())));
        // SAFETY: the object is ours, and this long.
        unsafe { object.write_bytes(0x5a, LARGE) };
        OBJECT.store(object.as_ptr(), Ordering::Relaxed);
        in_interrupt(free);
    };
    let (_, used) = vmalloc::totals();
    leaving_nothing(|| {
        in_handler();
        assert_eq!(HEAP.large_stats().objects(), 0, "the object is freed");
        if cpu::count() == 1 {
            assert!(vmalloc::is_deferred(), "but the handler has not waited for it to be unmapped");
            assert_eq!(vmalloc::free_deferred(), LARGE as u64 / FRAME_SIZE);
        }
        // Another CPU, which idles, does that by itself.
        let start = clock::uptime();
        while vmalloc::totals().1 > used {
            assert!(clock::uptime() - start < Duration::from_secs(10), "nobody unmaps it");
            hint::spin_loop();
        }
        // Or by whoever maps something next.
        in_handler();
        // SAFETY: the mapping is ours, and of that length.
        unsafe { vmalloc::free(vmalloc::allocate(1, 1).expect("there is memory"), 1) }.expect("it is mapped");
        assert!(!vmalloc::is_deferred() && vmalloc::totals().1 == used);
    });
}

#[test_case]
fn who_runs_out_of_memory_gets_what_handlers_have_freed() {
    static OBJECT: AtomicPtr<u8> = AtomicPtr::new(ptr::null_mut());
    let mut hoard = Hoard::new();
    let object = HEAP.allocate(layout(LARGE)).expect("there is memory");
    OBJECT.store(object.as_ptr(), Ordering::Relaxed);
    hoard.take(Gfp::KERNEL | Gfp::NOWARN);
    in_interrupt(|| {
        let object = NonNull::new(OBJECT.load(Ordering::Relaxed)).expect("it was stored before");
        // SAFETY: the object is the test's, which does not use it any more.
        unsafe { HEAP.free(object, layout(LARGE)) }.expect("it is live");
    });
    let before = hoard.frames();
    hoard.take(Gfp::KERNEL | Gfp::NOWARN);
    assert!(hoard.frames() >= before + LARGE as u64 / FRAME_SIZE, "it has been unmapped");
    hoard.give_back();
}

#[test_case]
fn a_handler_gets_from_the_reserves_what_others_do_not() {
    static GOT: AtomicU64 = AtomicU64::new(0);
    let mut hoard = Hoard::new();
    hoard.take(Gfp::KERNEL | Gfp::NOWARN);
    let refused = frames().take(Order::ZERO, Gfp::KERNEL | Gfp::NOWARN).is_err();
    in_interrupt(|| {
        if let Some(object) = HEAP.allocate(layout(FRAME_SIZE as usize * 3)) {
            GOT.store(1, Ordering::Relaxed);
            // SAFETY: the object is ours, and not used any more.
            unsafe { HEAP.free(object, layout(FRAME_SIZE as usize * 3)) }.expect("it is live");
        }
    });
    hoard.give_back();
    assert!(refused && GOT.load(Ordering::Relaxed) == 1);
}

#[test_case]
fn a_handler_maps_nothing_and_is_refused_instead() {
    static REFUSED: AtomicU64 = AtomicU64::new(0);
    in_interrupt(|| {
        REFUSED.store(u64::from(HEAP.allocate(layout(LARGE)).is_none()), Ordering::Relaxed);
    });
    assert_eq!(REFUSED.load(Ordering::Relaxed), 1);
}
