//! Objects above the largest size class, over a source that has runs of every length: exact, resized in place, told apart.

use std::alloc::Layout;

use bifolio::frame::{FRAME_SIZE, Gfp, Order, PfnRange};
use bifolio::heap::{Heap, HeapError, HeapFrames, SizeClass};
use kit::{Sound, scale};

use crate::objects::{CPUS, Object, layout};
use crate::runs::Runs;
use crate::source::Thread;

const FRAME: usize = FRAME_SIZE as usize;
const LARGE: usize = SizeClass::MAX_SIZE + 1;

type RunHeap = Heap<Runs, Thread, CPUS>;

/// Runs a test on an empty heap, and asserts that it leaves nothing allocated.
fn leaving_nothing(test: impl FnOnce(&RunHeap)) {
    let heap = RunHeap::new(Runs::new());
    let before = heap.source().blocks();
    test(&heap);
    heap.sound();
    heap.source().frames.sound();
    heap.shrink();
    assert_eq!(heap.frames(), HeapFrames::default());
    assert_eq!(heap.large_stats().objects(), 0);
    assert_eq!(heap.source().blocks(), before);
}

/// Asserts that the heap counts what the allocator counts.
#[track_caller]
fn counts_agree(heap: &RunHeap) {
    heap.sound();
    let HeapFrames { slabs, large, metadata, .. } = heap.frames();
    assert_eq!(slabs + large + metadata, heap.source().used());
}

#[test]
fn an_object_takes_exactly_the_frames_that_it_needs() {
    leaving_nothing(|heap| {
        let objects: Vec<Object> = [LARGE, 3 * FRAME, 3 * FRAME + 1, 33 << 10, 100_000, (1 << 20) + 1, 4 << 20]
            .into_iter()
            .map(|size| {
                let before = heap.frames().large;
                let object = Object::new(heap, layout(size, 8), size as u8);
                let frames = size.div_ceil(FRAME);
                assert_eq!(heap.frames().large - before, frames as u64, "{size} bytes");
                assert_eq!(heap.object_size(object.address), Ok(frames * FRAME));
                assert_eq!(RunHeap::usable_size(object.layout), Some(frames * FRAME));
                counts_agree(heap);
                object
            })
            .collect();
        objects.into_iter().for_each(|object| object.free(heap));
    });
}

#[test]
fn alignment_costs_no_frames() {
    leaving_nothing(|heap| {
        for align in (13..=22).map(|shift| 1_usize << shift) {
            for size in [1, FRAME, LARGE, 50_000] {
                let before = heap.frames().large;
                let object = Object::new(heap, layout(size, align), align as u8);
                if SizeClass::of(object.layout).is_none() {
                    assert_eq!(heap.frames().large - before, size.div_ceil(FRAME) as u64, "{:?}", object.layout);
                }
                object.free(heap);
            }
        }
        for align in [8 << 20, 1 << (usize::BITS - 3)] {
            assert!(heap.allocate(layout(1, align)).is_none());
        }
    });
}

#[test]
fn an_object_grows_and_shrinks_where_it_is() {
    leaving_nothing(|heap| {
        // Where it is placed there is room.
        let mut object = Object::new(heap, layout(4 << 20, 8), 7);
        let start = object.start();
        let sizes = [LARGE, 20_000, 33 << 10, 1 << 20, 700_000, (2 << 20) + 1, 4 << 20, 12_345, 300_000, LARGE];
        for (nth, size) in sizes.into_iter().enumerate() {
            let fetched = heap.source().requests.get();
            assert!(object.resize(heap, size));
            assert_eq!(object.start(), start, "{size} bytes");
            assert_eq!(heap.source().requests.get(), fetched + 1, "nothing is moved");
            assert_eq!(heap.frames().large, size.div_ceil(FRAME) as u64);
            assert_eq!((heap.large_stats().resized, heap.large_stats().moved), (nth as u64 + 1, 0));
            counts_agree(heap);
        }
        // Within its last frame there is nothing to do.
        let fetched = heap.source().requests.get();
        assert!(object.resize(heap, 3 * FRAME) && object.resize(heap, 2 * FRAME + 1));
        assert_eq!((object.start(), heap.source().requests.get()), (start, fetched));
        object.free(heap);
    });
}

#[test]
fn an_object_moves_where_something_is_in_the_way() {
    leaving_nothing(|heap| {
        // Where it is placed there is room.
        let mut object = Object::new(heap, layout(4 << 20, 8), 1);
        let start = object.start();
        assert!(object.resize(heap, 64 << 10));
        let behind = heap.source().frame_at(object.address).offset(16);
        let in_the_way = PfnRange::new(behind.offset(5), behind.offset(6));
        let in_the_way = heap.source().frames.allocate_range(in_the_way, Gfp::KERNEL).unwrap();
        assert!(object.resize(heap, (64 << 10) + 5 * FRAME));
        assert_eq!(object.start(), start);
        assert!(object.resize(heap, (64 << 10) + 6 * FRAME));
        assert_ne!(object.start(), start);
        assert_eq!((heap.large_stats().resized, heap.large_stats().moved), (2, 1));
        heap.source().frames.free_range(in_the_way).unwrap();
        counts_agree(heap);
        object.free(heap);
    });
}

#[test]
fn between_slots_and_runs_contents_move() {
    leaving_nothing(|heap| {
        let mut object = Object::new(heap, layout(100, 8), 9);
        for size in [LARGE, 100, 1 << 20, SizeClass::MAX_SIZE, 2 * LARGE, 0] {
            assert!(object.resize(heap, size));
            counts_agree(heap);
        }
        object.free(heap);
    });
}

#[test]
#[cfg_attr(miri, ignore = "takes thousands of frames one by one")]
fn shrinking_needs_no_memory() {
    leaving_nothing(|heap| {
        let mut object = Object::new(heap, layout(3 << 20, 8), 5);
        let mut hoard = Vec::new();
        while let Ok(block) = heap.source().frames.allocate(Order::ZERO, Gfp::MEMALLOC) {
            hoard.push(block);
        }
        let start = object.start();
        assert!(!object.resize(heap, 4 << 20), "there is none to grow into");
        for size in [2 << 20, 500_001, 40_000, LARGE] {
            assert!(object.resize(heap, size));
            assert_eq!(object.start(), start);
        }
        hoard.into_iter().for_each(|block| heap.source().frames.free(block).unwrap());
        object.free(heap);
    });
}

/// The error of freeing what may not be freed, with the heap unchanged.
fn bad_free(heap: &RunHeap, address: usize, layout: Layout) -> HeapError {
    let object = std::ptr::NonNull::new(std::ptr::without_provenance_mut(address)).unwrap();
    let before = (heap.frames(), heap.large_stats(), heap.source().blocks());
    assert!(!heap.is_live(object, layout));
    // SAFETY: nobody's object starts here with this layout.
    let error = unsafe { heap.free(object, layout) }.expect_err("a bad free was taken");
    // SAFETY: likewise.
    assert_eq!(unsafe { heap.reallocate(object, layout, 2 * layout.size()) }, Err(error));
    assert_eq!((heap.frames(), heap.large_stats(), heap.source().blocks()), before, "{error}");
    error
}

/// The error of what C's `free` may not free.
fn bad_unsized_free(heap: &RunHeap, address: usize) -> HeapError {
    let object = std::ptr::NonNull::new(std::ptr::without_provenance_mut(address)).unwrap();
    let before = (heap.frames(), heap.large_stats(), heap.source().blocks());
    // SAFETY: nobody's object starts here.
    let error = unsafe { heap.free_unsized(object) }.expect_err("a bad free was taken");
    assert_eq!(heap.object_size(object), Err(error));
    assert_eq!((heap.frames(), heap.large_stats(), heap.source().blocks()), before, "{error}");
    error
}

#[test]
fn every_bad_free_is_named_whatever_the_length() {
    leaving_nothing(|heap| {
        let cache = "kmalloc-large";
        // Lengths that are no powers of two, and one that no block holds.
        for frames in scale::some([3, 5, 9, 700, 1023, 1025, 5000]) {
            let size = frames * FRAME - 100;
            let object = Object::new(heap, layout(size, 8), frames as u8);
            let neighbour = Object::new(heap, layout(size, 8), 1);
            let (start, actual) = (object.start(), frames * FRAME);
            for offset in [1, 8, FRAME, 2 * FRAME, actual / 2, actual - FRAME, actual - 1] {
                let interior = HeapError::Interior { address: start + offset, cache, slot: 0, offset };
                for layout in [object.layout, layout(8, 8), layout(50_000, 8)] {
                    assert_eq!(bad_free(heap, start + offset, layout), interior);
                }
                assert_eq!(bad_unsized_free(heap, start + offset), interior);
            }
            for given in [8, size - FRAME, size + FRAME, 2 * size] {
                let wrong = HeapError::WrongLayout { address: start, cache, slot: 0, given, actual };
                assert_eq!(bad_free(heap, start, layout(given, 8)), wrong);
            }
            let layout = object.layout;
            object.free(heap);
            for address in [start, start + 8, start + FRAME, start + actual - 1] {
                assert_eq!(bad_free(heap, address, layout), HeapError::Foreign { address });
                assert_eq!(bad_unsized_free(heap, address), HeapError::Foreign { address });
            }
            neighbour.free(heap);
        }
    });
}

#[test]
fn what_was_cut_off_is_the_objects_no_more() {
    leaving_nothing(|heap| {
        let mut object = Object::new(heap, layout(100 * FRAME, 8), 3);
        let old = object.layout;
        assert!(object.resize(heap, 10 * FRAME));
        let start = object.start();
        let address = start + 10 * FRAME;
        assert_eq!(bad_unsized_free(heap, address), HeapError::Foreign { address });
        assert!(matches!(bad_free(heap, start, old), HeapError::WrongLayout { actual: 40_960, .. }));
        object.free(heap);
    });
}

#[test]
fn an_object_is_freed_without_its_layout() {
    leaving_nothing(|heap| {
        for (size, align) in [(LARGE, 8), (1, 1 << 16), (5_000_000, 8), (100_000, 4 << 20)] {
            let object = Object::new(heap, layout(size, align), 1);
            assert_eq!(heap.object_size(object.address), Ok(size.div_ceil(FRAME) * FRAME));
            // SAFETY: the object is ours, and nobody uses it afterwards.
            assert_eq!(unsafe { heap.free_unsized(object.address) }, Ok(()));
        }
    });
}

#[test]
#[cfg_attr(not(target_pointer_width = "64"), ignore = "a mapping takes 256 MiB of addresses")]
fn a_refusal_leaves_nothing_behind() {
    leaving_nothing(|heap| {
        let mut objects = Vec::new();
        while let Some(object) = Object::try_new(heap, layout(100_000, 8), objects.len() as u8) {
            objects.push(object);
        }
        // What is left is kept for others, all but some frames.
        let zone = heap.source().frames.zone(bifolio::frame::ZoneKind::Normal);
        assert!(zone.free < zone.watermarks.min + 50, "{} frames are left", zone.free);
        counts_agree(heap);
        let (before, stats) = (heap.source().blocks(), heap.large_stats());
        assert!(heap.allocate(layout(100_000, 8)).is_none());
        assert!(!objects[0].resize(heap, 60 << 20));
        assert_eq!(heap.source().blocks(), before);
        assert_eq!(heap.large_stats().bytes, stats.bytes);
        objects.into_iter().for_each(|object| object.free(heap));
    });
}

#[test]
#[cfg_attr(not(target_pointer_width = "64"), ignore = "a mapping takes 256 MiB of addresses")]
fn random_lengths_keep_to_themselves() {
    leaving_nothing(|heap| {
        let mut seed = 12_345_u64;
        let mut random = |bound: usize| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) as usize % bound
        };
        let mut objects: Vec<Object> = Vec::new();
        for step in 0..scale::size(3000, 100) {
            match random(10) {
                0..4 => {
                    let magnitude = 8 + random(14);
                    let size = LARGE + random(1 << magnitude);
                    objects.extend(Object::try_new(heap, layout(size, 1 << random(16)), step as u8));
                }
                4..7 if !objects.is_empty() => {
                    let (nth, magnitude) = (random(objects.len()), 8 + random(14));
                    let size = LARGE + random(1 << magnitude);
                    objects[nth].resize(heap, size);
                }
                _ if !objects.is_empty() => objects.swap_remove(random(objects.len())).free(heap),
                _ => {}
            }
            if step % 100 == 0 {
                counts_agree(heap);
            }
        }
        let (resized, moved) = (scale::size(300, 5) as u64, scale::size(10, 0) as u64);
        assert!(heap.large_stats().resized > resized && heap.large_stats().moved > moved, "{:?}", heap.large_stats());
        objects.into_iter().for_each(|object| object.free(heap));
    });
}

#[test]
fn what_the_page_source_keeps_is_in_the_summary() {
    leaving_nothing(|heap| {
        let summary = || {
            let mut text = String::new();
            heap.write_summary(&mut text).unwrap();
            text
        };
        assert!(!summary().contains("kept"));
        heap.source().kept.set(5 << 20);
        assert!(summary().contains("\nkept          5120 kB  by the page source"), "{}", summary());
    });
}
