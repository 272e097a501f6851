//! Hardening in a kernel: what is switched on is done on every CPU, whatever the others do meanwhile.
#![no_std]
#![no_main]
#![feature(custom_test_frameworks)]
#![test_runner(framework::run)]
#![reexport_test_harness_main = "test_main"]
#![allow(missing_docs, reason = "a test's name says what it tests")]

extern crate alloc;

use alloc::vec::Vec;
use bifolio::frame::{FRAME_SIZE, Gfp, Order};
use bifolio::hardening::Hardening;
use core::alloc::Layout;
use core::ptr::NonNull;
use core::slice;
use core::time::Duration;
use framework::Snapshot;
use kernel::cpu;
use kernel::machine::Machine;
use kernel::memory::frames;
use kernel::memory::heap::HEAP;
use kernel::memory::paging::to_virtual;
use stress::{Failure, Plan};
use x86_64::PhysAddr;

framework::entry!(test_main);

/// What is written where nobody is to find it.
const SECRET: u8 = 0xa5;

fn harden(hardening: Hardening) {
    frames().harden(hardening).expect("frames are seen in the window");
    HEAP.harden(hardening);
}

/// What the CPU's next frame holds, and the next object of this layout; they are freed with something else in them.
fn next(layout: Layout) -> (bool, bool) {
    let is_zero = |bytes: &mut [u8]| {
        let is_zero = bytes.iter().all(|&byte| byte == 0);
        bytes.fill(SECRET);
        is_zero
    };
    let block = frames().allocate(Order::ZERO, Gfp::KERNEL).expect("there is memory");
    let start: *mut u8 = to_virtual(PhysAddr::new(block.pfn().address())).as_mut_ptr();
    let object = HEAP.allocate(layout).expect("there is memory");
    // SAFETY: the frame is ours, and the window shows it; the object is ours, and so long.
    let (frame, bytes) = unsafe {
        let frame = slice::from_raw_parts_mut(start, FRAME_SIZE as usize);
        (frame, slice::from_raw_parts_mut(object.as_ptr(), layout.size()))
    };
    let are_zero = (is_zero(frame), is_zero(bytes));
    frames().free(block).expect("it was allocated just now");
    // SAFETY: it is ours, and used no more.
    unsafe { HEAP.free(object, layout) }.expect("it was allocated just now");
    are_zero
}

#[test_case]
fn what_is_allocated_or_was_freed_holds_zeros_where_that_is_switched_on() {
    let layout = Layout::new::<[u64; 12]>();
    let keeps_the_slab = HEAP.allocate(layout).expect("there is memory");
    // Another slot may be next, and then another frame.
    let holds_what_was_in_it = || (0..1000).any(|_| next(layout) == (false, false));
    assert!(holds_what_was_in_it());
    for hardening in [Hardening::INIT_ON_ALLOC, Hardening::INIT_ON_FREE, Hardening::all()] {
        harden(hardening);
        (0..1000).for_each(|_| _ = next(layout));
        assert!((0..100).all(|_| next(layout) == (true, true)), "{hardening:?}");
        harden(Hardening::empty());
        assert!(holds_what_was_in_it(), "off again");
    }
    // SAFETY: it is ours, and used no more.
    unsafe { HEAP.free(keeps_the_slab, layout) }.expect("it was allocated here");
}

#[test_case]
fn all_cpus_work_as_ever_while_it_is_on() -> Result<(), Failure> {
    let before = Snapshot::take();
    harden(Hardening::all());
    let plan = Plan { cpus: cpu::count(), time: Duration::from_secs(2), timers: true, seed: 5, cancellable: false };
    let result = stress::run::<Machine>(plan);
    harden(Hardening::empty());
    for (cpu, tally) in &result?.cpus {
        assert!(tally.operations > 100 && tally.re_entries > 0, "CPU {cpu}: {tally:?}");
    }
    assert_eq!(Snapshot::take(), before);
    Ok(())
}

#[test_case]
fn what_is_freed_on_another_cpu_is_cleared_too() {
    let layout = Layout::new::<[u64; 32]>();
    let objects: Vec<NonNull<u8>> = (0..8).map(|_| HEAP.allocate(layout).expect("there is memory")).collect();
    harden(Hardening::INIT_ON_FREE);
    for &object in &objects {
        // SAFETY: the object is ours, and so long.
        unsafe { object.write_bytes(SECRET, layout.size()) };
    }
    // Which is this one where it is alone.
    let last = cpu::online().last().expect("this one runs");
    let freed = objects[3].as_ptr().expose_provenance();
    cpu::on(last, &|_| {
        let object = NonNull::new(core::ptr::with_exposed_provenance_mut(freed)).expect("an object has an address");
        // SAFETY: nobody uses it any more.
        unsafe { HEAP.free(object, layout) }.expect("it was allocated by another");
    });
    // SAFETY: the slab is there, since other objects are.
    let bytes = unsafe { slice::from_raw_parts(objects[3].as_ptr(), layout.size()) };
    assert!(bytes.iter().all(|&byte| byte == 0));
    harden(Hardening::empty());
    for (nth, object) in objects.into_iter().enumerate().filter(|(nth, _)| *nth != 3) {
        // SAFETY: it is ours, and used no more.
        unsafe { HEAP.free(object, layout) }.unwrap_or_else(|error| panic!("object {nth}: {error}"));
    }
}
