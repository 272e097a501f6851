//! Objects that no block holds, and those for which memory is only there in pieces: mapped, and otherwise like any other.

use bifolio::frame::{Block, FRAME_SIZE, Gfp, Order};
use bifolio::heap::{Heap, HeapFrames, PageSource};
use kit::Sound;

use crate::objects::{CPUS, Object, layout};
use crate::runs::Runs;
use crate::source::Thread;

const FRAME: usize = FRAME_SIZE as usize;
const MIB: usize = 1 << 20;

type RunHeap = Heap<Runs, Thread, CPUS>;

/// Runs a test on an empty heap, and asserts that it leaves nothing allocated.
fn leaving_nothing(test: impl FnOnce(&RunHeap)) {
    let heap = RunHeap::new(Runs::new());
    let before = heap.source().blocks();
    test(&heap);
    heap.sound();
    heap.shrink();
    assert_eq!(heap.frames(), HeapFrames::default());
    assert_eq!(heap.source().blocks(), before);
}

/// Takes every other single frame.
fn in_pieces(heap: &RunHeap) -> Vec<Block> {
    let frames = &heap.source().frames;
    let all = std::iter::from_fn(|| frames.allocate(Order::ZERO, Gfp::MEMALLOC).ok());
    let (given_back, held): (Vec<Block>, Vec<Block>) = all.partition(|block| block.pfn().number() % 2 == 0);
    given_back.into_iter().for_each(|block| frames.free(block).unwrap());
    held
}

fn give_back(heap: &RunHeap, held: Vec<Block>) {
    held.into_iter().for_each(|block| heap.source().frames.free(block).unwrap());
}

#[test]
#[cfg_attr(miri, ignore = "takes thousands of frames one by one")]
fn what_no_block_holds_is_mapped() {
    leaving_nothing(|heap| {
        for (size, align) in [(4 * MIB + 1, 8), (10 * MIB, 4 * MIB), (40 * MIB, FRAME)] {
            let object = Object::new(heap, layout(size, align), 1);
            assert!(heap.source().is_mapped(object.address));
            assert_eq!(heap.large_stats().longer, 1);
            assert_eq!(heap.frames().large, size.div_ceil(FRAME) as u64);
            heap.sound();
            object.free(heap);
        }
    });
}

#[test]
#[cfg_attr(miri, ignore = "takes thousands of frames one by one")]
fn memory_in_pieces_serves_every_size() {
    leaving_nothing(|heap| {
        let held = in_pieces(heap);
        for size in [9000, 12 * FRAME, MIB, 4 * MIB, 20 * MIB] {
            let mut object = Object::new(heap, layout(size, 8), 2);
            assert!(heap.source().is_mapped(object.address), "{size} bytes in a row out of frames that are not");
            assert!(object.resize(heap, size + 5 * FRAME));
            object.free(heap);
        }
        give_back(heap, held);
    });
}

#[test]
#[cfg_attr(miri, ignore = "takes thousands of frames one by one")]
fn a_mapping_grows_and_shrinks_where_it_is() {
    leaving_nothing(|heap| {
        let mut object = Object::new(heap, layout(5 * MIB, 8), 3);
        let start = object.start();
        for size in [5 * MIB + 1, 12 * MIB, 30 * MIB, 7 * MIB, 100_000, 20 * MIB, 9000] {
            assert!(object.resize(heap, size));
            assert_eq!(object.start(), start);
            assert_eq!(heap.frames().large, size.div_ceil(FRAME) as u64);
            heap.sound();
        }
        // It is no larger than others now, and still mapped.
        assert!(heap.source().is_mapped(object.address));
        assert!(object.resize(heap, 100) && !heap.source().is_mapped(object.address));
        object.free(heap);
    });
}

#[test]
#[cfg_attr(miri, ignore = "takes thousands of frames one by one")]
fn a_mapping_that_cannot_grow_moves() {
    leaving_nothing(|heap| {
        let mut object = Object::new(heap, layout(5 * MIB, 8), 4);
        heap.source().room.set(6 * MIB);
        assert!(object.resize(heap, 6 * MIB));
        assert!(!object.resize(heap, 7 * MIB), "there is no longer mapping");
        assert_eq!(heap.large_stats().moved, 1);
        heap.source().room.set(64 * MIB);
        object.free(heap);
        // From a block that can grow no more into a mapping.
        let mut object = Object::new(heap, layout(4 * MIB, 8), 5);
        let behind = Object::new(heap, layout(4 * MIB, 8), 6);
        assert!(object.resize(heap, 9 * MIB));
        object.free(heap);
        behind.free(heap);
    });
}

#[test]
#[cfg_attr(miri, ignore = "takes thousands of frames one by one")]
fn mappings_take_all_memory_and_give_it_back() {
    leaving_nothing(|heap| {
        for size in [5 * MIB, 17 * MIB] {
            let mut objects = Vec::new();
            while let Some(object) = Object::try_new(heap, layout(size, 8), objects.len() as u8) {
                objects.push(object);
            }
            assert!(objects.len() >= 50 * MIB / size);
            heap.sound();
            let before = heap.source().blocks();
            assert!(heap.allocate(layout(size, 8)).is_none());
            assert_eq!(heap.source().blocks(), before, "a refusal keeps nothing");
            objects.into_iter().for_each(|object| object.free(heap));
        }
        for size in [usize::MAX >> 1, 1 << (usize::BITS - 2), usize::try_from(1_u64 << 33).unwrap_or(1 << 30)] {
            assert!(heap.allocate(layout(size & !0xfff, 8)).is_none());
        }
    });
}

/// A source that is borrowed, by one heap after another.
#[test]
fn a_heap_may_borrow_its_source() {
    let source = Runs::new();
    let before = source.blocks();
    let heap: Heap<_, Thread, CPUS> = Heap::new(&source);
    let small = Object::new(&heap, layout(100, 8), 1);
    let mut large = Object::new(&heap, layout(3 * FRAME, 8), 2);
    let start = large.start();
    assert!(large.resize(&heap, 5 * FRAME) && large.resize(&heap, 3 * FRAME));
    assert_eq!((large.start(), heap.large_stats().resized), (start, 2), "it was resized where it is");
    let mapped = Object::new(&heap, layout(9 * MIB, 8), 3);
    assert!(source.is_mapped(mapped.address));
    source.kept.set(12 << 10);
    let mut text = String::new();
    heap.write_summary(&mut text).unwrap();
    assert!(text.contains("kept            12 kB"), "{text}");
    [small, large, mapped].into_iter().for_each(|object| object.free(&heap));
    heap.sound();
    heap.shrink();
    assert_eq!(source.blocks(), before);
    assert!(!heap.source().is_scarce());
    assert_eq!(heap.source().number_of(0x5000), 0x5000);
}
