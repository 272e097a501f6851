//! What a report of a bad free tells: who allocated and who freed the object, and its neighbours.

use std::ptr::NonNull;

use bifolio::allocator::{Call, Event, HeapCall, Recorder, Recording};
use bifolio::heap::{HeapError, SizeClass, SlabDebug};

use crate::objects::{TestHeap, bad_free, layout};
use crate::source::Blocks;

fn heap(flags: SlabDebug) -> TestHeap {
    let heap = TestHeap::new(Blocks::new(1 << 12));
    assert!(flags.is_empty() || heap.set_debug(SizeClass::of(layout(96, 1)).unwrap(), flags));
    heap
}

#[test]
fn a_double_free_is_reported_with_who_allocated_and_who_freed_it_and_what_is_beside_it() {
    let heap = heap(SlabDebug::STORE_USER);
    let file = file!();
    let mut objects: Vec<_> = (0..3).map(|_| heap.allocate(layout(90, 8)).unwrap()).collect();
    let allocated = line!() - 1;
    objects.sort_unstable();
    let addresses = [0, 1, 2].map(|nth| objects[nth].as_ptr().addr());
    let slots = addresses.map(|address| heap.slot_history(address).unwrap().slot);
    assert_eq!(slots, [0, 1, 2]);
    // SAFETY: the object is ours, and not used afterwards.
    unsafe { heap.free(objects[1], layout(90, 8)) }.unwrap();
    let freed = line!() - 1;
    let error = bad_free(&heap, addresses[1], layout(90, 8));
    let [before, address, behind] = addresses;
    let columns = |line: u32, text: &str| {
        let start = text.find(&format!("{file}:{line}:")).unwrap_or_else(|| panic!("no line {line} in\n{text}"));
        text[start..].split([',', '\n']).next().unwrap().to_owned()
    };
    let text = heap.report(&error).to_string();
    let (allocated, freed) = (columns(allocated, &text), columns(freed, &text));
    let expected = format!(
        "bad free of {address:#x}: slot 1 of kmalloc-96 is free already (double free)\n  \
         slot 1 of kmalloc-96 is free; 90 bytes at {address:#x}, allocated on CPU 0 at {allocated}, freed at {freed}\n  \
         before it: slot 0 of kmalloc-96 is in use; 90 bytes at {before:#x}, allocated on CPU 0 at {allocated}\n  \
         behind it: slot 2 of kmalloc-96 is in use; 90 bytes at {behind:#x}, allocated on CPU 0 at {allocated}"
    );
    assert_eq!(text, expected);
}

#[test]
fn overwritten_bytes_are_reported_with_the_object_they_belong_to() {
    let heap = heap(SlabDebug::STORE_USER | SlabDebug::RED_ZONE);
    let object = heap.allocate(layout(90, 8)).unwrap();
    // SAFETY: the byte lies in the slot's redzone: nobody else's, whatever this shows.
    unsafe { object.add(93).write(1) };
    // SAFETY: the object is ours, and not used afterwards.
    let error = unsafe { heap.free(object, layout(90, 8)) }.unwrap_err();
    assert!(matches!(error, HeapError::Overwritten { offset: 93, .. }), "{error}");
    let report = heap.report(&error);
    let slot = report.slot.unwrap();
    assert_eq!((slot.object.address, slot.is_live), (object.as_ptr().addr(), true));
    // The first slot has none before it, and that behind it was never used.
    assert_eq!(report.neighbours.map(|slot| slot.map(|slot| slot.is_live)), [None, Some(false)]);
    assert!(report.to_string().ends_with("slot 1 of kmalloc-96 is free; its last object was not noted"), "{report}");
}

#[test]
fn without_debugging_a_report_is_the_error() {
    let heap = heap(SlabDebug::empty());
    let object = heap.allocate(layout(90, 8)).unwrap();
    for address in [object.as_ptr().addr() + 1, 1, usize::MAX] {
        let error = bad_free(&heap, address, layout(90, 8));
        assert_eq!(heap.report(&error).to_string(), error.to_string());
    }
    // SAFETY: the object is ours, and not used afterwards.
    unsafe { heap.free(object, layout(90, 8)) }.unwrap();
}

struct Nobody;

impl Recorder for Nobody {
    fn take(&self, _: &[Event]) {}
}

#[test]
fn where_operations_are_recorded_a_report_has_the_last_on_that_object() {
    let heap: &'static TestHeap = Box::leak(Box::new(heap(SlabDebug::empty())));
    heap.record(Box::leak(Box::new(Recording::new(&Nobody))));
    let cache = SizeClass::of(layout(90, 8)).unwrap().number();
    // SAFETY: it is refused: no live object starts there.
    let refused = |object: NonNull<u8>| unsafe { heap.free(object, layout(90, 8)) }.unwrap_err();
    // The first opens a slab, and ends behind that.
    for nth in 0..3 {
        let [object, beside] = [0, 1].map(|_| heap.allocate(layout(90, 8)).unwrap());
        let address = object.as_ptr().addr();
        let [allocate, free] = [
            (HeapCall::Allocate { cache, size: 90 }, Some(address as u64)),
            (HeapCall::Free { address: address as u64, cache: Some(cache) }, Some(0)),
        ];
        let last = |error: &HeapError| {
            let on_heap = |call| if let Call::Heap(call) = call { Some(call) } else { None };
            let last = heap.report(error).last;
            last.calls().filter_map(|past| Some((on_heap(past.call)?, past.returned))).take(3).collect::<Vec<_>>()
        };
        let interior = refused(object.map_addr(|address| address.saturating_add(1)));
        assert_eq!(last(&interior)[0], allocate, "{nth}");
        // SAFETY: the object is ours, and not used afterwards.
        unsafe { heap.free(object, layout(90, 8)) }.unwrap();
        let double = refused(object);
        assert_eq!(last(&double), [(free.0, None), free, allocate], "{nth}");
        assert!(
            heap.report(&double).to_string().contains("\nlast operations there, the latest first:\nCPU 0: Heap(Free")
        );
        // SAFETY: the object beside it is live and ours, of that layout, and not used afterwards.
        unsafe { heap.free(beside, layout(90, 8)) }.unwrap();
    }
}
