//! Debugging: stray writes are found and named, and what is switched off is as if it had never been.

use std::collections::BTreeSet;
use std::ptr::NonNull;
use std::sync::Mutex;

use bifolio::heap::{HeapError, SizeClass, SlabDebug, SlotPart};
use kit::Sound;

use crate::objects::{Object, TestHeap, assert_empties, bad_free, layout};
use crate::source::Blocks;

fn class(size: usize) -> SizeClass {
    SizeClass::of(layout(size, 1)).unwrap()
}

fn debugged(size: usize, flags: SlabDebug) -> TestHeap {
    let heap = TestHeap::new(Blocks::new(1 << 12));
    assert!(heap.set_debug(class(size), flags));
    heap
}

/// Switches debugging off, and wants everything back.
fn end(heap: &TestHeap, size: usize) {
    heap.sound();
    assert!(heap.set_debug(class(size), SlabDebug::empty()));
    assert_empties(heap);
}

fn free(heap: &TestHeap, object: NonNull<u8>, size: usize) -> Result<(), HeapError> {
    // SAFETY: the tests free their own objects, or what they know to be refused.
    unsafe { heap.free(object, layout(size, 8)) }
}

#[test]
fn an_overflow_is_named_by_its_first_byte() {
    // The size that was asked for counts, not the slot's.
    for (size, past) in [(64, 0), (64, 5), (57, 0), (50, 3), (1, 0), (100, 20), (8192, 0), (8000, 100)] {
        let heap = debugged(size, SlabDebug::RED_ZONE);
        let neighbours: Vec<_> = (0..5).map(|seed| Object::new(&heap, layout(size, 8), seed)).collect();
        let object = heap.allocate(layout(size, 8)).unwrap();
        let history = heap.slot_history(object.as_ptr().addr()).unwrap();
        // SAFETY: the bytes lie in the slot's redzone: nobody else's, whatever this shows.
        unsafe {
            object.write_bytes(7, size);
            object.add(size + past).write_bytes(0x41, 2);
        }
        let expected = HeapError::Overwritten {
            address: object.as_ptr().addr() + size + past,
            cache: history.cache,
            slot: history.slot,
            part: SlotPart::RightRedZone,
            offset: (size + past) as isize,
            found: 0x41,
            expected: 0xcc,
        };
        assert_eq!(free(&heap, object, size), Err(expected));
        // It stays what it is: the slab is frozen, and the object is still there.
        assert_eq!((heap.frozen_slabs(), free(&heap, object, size)), (1, Err(expected)));
        heap.sound();
        neighbours.into_iter().for_each(|object| object.free(&heap));
        let others: Vec<_> = (0..5).map(|seed| Object::new(&heap, layout(size, 8), seed)).collect();
        let far = |other: &Object| other.start().abs_diff(object.as_ptr().addr()) > 64;
        assert!(others.iter().all(far), "a frozen slab is not used");
        others.into_iter().for_each(|object| object.free(&heap));
        heap.sound();
        heap.shrink();
        assert_eq!(
            heap.cache_stats(class(size)).active_objects,
            1,
            "what could not be freed is lost, and nothing else"
        );
    }
}

#[test]
fn an_underflow_is_found_too() {
    let heap = debugged(24, SlabDebug::all());
    let object = heap.allocate(layout(24, 8)).unwrap();
    // SAFETY: the byte lies in the slot's redzone.
    unsafe { object.sub(3).write(0) };
    let error = free(&heap, object, 24).unwrap_err();
    assert!(matches!(
        error,
        HeapError::Overwritten { part: SlotPart::LeftRedZone, offset: -3, found: 0, expected: 0xcc, slot: _, .. }
    ));
    let address = object.as_ptr().addr() - 3;
    let text = error.to_string();
    assert!(
        text.starts_with("left redzone of slot ")
            && text.contains("of kmalloc-24 was overwritten: 0x00 instead of 0xcc")
    );
    assert!(text.ends_with(&format!("at {address:#x}, -3 bytes from the object's start")), "{text}");
}

#[test]
fn a_write_to_what_was_freed_is_found_before_it_is_used_again() {
    static HEARD: Mutex<Vec<HeapError>> = Mutex::new(Vec::new());
    for (offset, expected) in [(0, 0x6b), (17, 0x6b), (95, 0xa5)] {
        let heap = debugged(96, SlabDebug::POISON);
        heap.set_error_hook(|&error| HEARD.lock().unwrap().push(error));
        let object = heap.allocate(layout(96, 8)).unwrap();
        let slot = heap.slot_history(object.as_ptr().addr()).unwrap().slot;
        // SAFETY: the object is ours, and was filled by the heap; what is written to afterwards is its free slot.
        unsafe {
            assert!((0..96).all(|index| object.add(index).read() == 0x5a));
            assert_eq!(free(&heap, object, 96), Ok(()));
            object.add(offset).write(1);
        }
        let next = Object::new(&heap, layout(96, 8), 1);
        let (address, cache, part) = (object.as_ptr().addr() + offset, "kmalloc-96", SlotPart::Freed);
        let error = HeapError::Overwritten { address, cache, slot, part, offset: offset as isize, found: 1, expected };
        assert_eq!(std::mem::take(&mut *HEARD.lock().unwrap()), [error]);
        assert_eq!(heap.frozen_slabs(), 1);
        next.free(&heap);
        heap.sound();
    }
}

#[test]
fn everything_can_be_looked_at_on_demand() {
    let heap = debugged(40, SlabDebug::all());
    let objects: Vec<_> = (0..20).map(|_| heap.allocate(layout(33, 8)).unwrap()).collect();
    assert_eq!(heap.check_objects(), Ok(()));
    assert_eq!(free(&heap, objects[3], 33), Ok(()));
    assert_eq!(heap.check_objects(), Ok(()));
    // SAFETY: bytes of a redzone and of a free slot.
    unsafe {
        objects[3].add(8).write(9);
        objects[19].add(33).write(8);
    }
    let mut found = BTreeSet::new();
    while let Err(HeapError::Overwritten { address, .. }) = heap.check_objects() {
        assert!(found.insert(address));
    }
    let slab = |address: usize| address >> 12;
    let expected = [objects[3].as_ptr().addr() + 8, objects[19].as_ptr().addr() + 33];
    assert!(found.iter().all(|address| expected.contains(address)));
    assert!(found.len() == 2 || slab(expected[0]) == slab(expected[1]), "{found:x?} of {expected:x?}");
}

#[test]
fn bad_frees_are_named_as_ever_and_by_whom() {
    let heap = debugged(96, SlabDebug::STORE_USER);
    let objects: Vec<_> = (0..3).map(|_| heap.allocate(layout(90, 8)).unwrap()).collect();
    let here = line!() - 1;
    let (address, cache) = (objects[1].as_ptr().addr(), "kmalloc-96");
    let history = heap.slot_history(address + 50).unwrap();
    assert!(history.is_live && history.object.address == address && history.object.size == 90);
    assert_eq!(
        history.object.allocated.map(|site| (site.file().ends_with("debug.rs"), site.line())),
        Some((true, here))
    );
    let slot = history.slot;
    let wrong = HeapError::WrongLayout { address, cache, slot, given: 200, actual: 96 };
    assert_eq!(bad_free(&heap, address, layout(200, 8)), wrong);
    assert_eq!(
        bad_free(&heap, address, layout(100_000, 8)),
        HeapError::WrongLayout { address, cache, slot, given: 100_000, actual: 96 }
    );
    let inside = HeapError::Interior { address: address + 5, cache, slot, offset: 5 };
    assert_eq!(bad_free(&heap, address + 5, layout(90, 8)), inside);
    for redzone in [address - 1, address + 96, address - 16] {
        assert_eq!(bad_free(&heap, redzone, layout(90, 8)), HeapError::Foreign { address: redzone });
    }
    assert_eq!(heap.object_size(objects[1]), Ok(90));
    assert!(heap.is_live(objects[1], layout(90, 8)) && !heap.is_live(objects[1], layout(100, 8)));
    // SAFETY: the object is ours, and not used afterwards.
    unsafe { heap.free_unsized(objects[1]) }.unwrap();
    let there = line!() - 1;
    assert_eq!(bad_free(&heap, address, layout(90, 8)), HeapError::DoubleFree { address, cache, slot });
    let history = heap.slot_history(address).unwrap();
    assert!(!history.is_live && history.freed.is_some_and(|site| site.line() == there));
    for object in [objects[0], objects[2]] {
        free(&heap, object, 90).unwrap();
    }
    end(&heap, 96);
}

#[test]
fn live_objects_are_listed() {
    let heap = debugged(640, SlabDebug::STORE_USER);
    let objects: Vec<_> = (0..30).map(|seed| Object::new(&heap, layout(600 + usize::from(seed), 8), seed)).collect();
    let listed = || {
        let mut sizes = BTreeSet::new();
        heap.for_each_live(class(640), |object| assert!(sizes.insert((object.size, object.address))));
        sizes
    };
    assert_eq!(listed(), objects.iter().map(|object| (object.layout.size(), object.start())).collect());
    objects.into_iter().for_each(|object| object.free(&heap));
    assert!(listed().is_empty());
    end(&heap, 640);
}

#[test]
fn what_was_freed_rests() {
    let heap = debugged(32, SlabDebug::QUARANTINE);
    let mut seen = BTreeSet::new();
    for _ in 0..200 {
        let object = heap.allocate(layout(32, 8)).unwrap();
        assert!(seen.insert(object), "a slot was used again at once");
        free(&heap, object, 32).unwrap();
    }
    let again = (0..500).any(|_| {
        let object = heap.allocate(layout(32, 8)).unwrap();
        free(&heap, object, 32).unwrap();
        seen.contains(&object)
    });
    assert!(again, "it does not rest for ever");
    end(&heap, 32);
    // Where memory is short it does not rest either.
    let heap = debugged(4096, SlabDebug::QUARANTINE);
    heap.source().set_limit(40);
    for _ in 0..100 {
        let object = heap.allocate(layout(4096, 8)).unwrap();
        free(&heap, object, 4096).unwrap();
    }
    heap.source().set_limit(1 << 12);
    end(&heap, 4096);
}

#[test]
fn slots_are_taken_at_random() {
    let order = |flags| {
        let heap = debugged(16, flags);
        let objects: Vec<_> = (0..40).map(|seed| Object::new(&heap, layout(16, 8), seed)).collect();
        let steps: BTreeSet<_> = objects.windows(2).map(|pair| pair[1].start().wrapping_sub(pair[0].start())).collect();
        objects.into_iter().for_each(|object| object.free(&heap));
        end(&heap, 16);
        steps.len()
    };
    assert!(order(SlabDebug::POISON) <= 2 && order(SlabDebug::RANDOM) > 10);
}

#[test]
fn the_nth_allocation_fails() {
    let heap = TestHeap::new(Blocks::new(1 << 12));
    let take = || heap.allocate(layout(100, 8));
    assert!(heap.set_fail_after(class(100), Some(3)));
    let taken: Vec<_> = (0..6).map(|_| take()).collect();
    assert_eq!(taken.iter().map(Option::is_some).collect::<Vec<_>>(), [true, true, true, false, true, true]);
    assert!(heap.set_fail_after(class(100), Some(0)));
    assert!(heap.set_fail_after(class(100), None));
    let taken: Vec<_> = taken.into_iter().chain([take()]).flatten().collect();
    assert_eq!(taken.len(), 6);
    taken.into_iter().for_each(|object| free(&heap, object, 100).unwrap());
    end(&heap, 100);
}

#[test]
fn it_can_be_switched_on_and_off_at_any_time() {
    let heap = TestHeap::new(Blocks::new(1 << 12));
    let mut objects = Vec::new();
    let flags = [SlabDebug::empty(), SlabDebug::POISON, SlabDebug::all(), SlabDebug::RED_ZONE, SlabDebug::empty()];
    for (seed, flags) in flags.into_iter().enumerate() {
        assert!(heap.set_debug(class(224), flags));
        objects.extend((0..25).map(|_| Object::new(&heap, layout(200, 8), seed as u8)));
        heap.sound();
        // Old ones go while new ones come.
        for index in (0..objects.len()).rev().step_by(3) {
            objects.swap_remove(index).free(&heap);
        }
        heap.sound();
    }
    let mut object = objects.pop().unwrap();
    assert!(heap.set_debug(class(224), SlabDebug::all()));
    for size in [201, 224, 199, 5000, 210, 20_000, 200] {
        assert!(object.resize(&heap, size));
    }
    assert!(heap.set_debug(class(224), SlabDebug::empty()));
    objects.into_iter().chain([object]).for_each(|object| object.free(&heap));
    assert_empties(&heap);
}

#[test]
fn what_was_free_before_is_not_used_while_it_is_switched_on() {
    let heap = TestHeap::new(Blocks::new(1 << 12));
    // Of several slabs, so that there are free slots in the one that is current and in others.
    let mut objects: Vec<_> = (0..1500).map(|seed| Object::new(&heap, layout(64, 8), seed as u8)).collect();
    (0..1400).for_each(|nth| objects.swap_remove(nth * 7 % objects.len()).free(&heap));
    for flags in [SlabDebug::POISON, SlabDebug::all()] {
        assert!(heap.set_debug(class(64), flags));
        let debugged: Vec<_> = (0..100).map(|seed| Object::new(&heap, layout(64, 8), seed)).collect();
        let has_history = |object: &Object| heap.slot_history(object.start()).is_some_and(|slot| slot.is_live);
        assert!(debugged.iter().all(has_history));
        debugged.into_iter().for_each(|object| object.free(&heap));
        heap.sound();
    }
    objects.into_iter().for_each(|object| object.free(&heap));
    end(&heap, 64);
}

#[test]
fn too_little_memory_for_debugging_is_told() {
    let heap = TestHeap::new(Blocks::new(1 << 12));
    heap.source().refuse_after(Some(0));
    assert!(!heap.set_debug(class(64), SlabDebug::all()));
    heap.source().refuse_after(Some(1));
    assert!(heap.set_debug(class(64), SlabDebug::all()));
    assert_eq!(heap.allocate(layout(64, 8)), None);
    heap.source().refuse_after(None);
    Object::new(&heap, layout(64, 8), 1).free(&heap);
    end(&heap, 64);
}

#[test]
fn it_is_told_who_has_how_much_and_what_is_wasted() {
    let heap = debugged(128, SlabDebug::STORE_USER);
    let many: Vec<_> = (0..20).map(|_| heap.allocate(layout(121, 8)).unwrap()).collect();
    let many_line = line!() - 1;
    let few: Vec<_> = (0..2).map(|_| heap.allocate(layout(128, 8)).unwrap()).collect();
    let few_line = line!() - 1;
    let (mut sites, mut waste) = (String::new(), String::new());
    heap.write_call_sites(&mut sites).unwrap();
    heap.write_waste(&mut waste).unwrap();
    let lines: Vec<_> = sites.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>()).collect();
    assert_eq!(lines.len(), 2, "{sites}");
    for (line, (bytes, objects, at)) in lines.iter().zip([(2420, 20, many_line), (256, 2, few_line)]) {
        assert_eq!(line[..2], [bytes.to_string(), objects.to_string()], "{sites}");
        assert!(line[2].contains(&format!("debug.rs:{at}:")), "{sites}");
    }
    let line: Vec<_> =
        waste.lines().find(|line| line.starts_with("kmalloc-128 ")).unwrap().split_whitespace().collect();
    // 140 bytes of 22 slots were not asked for.
    assert_eq!((line[1], line[2], line[5], line[6]), ("22", "2816", "140", "4.9%"), "{waste}");
    many.into_iter().for_each(|object| free(&heap, object, 121).unwrap());
    few.into_iter().for_each(|object| free(&heap, object, 128).unwrap());
    end(&heap, 128);
}
