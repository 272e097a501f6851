//! Many objects at once, and CPUs that get ready or have no place.

use std::mem::MaybeUninit;
use std::ptr::NonNull;

use bifolio::heap::{Heap, HeapError, SingleCpu};

use crate::objects::{Object, TestHeap, assert_empties, layout};
use crate::source::{Blocks, Thread};

/// Allocates as many as there is memory for, of so many.
fn allocate(heap: &TestHeap, size: usize, count: usize) -> Vec<NonNull<u8>> {
    let mut places = vec![MaybeUninit::uninit(); count];
    let served = heap.allocate_bulk(layout(size, 8), &mut places);
    // SAFETY: so many at the front are initialised.
    places[..served].iter().map(|place| unsafe { place.assume_init() }).collect()
}

#[test]
fn many_objects_are_allocated_and_freed_at_once() {
    for size in [24, 1000, 8192, 20_000] {
        let heap = TestHeap::new(Blocks::new(1 << 13));
        let mut objects = allocate(&heap, size, 600);
        assert_eq!(objects.len(), 600);
        for (nth, object) in objects.iter().enumerate() {
            // SAFETY: the objects are ours, and as large.
            unsafe { object.write_bytes(nth as u8, size) };
        }
        // SAFETY: likewise.
        let holds = |nth: usize, object: &NonNull<u8>| unsafe {
            (object.read(), object.add(size - 1).read()) == (nth as u8, nth as u8)
        };
        assert!(objects.iter().enumerate().all(|(nth, object)| holds(nth, object)));
        assert!(objects.iter().all(|object| heap.is_live(*object, layout(size, 8))));
        objects.sort_unstable();
        objects.dedup();
        assert_eq!(objects.len(), 600);
        // SAFETY: the objects are ours, and not used afterwards.
        unsafe { heap.free_bulk(&objects, layout(size, 8)) }.unwrap();
        assert_empties(&heap);
    }
}

#[test]
fn a_bulk_ends_where_memory_does() {
    let heap = TestHeap::new(Blocks::new(64));
    let objects = allocate(&heap, 1000, 1000);
    assert!((100..64 * 4).contains(&objects.len()), "{}", objects.len());
    assert_eq!(allocate(&heap, 1000, 3), []);
    assert_eq!(allocate(&heap, 1000, 0), []);
    // SAFETY: the objects are ours, and not used afterwards.
    unsafe { heap.free_bulk(&objects, layout(1000, 8)) }.unwrap();
    assert_empties(&heap);
}

#[test]
fn of_a_bulk_all_is_freed_that_can_be_and_the_first_error_told() {
    let heap = TestHeap::new(Blocks::new(1 << 12));
    let mut objects = allocate(&heap, 64, 5);
    let wrong = [0x1000, 0x2000].map(|address| NonNull::new(std::ptr::without_provenance_mut(address)).unwrap());
    objects.insert(2, wrong[0]);
    objects.push(wrong[1]);
    // SAFETY: what is live is ours, and not used afterwards.
    let freed = unsafe { heap.free_bulk(&objects, layout(64, 8)) };
    assert_eq!(freed, Err(HeapError::Foreign { address: 0x1000 }));
    assert_empties(&heap);
}

#[test]
fn a_cpu_gets_ready_if_it_has_a_place_and_there_is_memory() {
    let heap = TestHeap::new(Blocks::new(1 << 12));
    heap.source().refuse_after(Some(0));
    assert!(!heap.prepare_cpu());
    heap.source().refuse_after(None);
    assert!(heap.prepare_cpu());
    let requests = heap.source().requests();
    assert!(heap.prepare_cpu(), "it is ready");
    assert_eq!(heap.source().requests(), requests);
    assert!(heap.arena_stats(Some(0)).is_some());
    Thread::become_cpu(1 << 20);
    assert!(!heap.prepare_cpu(), "no heap has a place for it");
    // It has nothing of its own to give away, and shares what all share.
    heap.retire_cpu();
    Object::new(&heap, layout(64, 8), 1).free(&heap);
    Thread::become_cpu(0);
    assert_eq!(heap.arena_stats(Some(1 << 20)), None);
    assert_empties(&heap);
    let mut region = vec![0; 64 << 10];
    let heap = Heap::<_, SingleCpu, 1>::with_slabs_in(&mut region).unwrap();
    assert!(!heap.prepare_cpu(), "where memory is scarce, no CPU has a part of its own");
}
