//! Each request for frames of a workload that uses everything, refused alone, and all from it on: no panic, nothing lost, the first state
//! back.
#![no_std]
#![no_main]
#![feature(custom_test_frameworks)]
#![test_runner(framework::run)]
#![reexport_test_harness_main = "test_main"]
#![allow(missing_docs, reason = "a test's name says what it tests")]

extern crate alloc;

use bifolio::frame::{FRAME_SIZE, ZoneKind};
use bifolio::heap::HeapFrames;
use booted::pages::{EMPTY, free_empty_tables, map, unmap};
use core::alloc::Layout;
use core::cell::UnsafeCell;
use core::ptr::NonNull;
use framework::Snapshot;
use kernel::cpu;
use kernel::memory::heap::HEAP;
use kernel::memory::{MEMORY, frames, vmalloc};
use kernel::println;
use kernel::sync::FAULTS;
use kit::everything::Everything;
use x86_64::instructions::interrupts;
use x86_64::structures::paging::{Page, Size4KiB};

framework::entry!(test_main);

const FRAME: usize = FRAME_SIZE as usize;

/// What is to be as it was each time: free frames, what the heap has of them, pages and address space of mappings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Counts {
    free: [u64; ZoneKind::COUNT],
    heap: HeapFrames,
    mapped: u64,
    address_space: u64,
}

impl Counts {
    fn take() -> Self {
        HEAP.shrink();
        frames().drain();
        let free = ZoneKind::ALL.map(|kind| frames().zone(kind).free);
        Self { free, heap: HEAP.frames(), mapped: vmalloc::pages(), address_space: vmalloc::totals().1 }
    }
}

/// What another CPU is to do, while the one that lends it waits.
struct Lent<'a>(UnsafeCell<&'a mut dyn FnMut()>);

// SAFETY: it is run once, by the one CPU that is asked, and the CPU that asks does not go on before that is done.
unsafe impl Sync for Lent<'_> {}

impl Lent<'_> {
    /// # Safety
    /// This CPU is the only one that runs it.
    unsafe fn run(&self) {
        // SAFETY: by this function's contract no other CPU runs it, and the CPU that lends it waits in `elsewhere`, without touching it.
        unsafe { (*self.0.get())() };
    }
}

/// Has the last CPU do something, which is this one where it is alone.
fn elsewhere(work: &mut dyn FnMut()) {
    let lent = Lent(UnsafeCell::new(work));
    let last = cpu::online().last().expect("this one runs");
    // SAFETY: one CPU is asked.
    cpu::on(last, &|_| unsafe { lent.run() });
}

/// Mappings that grow and shrink where they are, and are freed at once, or where nothing may wait.
fn use_mappings() {
    for (pages, more, is_masked) in [(3, 2, true), (512, 514, false)] {
        let Some(start) = vmalloc::allocate(pages, 1) else { continue };
        // SAFETY: the mapping is ours, as long as is said, and nobody uses what is cut off, nor any of it once it is freed.
        unsafe {
            let held = if vmalloc::resize(start, pages, pages + more) { pages + more } else { pages };
            [0, held - 1].into_iter().for_each(|page| start.add(page as usize * FRAME).write_volatile(1));
            assert!(vmalloc::resize(start, held, 2), "less is always to be had");
            let free = || vmalloc::free(start, 2).expect("it was mapped a moment ago");
            if is_masked { interrupts::without_interrupts(free) } else { free() }
        }
    }
    vmalloc::free_deferred();
}

/// An object that is too large for any block of frames.
fn use_a_huge_object() {
    let layout = Layout::from_size_align((4 << 20) + FRAME, FRAME).expect("a layout");
    let Some(object) = HEAP.allocate(layout) else { return };
    let larger = layout.size() + 3 * FRAME;
    let mark = |object: NonNull<u8>, size: usize| {
        // SAFETY: the object is ours, and so long.
        [0, size - 1].into_iter().for_each(|offset| unsafe { object.add(offset).write_volatile(1) });
    };
    mark(object, layout.size());
    // SAFETY: the object is ours; what comes back is it from here on, as long as it was asked to be, and is used no more once it is freed.
    unsafe {
        let (object, size) = match HEAP.reallocate(object, layout, larger).expect("the object is live") {
            Some(object) => (object, larger),
            None => (object, layout.size()),
        };
        mark(object, size);
        HEAP.free(object, Layout::from_size_align(size, FRAME).expect("a layout")).expect("it was allocated");
    }
}

/// A page where nothing is mapped, and all tables on the way to it.
fn use_page_tables() {
    let page = Page::<Size4KiB>::containing_address(EMPTY);
    if map(page, MEMORY.frames()).is_ok() {
        unmap(page, MEMORY.frames());
    }
    free_empty_tables();
}

/// Does everything, with requests refused, so many behind so many that are served. Whether any was.
fn run(everything: &mut Everything, served: usize, refused: usize) -> bool {
    FAULTS.begin(served, refused);
    everything.run(frames(), HEAP, elsewhere);
    use_mappings();
    use_a_huge_object();
    use_page_tables();
    FAULTS.end() > 0
}

/// Refuses so many requests from the n-th on, for each n until none is left to be refused, and asserts each time that nothing is lost,
/// and every so often that each frame is as it was and everything sound. Returns n then.
fn refuse_each(refused: usize) -> usize {
    const OFTEN: usize = 16;
    // What an idle CPU has from its start it would give back meanwhile.
    cpu::online().skip(1).for_each(|cpu| cpu::on(cpu, &|_| HEAP.retire_cpu()));
    let mut everything = Everything::new();
    assert!(!run(&mut everything, 0, 0), "nothing is to be refused");
    let before = (Snapshot::take(), Counts::take());
    let is_last = |served: &usize| {
        let was_refused = run(&mut everything, *served, refused);
        assert_eq!(Counts::take(), before.1, "{refused} refused behind {served}");
        if !was_refused || served.is_multiple_of(OFTEN) {
            frames().validate().and(HEAP.validate()).expect("all is sound");
            assert_eq!(Snapshot::take(), before.0, "{refused} refused behind {served}, or a few less");
        }
        !was_refused
    };
    let requests = (0..).find(is_last).expect("the workload has an end");
    assert!(requests > 200, "{requests} requests");
    requests
}

#[test_case]
fn each_request_for_frames_can_fail_alone() {
    println!("{} requests for frames, each refused alone", refuse_each(1));
}

#[test_case]
fn all_requests_for_frames_can_fail_from_any_on() {
    println!("{} requests for frames, all refused from each on", refuse_each(usize::MAX));
}
