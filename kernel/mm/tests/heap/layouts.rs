//! What a heap is for: memory of any layout, exclusive, and all of it back in the end.

use std::alloc::GlobalAlloc;

use bifolio::frame::Order;
use bifolio::heap::SizeClass;
use kit::{Sound, scale};

use crate::objects::{Object, TestHeap, assert_empties, layout};
use crate::source::Blocks;

const LARGEST: usize = Order::MAX.bytes() as usize;

#[test]
fn every_layout_is_served_and_everything_comes_back() {
    let heap = TestHeap::new(Blocks::new(1 << 16));
    let mut objects = Vec::new();
    let sizes = (0..=130).chain(SizeClass::all().flat_map(|class| [class.size() - 1, class.size(), class.size() + 1]));
    for size in scale::some(sizes.chain([20_000, 1 << 16, (1 << 20) + 1, LARGEST])) {
        for align in (0..=22).step_by(2).map(|shift| 1 << shift) {
            let seed = objects.len() as u8;
            objects.push(Object::new(&heap, layout(size, align), seed));
            if objects.len() > 100 {
                objects.swap_remove(seed as usize % 100).free(&heap);
            }
        }
    }
    heap.sound();
    for object in objects {
        object.free(&heap);
    }
    assert_empties(&heap);
}

#[test]
fn a_full_slab_is_filled_again_word_by_word_from_the_one_behind_the_last() {
    let heap = TestHeap::new(Blocks::new(1 << 10));
    let layout = layout(64, 8);
    let mut objects: Vec<_> = (0..512).map(|seed| Object::new(&heap, layout, seed as u8)).collect();
    assert!(objects.is_sorted_by_key(Object::start), "slots are given out in order");
    let freed = [500, 300, 7].map(|index| {
        let object = objects.remove(index);
        let start = object.start();
        object.free(&heap);
        start
    });
    // 500 is in the word that the last slots were taken from: the others have their turn before it.
    for expected in [freed[2], freed[1], freed[0]] {
        let object = Object::new(&heap, layout, 1);
        assert_eq!(object.start(), expected);
        objects.push(object);
    }
    assert_eq!(heap.cache_stats(SizeClass::of(layout).unwrap()).slabs, 1);
    objects.into_iter().for_each(|object| object.free(&heap));
    assert_empties(&heap);
}

#[test]
fn one_empty_slab_is_kept_and_the_next_goes_back_at_once() {
    let heap = TestHeap::new(Blocks::new(1 << 10));
    let layout = layout(1000, 8);
    let class = SizeClass::of(layout).unwrap();
    let mut objects: Vec<_> = (0..32 * 4).map(|seed| Object::new(&heap, layout, seed)).collect();
    assert_eq!(heap.cache_stats(class).slabs, 4);
    // The first to become empty is kept, and used last; those that follow go back.
    for left in [4, 3, 2] {
        objects.drain(..32).for_each(|object| object.free(&heap));
        assert_eq!(heap.cache_stats(class).slabs, left);
        heap.sound();
    }
    let stats = heap.cache_stats(class);
    assert_eq!((stats.slabs, stats.active_slabs, stats.active_objects, stats.objects), (2, 1, 32, 64));
    // Around the edge of a slab nothing is fetched or given back.
    let requests = heap.source().requests();
    for seed in 0..10 {
        let object = Object::new(&heap, layout, seed);
        objects.pop().unwrap().free(&heap);
        object.free(&heap);
        objects.push(Object::new(&heap, layout, seed));
    }
    assert_eq!(heap.source().requests(), requests);
    objects.into_iter().for_each(|object| object.free(&heap));
    assert_empties(&heap);
}

#[test]
fn an_empty_slab_is_kept_although_others_have_room_and_is_used_after_them() {
    let heap = TestHeap::new(Blocks::new(1 << 10));
    let layout = layout(1000, 8);
    let class = SizeClass::of(layout).unwrap();
    let mut objects: Vec<_> = (0..32 * 3).map(|seed| Object::new(&heap, layout, seed)).collect();
    let hole = objects.pop().unwrap();
    let start = hole.start();
    hole.free(&heap);
    // The slab in the middle empties while the last one has room.
    objects.drain(32..64).for_each(|object| object.free(&heap));
    let stats = heap.cache_stats(class);
    assert_eq!((stats.slabs, stats.active_slabs), (3, 2));
    objects.push(Object::new(&heap, layout, 1));
    assert_eq!(objects.last().map(Object::start), Some(start), "the slab in use is filled first");
    let requests = heap.source().requests();
    objects.extend((0..32).map(|seed| Object::new(&heap, layout, seed)));
    assert_eq!(heap.source().requests(), requests, "then the empty one");
    objects.into_iter().for_each(|object| object.free(&heap));
    assert_empties(&heap);
}

#[test]
fn resizing_keeps_the_contents_and_the_place_where_it_can() {
    let heap = TestHeap::new(Blocks::new(1 << 16));
    for align in [1, 64, 4096, 1 << 16] {
        let mut object = Object::new(&heap, layout(1, align), 99);
        for size in [2, 8, 9, 100, 112, 113, 8192, 8193, 12_288, 16_384, 16_385, 1 << 20, LARGEST, 40_000, 70, 65, 0, 1]
        {
            let (start, old) = (object.start(), object.layout);
            assert!(object.resize(&heap, size));
            let stays = TestHeap::usable_size(object.layout) == TestHeap::usable_size(old);
            assert_eq!(object.start() == start, stays, "{old:?} to {size}");
            heap.sound();
        }
        object.free(&heap);
    }
    assert_empties(&heap);
}

#[test]
fn the_global_allocator_face_does_the_same() {
    let heap = TestHeap::new(Blocks::new(1 << 16));
    for size in [1, 100, 8192, 8193, scale::size(1 << 20, 9000)] {
        let layout = layout(size, 16);
        // SAFETY: the objects are used within their layouts, until they are freed.
        unsafe {
            let zeroed = heap.alloc_zeroed(layout);
            assert!(std::slice::from_raw_parts(zeroed, size).iter().all(|&byte| byte == 0));
            zeroed.write_bytes(7, size);
            let grown = heap.realloc(zeroed, layout, 3 * size);
            assert!(std::slice::from_raw_parts(grown, size).iter().all(|&byte| byte == 7));
            heap.dealloc(grown, self::layout(3 * size, 16));
        }
        heap.sound();
    }
    // SAFETY: layouts of nonzero size.
    unsafe {
        assert!(heap.alloc(layout(LARGEST + 1, 1)).is_null(), "larger than the largest block");
        assert!(heap.alloc(layout(1, 2 * LARGEST)).is_null(), "more aligned than the largest block");
        assert!(heap.alloc(layout(isize::MAX as usize, 1)).is_null());
    }
    assert_empties(&heap);
}
