//! When frames run out: a refusal that the caller sees, nothing lost, and nothing refused that could be served.

use std::ptr::NonNull;

use bifolio::frame::{FRAME_SIZE, Order};
use bifolio::heap::{HeapFrames, PageSource, SizeClass};
use kit::{Sound, scale};

use crate::objects::{Object, TestHeap, assert_empties, layout, state};
use crate::source::Blocks;

#[test]
#[cfg_attr(miri, ignore = "takes half a million objects")]
fn all_of_memory_can_be_had_in_objects_of_any_size_and_comes_back() {
    const FRAMES: u64 = 1000;
    for size in [8, 24, 112, 1000, 7168, 8192, 16_000, 1 << 16] {
        let heap = TestHeap::new(Blocks::new(FRAMES));
        let mut objects: Vec<_> = std::iter::from_fn(|| Object::try_new(&heap, layout(size, 8), size as u8)).collect();
        heap.sound();
        let HeapFrames { slabs, large, metadata, .. } = heap.frames();
        assert_eq!(slabs + large + metadata, heap.source().frames());
        let used = objects.len() * TestHeap::usable_size(layout(size, 8)).unwrap();
        let all = (FRAMES * FRAME_SIZE) as usize;
        assert!(used * 100 >= all * 90, "{used} bytes of {size} in {all}");
        // Whatever one frees can be allocated again.
        for round in 0..10 {
            objects.swap_remove(round * 7 % objects.len()).free(&heap);
            objects.push(Object::new(&heap, layout(size, 8), round as u8));
        }
        assert!(heap.allocate(layout(size, 8)).is_none());
        objects.into_iter().for_each(|object| object.free(&heap));
        assert_empties(&heap);
    }
}

#[test]
fn a_refusal_half_way_gives_back_what_was_taken() {
    // Tables of the page map below its highest.
    let tables = if usize::BITS == 64 { 3 } else { 1 };
    // Beside them a block and a page of descriptors; for a slab an arena too. A large object's block makes room for those frames,
    // and is fetched once more.
    for layout in [layout(8, 8), layout(8192, 8), layout(100_000, 8)] {
        let heap = TestHeap::new(Blocks::new(1 << 12));
        let clean = heap.source().out();
        let mut served = None;
        for requests in 0..20 {
            heap.source().refuse_after(Some(requests));
            if let Some(object) = Object::try_new(&heap, layout, 1) {
                served = Some((requests, object));
                break;
            }
            assert_eq!(heap.source().out(), clean, "after {requests} requests were served");
            heap.sound();
        }
        let (requests, object) = served.expect("served in the end");
        assert_eq!(requests, tables + 3);
        heap.source().refuse_after(None);
        object.free(&heap);
        assert_empties(&heap);
    }
}

#[test]
fn a_refusal_leaves_live_objects_alone() {
    let heap = TestHeap::new(Blocks::new(1 << 12));
    let mut object = Object::new(&heap, layout(1000, 8), 1);
    heap.source().refuse_after(Some(0));
    let (before, requests) = (format!("{:?}", heap.frames()), heap.source().requests());
    assert!(heap.allocate(layout(64, 8)).is_none());
    assert!(heap.allocate(layout(1 << 20, 8)).is_none());
    assert!(!object.resize(&heap, 5000));
    assert!(!object.resize(&heap, 100));
    assert!(!object.resize(&heap, isize::MAX as usize));
    assert!(heap.source().requests() > requests, "it did ask");
    assert_eq!(format!("{:?}", heap.frames()), before);
    heap.sound();
    heap.source().refuse_after(None);
    object.free(&heap);
    assert_empties(&heap);
}

/// For want of a descriptor others that rest may do, and for want of memory none.
#[test]
fn memory_that_was_refused_is_not_asked_for_again_because_descriptors_rest() {
    let heap = TestHeap::new(Blocks::new(1 << 12));
    let kept = Object::new(&heap, layout(100_000, 8), 1);
    Object::new(&heap, layout(100_000, 8), 2).free(&heap);
    heap.source().refuse_after(Some(0));
    let (metadata, requests) = (heap.frames().metadata, heap.source().requests());
    assert!(heap.allocate(layout(100_000, 8)).is_none());
    // Unless a table of the page map was given back meanwhile.
    let is_more = heap.frames().metadata < metadata;
    assert_eq!(heap.source().requests() - requests, 1 + u64::from(is_more));
    heap.source().refuse_after(None);
    kept.free(&heap);
    assert_empties(&heap);
}

/// Its descriptor rests, and frames for another one would be those that it was given back.
#[test]
fn what_was_freed_is_served_again_whether_or_not_there_is_a_descriptor_for_it() {
    const SIZES: std::ops::Range<u64> = 200..300;
    for frames in SIZES.step_by(SIZES.count() / scale::rounds(100)) {
        let heap = TestHeap::new(Blocks::new(frames));
        let mut objects: Vec<_> = std::iter::from_fn(|| Object::try_new(&heap, layout(16_000, 8), 1)).collect();
        objects.pop().expect("there is memory").free(&heap);
        objects.push(Object::try_new(&heap, layout(16_000, 8), 2).unwrap_or_else(|| panic!("of {frames} frames")));
        objects.into_iter().for_each(|object| object.free(&heap));
        assert_empties(&heap);
    }
}

#[test]
fn what_can_never_be_served_is_refused_without_asking() {
    let heap = TestHeap::new(Blocks::new(1 << 12));
    let before = state(&heap);
    for layout in [layout((4 << 20) + 1, 1), layout(1, 8 << 20), layout(isize::MAX as usize, 1)] {
        assert!(heap.allocate(layout).is_none());
        assert_eq!(TestHeap::usable_size(layout), None);
    }
    assert_eq!(state(&heap), before);
    // Nor does a source of blocks have such a run, or has it to take one back.
    let run = layout(8 << 20, 8);
    assert_eq!(Blocks::run_for(run), None);
    assert_eq!(heap.source().allocate_run(run), None);
    // SAFETY: there is no such run, and so nothing that could be used.
    assert_eq!(unsafe { heap.source().release_run(NonNull::dangling(), run) }, Ok(()));
    assert_eq!(heap.source().kept(), 0);
}

#[test]
fn memory_in_small_pieces_still_serves_every_class() {
    for class in scale::some(SizeClass::all()) {
        let heap = TestHeap::new(Blocks::new(1 << 12));
        heap.source().set_largest(Order::new(1).unwrap());
        let objects: Vec<_> = (0..40).map(|seed| Object::new(&heap, layout(class.size(), 8), seed)).collect();
        heap.sound();
        objects.into_iter().for_each(|object| object.free(&heap));
        assert_empties(&heap);
    }
}

#[test]
fn empty_slabs_of_other_classes_are_used_before_anything_is_refused() {
    let heap = TestHeap::new(Blocks::new(1 << 12));
    for class in SizeClass::all() {
        Object::new(&heap, layout(class.size(), 8), 1).free(&heap);
    }
    // Each class keeps an empty slab, and together they leave no room for this. How many frames that is depends on where
    // the blocks lie, and with that on the nodes of the page map.
    heap.source().set_limit(heap.source().frames() + 31);
    Object::new(&heap, layout(32 * 4096, 8), 2).free(&heap);
    assert_empties(&heap);
}

#[test]
fn a_limit_that_is_lifted_lets_the_heap_grow_again() {
    let heap = TestHeap::new(Blocks::new(16));
    let mut objects: Vec<_> = std::iter::from_fn(|| Object::try_new(&heap, layout(512, 8), 3)).collect();
    heap.source().set_limit(1 << 12);
    let before = objects.len();
    objects.extend((0..1000).map(|_| Object::new(&heap, layout(512, 8), 4)));
    assert!(before > 0 && objects.len() == before + 1000);
    objects.into_iter().for_each(|object| object.free(&heap));
    assert_empties(&heap);
}
