//! KFENCE: an access beyond an object, or to one that was freed, is caught at the instruction, and the report has the calls that allocated the
//! object and those that freed it.
#![no_std]
#![no_main]
#![feature(custom_test_frameworks)]
#![test_runner(framework::run)]
#![reexport_test_harness_main = "test_main"]
#![allow(missing_docs, reason = "a test's name says what it tests")]

extern crate alloc;

use alloc::string::String;
use alloc::vec::Vec;
use alloc::{boxed::Box, format};
use bifolio::heap::{HeapError, SlotPart};
use core::alloc::Layout;
use core::ptr::NonNull;
use core::time::Duration;
use framework::Snapshot;
use kernel::cpu::exceptions::Report;
use kernel::cpu::{self, catch};
use kernel::machine::Machine;
use kernel::memory::heap::{self, HEAP};
use kernel::memory::kfence;
use stress::{Failure, Plan};

framework::entry!(test_main);

/// An odd size, so that not all of the slot was asked for.
const LAYOUT: Layout = Layout::new::<[u8; 93]>();

/// A sample of this layout, and what lies at its end, if that is where it is to be.
fn sample(is_at_end: bool) -> NonNull<u8> {
    assert!(heap::sample(1), "there is memory");
    let (mut others, mut sample) = (Vec::with_capacity(10_000), None);
    while sample.is_none() {
        let object = HEAP.allocate(LAYOUT).expect("there is memory");
        let ends_late = (object.as_ptr().addr() + LAYOUT.size()) % 4096 > 2048;
        if kfence::contains(object.as_ptr().addr()) && ends_late == is_at_end {
            sample = Some(object);
        } else {
            assert!(others.len() < others.capacity(), "no request was served by KFENCE");
            others.push(object);
        }
    }
    assert!(heap::sample(0));
    others.into_iter().for_each(|object| free(object).expect("it is ours"));
    sample.expect("there is one now")
}

fn free(object: NonNull<u8>) -> Result<(), HeapError> {
    // SAFETY: of these frees, those that are not wrong free an object that nobody uses; the others are refused.
    unsafe { HEAP.free(object, LAYOUT) }
}

/// The report of the fault that `access` ends in.
fn report(access: impl FnOnce()) -> String {
    // SAFETY: an access owns nothing, and holds no lock.
    let trap = unsafe { catch(access) }.expect("the access is caught");
    format!("{}", Report(&trap))
}

#[track_caller]
fn assert_says(report: &str, parts: &[&str]) {
    parts.iter().for_each(|part| assert!(report.contains(part), "{part:?} in:\n{report}"));
}

/// How many calls that did `what` the report has.
fn calls(report: &str, what: &str) -> usize {
    let Some((_, behind)) = report.split_once(what) else { return 0 };
    behind.lines().skip(1).take_while(|line| line.starts_with("  #")).count()
}

#[test_case]
fn an_access_beyond_an_object_is_caught_at_the_instruction_and_its_owner_named() {
    let object = sample(true);
    // To the end of its page there are less than the alignment of its class.
    let beyond = object.as_ptr().map_addr(|address| (address + LAYOUT.size()).next_multiple_of(4096));
    // SAFETY: it is caught: there is no memory.
    let text = report(|| unsafe { beyond.write_volatile(1) });
    let size = format!("size={}, cache=kmalloc-96", LAYOUT.size());
    assert_says(
        &text,
        &["writing to a guard page of KFENCE: out of an object's bounds", "KFENCE:", &size, "allocated by CPU "],
    );
    assert!(calls(&text, "allocated by CPU") >= 3, "{text}");
    assert_eq!(calls(&text, "freed by CPU"), 0, "{text}");
    free(object).unwrap();
    let object = sample(false);
    // SAFETY: it is caught: there is no memory.
    let text = report(|| _ = unsafe { object.as_ptr().wrapping_sub(1).read_volatile() });
    assert_says(&text, &["reading from a guard page of KFENCE: out of an object's bounds", &size]);
    free(object).unwrap();
}

#[test_case]
fn a_use_after_free_is_caught_at_the_instruction_and_named_with_its_allocation_and_its_free() {
    for is_at_end in [true, false] {
        let object = sample(is_at_end);
        // SAFETY: it is ours, and so long.
        unsafe { object.write_bytes(0x33, LAYOUT.size()) };
        free(object).unwrap();
        // SAFETY: it is caught: there is no memory.
        let text = report(|| _ = unsafe { object.as_ptr().read_volatile() });
        assert_says(&text, &["reading from a page of KFENCE whose object was freed: a use after free", "size=93"]);
        assert!(calls(&text, "allocated by CPU") >= 3 && calls(&text, "freed by CPU") >= 3, "{text}");
    }
}

#[test_case]
fn a_byte_that_is_overwritten_before_the_page_ends_is_found_by_the_free() {
    let object = sample(false);
    for (offset, part) in [(93, SlotPart::RightRedZone), (4095, SlotPart::RightRedZone)] {
        let at = object.as_ptr().wrapping_add(offset);
        // SAFETY: the byte lies in the object's page, which is nobody else's.
        let before = unsafe { at.replace(7) };
        let error = free(object);
        assert!(
            matches!(error, Err(HeapError::Overwritten { part: found, found: 7, .. }) if found == part),
            "{error:?}"
        );
        // SAFETY: the byte lies in the object's page, which is nobody else's.
        unsafe { at.write(before) };
    }
    free(object).unwrap();
}

#[test_case]
fn bad_frees_are_named() {
    let (object, other) = (sample(true), Layout::new::<[u64; 100]>());
    // SAFETY: they are refused.
    let wrong = unsafe { HEAP.free(object, other) };
    assert!(matches!(wrong, Err(HeapError::WrongLayout { given: 800, actual: 93, .. })), "{wrong:?}");
    let interior = free(object.map_addr(|address| address.saturating_add(8)));
    assert!(matches!(interior, Err(HeapError::Interior { offset: 8, .. })), "{interior:?}");
    let foreign = free(object.map_addr(|address| address.saturating_add(4096)));
    assert!(matches!(foreign, Err(HeapError::Foreign { .. })), "{foreign:?}");
    assert_eq!(HEAP.object_size(object), Ok(93));
    free(object).unwrap();
    assert!(matches!(free(object), Err(HeapError::DoubleFree { .. })));
    assert!(HEAP.object_size(object).is_err());
}

#[test_case]
fn what_is_resized_moves_and_keeps_its_contents() {
    let object = sample(true);
    // SAFETY: it is ours, and so long; we go on with what comes back.
    let moved = unsafe {
        object.write_bytes(0x33, LAYOUT.size());
        HEAP.reallocate(object, LAYOUT, 95).unwrap().expect("there is memory")
    };
    assert_ne!(moved, object);
    // SAFETY: it is ours, and so long.
    assert!((0..93).all(|at| unsafe { moved.add(at).read() } == 0x33));
    assert!(matches!(free(object), Err(HeapError::DoubleFree { .. })));
    free(moved).unwrap();
}

#[test_case]
fn all_cpus_work_as_ever_beside_it() -> Result<(), Failure> {
    // The pool stays.
    free(sample(true)).unwrap();
    let before = Snapshot::take();
    assert!(heap::sample(10));
    let plan = Plan { cpus: cpu::count(), time: Duration::from_secs(2), timers: true, seed: 6, cancellable: false };
    let result = stress::run::<Machine>(plan);
    let boxes: Vec<Box<u64>> = (0..2000).map(Box::new).collect();
    assert!(boxes.iter().enumerate().all(|(nth, number)| **number == nth as u64));
    assert!(boxes.iter().any(|number| kfence::contains(core::ptr::from_ref::<u64>(number).addr())));
    drop(boxes);
    assert!(heap::sample(0));
    for (cpu, tally) in &result?.cpus {
        assert!(tally.operations > 100, "CPU {cpu}: {tally:?}");
    }
    assert_eq!(Snapshot::take(), before);
    Ok(())
}
