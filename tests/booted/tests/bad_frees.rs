//! Bad frees of every kind: each is named, and changes nothing.
#![no_std]
#![no_main]
#![feature(custom_test_frameworks)]
#![test_runner(framework::run)]
#![reexport_test_harness_main = "test_main"]
#![allow(missing_docs, reason = "a test's name says what it tests")]

extern crate alloc;

use alloc::format;
use alloc::string::ToString;
use alloc::vec::Vec;
use bifolio::error::FreeError;
use bifolio::frame::{Gfp, Order, Pfn};
use bifolio::heap::{HeapError, SizeClass, SlabDebug};
use bifolio::memory_map::RegionKind;
use bifolio::report::PastCall;
use booted::frame_of;
use core::alloc::{GlobalAlloc, Layout};
use core::ptr::NonNull;
use framework::Snapshot;
use kernel::host::Input;
use kernel::memory::heap::HEAP;
use kernel::memory::{MEMORY, frames, map::map};
use kit::Raw;
use x86_64::VirtAddr;
use x86_64::structures::paging::{FrameAllocator, FrameDeallocator};

framework::entry!(test_main);

/// Frees what must not be freed, and returns what is said about it. The frames must be as before.
#[track_caller]
fn refused(pfn: Pfn, order: Order) -> FreeError {
    let before = Snapshot::take();
    let error = frames().give(pfn, order).expect_err("a bad free was taken");
    assert_eq!(Snapshot::take(), before, "{error}");
    frames().validate().unwrap();
    error
}

fn order(order: u8) -> Order {
    Order::new(order).unwrap()
}

#[test_case]
fn a_double_free_is_named_at_every_order() {
    for order in Order::all() {
        let pfn = frames().take(order, Gfp::KERNEL).unwrap();
        frames().give(pfn, order).unwrap();
        assert_eq!(refused(pfn, order), FreeError::AlreadyFree(pfn));
    }
}

#[test_case]
fn a_free_of_another_order_is_named_at_every_order() {
    for actual in Order::all() {
        let pfn = frames().take(actual, Gfp::KERNEL).unwrap();
        let before = Snapshot::take();
        for given in Order::all().filter(|given| *given != actual) {
            assert_eq!(frames().give(pfn, given), Err(FreeError::WrongOrder { pfn, given, actual }));
        }
        assert_eq!(Snapshot::take(), before);
        frames().give(pfn, actual).unwrap();
    }
}

#[test_case]
fn a_free_inside_a_block_is_named_with_the_block() {
    for order in Order::all().skip(1) {
        let head = frames().take(order, Gfp::KERNEL).unwrap();
        for inside in [1, order.frames() / 2, order.frames() - 1] {
            let pfn = head.offset(inside);
            assert_eq!(refused(pfn, Order::ZERO), FreeError::Interior { pfn, head, order });
        }
        frames().give(head, order).unwrap();
    }
}

#[test_case]
fn a_free_of_reserved_memory_is_named() {
    let data = 0_u64;
    let kernel = frame_of(VirtAddr::from_ptr(&raw const data));
    let metadata = frames().metadata();
    for pfn in [metadata.start, metadata.end.offset(0_u64.wrapping_sub(1))] {
        assert_eq!(refused(pfn, Order::ZERO), FreeError::Reserved(pfn));
    }
    for pfn in [Pfn::new(0), Pfn::new(0x9f), kernel] {
        let error = refused(pfn, Order::ZERO);
        assert!(matches!(error, FreeError::Reserved(_) | FreeError::NotManaged(_)), "{error}");
    }
}

#[test_case]
fn a_free_of_what_is_not_ram_is_named() {
    let end = RegionKind::ALL.into_iter().flat_map(|kind| map().ranges(kind)).map(|range| range.end).max().unwrap();
    for pfn in [end, end.offset(1 << 20), Pfn::containing(0xfec0_0000), Pfn::new(u64::MAX)] {
        let error = refused(pfn, Order::ZERO);
        assert!(matches!(error, FreeError::NotManaged(_) | FreeError::Reserved(_)), "{error}");
    }
    assert_eq!(refused(Pfn::new(u64::MAX), Order::MAX), FreeError::NotManaged(Pfn::new(u64::MAX)));
}

#[test_case]
fn a_frame_that_nobody_allocated_is_not_freed() {
    let pfn = frames().take(order(4), Gfp::KERNEL).unwrap();
    frames().give(pfn, order(4)).unwrap();
    for order in Order::all() {
        assert_eq!(refused(pfn, order), FreeError::AlreadyFree(pfn));
    }
    assert_eq!(refused(pfn.offset(3), Order::ZERO), FreeError::AlreadyFree(pfn.offset(3)));
}

#[test_case]
fn every_error_says_which_frame() {
    let pfn = frames().take(order(2), Gfp::KERNEL).unwrap();
    for (pfn, order) in [(pfn, Order::ZERO), (pfn.offset(1), Order::ZERO), (Pfn::new(3), Order::ZERO)] {
        let text = alloc::format!("{}", refused(pfn, order));
        assert!(text.contains(&alloc::format!("{pfn}")), "{text}");
    }
    frames().give(pfn, order(2)).unwrap();
}

framework::should_panic! {
    // That crate's trait has no error. What becomes of memory then, the facade's own tests see.
    fn a_frame_of_the_x86_64_crates_that_is_freed_twice_ends_in_a_panic() {
        let frame = MEMORY.frames().allocate_frame().unwrap();
        for _ in 0..2 {
            // SAFETY: nothing uses the frame; the second free is wrong on purpose.
            unsafe { MEMORY.frames().deallocate_frame(frame) };
        }
    }
}

#[test_case]
fn bad_frees_on_the_heap_are_named_and_change_nothing() {
    // SAFETY: of these frees, those that are not wrong free an object that nobody uses; the others are refused.
    let free = |object: NonNull<u8>, layout| unsafe { HEAP.free(object, layout) };
    let layout = Layout::new::<[u64; 12]>();
    let objects: Vec<NonNull<u8>> = (0..3).map(|_| HEAP.allocate(layout).unwrap()).collect();
    let object = objects[1];
    let before = Snapshot::take();

    let interior = free(object.map_addr(|address| address.saturating_add(8)), layout);
    assert!(matches!(interior, Err(HeapError::Interior { offset: 8, .. })), "{interior:?}");

    let wrong = free(object, Layout::new::<[u64; 100]>());
    assert!(matches!(wrong, Err(HeapError::WrongLayout { given: 800, actual: 96, .. })), "{wrong:?}");

    let mut local = [0_u8; 96];
    let foreign = free(NonNull::from(&mut local).cast(), layout);
    assert!(matches!(foreign, Err(HeapError::Foreign { .. })), "{foreign:?}");

    free(object, layout).unwrap();
    let double = free(object, layout);
    assert!(matches!(double, Err(HeapError::DoubleFree { .. })), "{double:?}");

    HEAP.validate().unwrap();
    assert_eq!(Snapshot::take(), before, "the slab has other objects, so its frames stay");
    free(objects[0], layout).unwrap();
    free(objects[2], layout).unwrap();
}

#[test_case]
fn a_bad_free_is_reported_with_who_allocated_and_who_freed_it() {
    let layout = Layout::new::<[u64; 12]>();
    let class = SizeClass::of(layout).unwrap();
    assert!(HEAP.set_debug(class, SlabDebug::STORE_USER));
    let object = HEAP.allocate(layout).unwrap();
    let allocated = line!() - 1;
    // SAFETY: the object is ours, and not used afterwards.
    unsafe { HEAP.free(object, layout) }.unwrap();
    let freed = line!() - 1;
    // SAFETY: that is wrong on purpose, and refused.
    let error = unsafe { HEAP.free(object, layout) }.unwrap_err();
    let report = HEAP.report(&error).to_string();
    for (did, line) in [("allocated on CPU", allocated), ("freed at", freed)] {
        let told = report.split(did).nth(1).is_some_and(|rest| rest.contains(&format!("bad_frees.rs:{line}:")));
        assert!(told, "no '{did}' line {line} in: {report}");
    }
    assert!(HEAP.set_debug(class, SlabDebug::empty()));
}

/// Functions that the calls which led to an operation are told by.
mod sites {
    use super::*;

    #[inline(never)]
    pub fn allocate(layout: Layout) -> NonNull<u8> {
        HEAP.allocate(layout).unwrap()
    }

    #[inline(never)]
    pub fn free(object: NonNull<u8>, layout: Layout) {
        // SAFETY: the object is ours, and not used afterwards.
        unsafe { HEAP.free(object, layout) }.unwrap();
    }

    #[inline(never)]
    pub fn take() -> Pfn {
        frames().take(Order::ZERO, Gfp::KERNEL).unwrap()
    }

    #[inline(never)]
    pub fn give(pfn: Pfn) {
        frames().give(pfn, Order::ZERO).unwrap();
    }
}

#[test_case]
fn where_operations_are_recorded_a_bad_free_is_reported_with_the_last_ones_there_and_who_asked_for_them() {
    /// More than any of those functions is long.
    const LENGTH: u64 = 2048;
    let layout = Layout::new::<[u64; 12]>();
    let object = sites::allocate(layout);
    sites::free(object, layout);
    // SAFETY: that is wrong on purpose, and refused.
    let error = unsafe { HEAP.free(object, layout) }.unwrap_err();
    let on_heap = HEAP.report(&error).last;
    let pfn = sites::take();
    sites::give(pfn);
    let error = frames().give(pfn, Order::ZERO).unwrap_err();
    let on_frames = frames().report(&error).last;
    let is_recorded = Input::read(protocol::input::TRACE).is_given();
    let [allocate, free] = [sites::allocate as *const () as u64, sites::free as *const () as u64];
    let [take, give] = [sites::take as *const () as u64, sites::give as *const () as u64];
    // The function that an address is in, of those.
    let function = |at: u64| {
        let starts = [allocate, free, take, give].into_iter().filter(|start| (*start..start + LENGTH).contains(&at));
        starts.max()
    };
    let site = |past: &PastCall| past.callers.iter().find_map(|&at| function(at));
    for (last, allocates, frees) in [(on_heap, allocate, free), (on_frames, take, give)] {
        if !is_recorded {
            assert_eq!(last.calls().count(), 0, "{last}");
            continue;
        }
        let [refused, freed, allocated] = *last.calls().take(3).collect::<Vec<_>>() else { panic!("too few: {last}") };
        assert!(refused.returned.is_none() && freed.returned == Some(0) && allocated.returned.is_some(), "{last}");
        assert_eq!([site(freed), site(allocated)], [Some(frees), Some(allocates)], "{last}");
        assert!(last.calls().take(3).all(|past| past.cpu == 0), "{last}");
    }
}

framework::should_panic! {
    fn a_double_free_through_the_global_allocator_is_not_taken_in_silence() {
        let layout = Layout::new::<[u64; 12]>();
        // Through the trait, since the compiler may leave out calls of `alloc` and `dealloc` that it sees through.
        // SAFETY: the second free is wrong on purpose, and never returns.
        unsafe {
            let keeps_the_slab = GlobalAlloc::alloc(HEAP, layout);
            let object = GlobalAlloc::alloc(HEAP, layout);
            GlobalAlloc::dealloc(HEAP, object, layout);
            GlobalAlloc::dealloc(HEAP, object, layout);
            GlobalAlloc::dealloc(HEAP, keeps_the_slab, layout);
        }
    }
}
