//! Collections that are told which heap is theirs.

use std::alloc::Layout;

use allocator_api2::alloc::Allocator;
use allocator_api2::boxed::Box;
use allocator_api2::vec::Vec;
use kit::{Sound, scale};

use crate::objects::{TestHeap, assert_empties, layout};
use crate::source::Blocks;

#[test]
fn vectors_and_boxes_live_on_the_heap_that_they_are_given() {
    let heap = TestHeap::new(Blocks::new(1 << 12));
    {
        let count = scale::size(100_000, 2000) as u64;
        let mut numbers = Vec::new_in(&heap);
        (0..count).for_each(|number| numbers.push(number));
        assert!(heap.frames().large * 4096 >= 8 * count, "{:?}", heap.frames());
        assert!(numbers.iter().copied().eq(0..count));
        numbers.truncate(10);
        numbers.shrink_to_fit();
        assert_eq!(heap.frames().large, 0);
        let boxed = Box::new_in([7u8; 100], &heap);
        let nothing: Vec<u8, _> = Vec::new_in(&heap);
        assert_eq!((numbers.len(), boxed[99], nothing.capacity()), (10, 7, 0));
        heap.sound();
    }
    assert_empties(&heap);
}

#[test]
fn all_that_is_said_to_be_usable_is_and_contents_move_along() {
    let heap = TestHeap::new(Blocks::new(1 << 12));
    let allocator: &dyn Allocator = &&heap;
    let steps =
        [(100, 8), (400, 8), (400, 256), (3000, 64), (70_000, 8), (70_000, 8192), (50, 8192), (50, 1), (0, 1), (9, 16)];
    let mut old = layout(40, 8);
    let mut object = allocator.allocate(old).unwrap();
    for (step, &(size, align)) in steps.iter().enumerate() {
        let new = layout(size, align);
        let kept = old.size().min(size);
        // SAFETY: the object is ours; every byte of it is written before it is read.
        unsafe {
            object.cast::<u8>().write_bytes(step as u8, object.len());
            let start = object.cast();
            let resized =
                if size >= old.size() { allocator.grow(start, old, new) } else { allocator.shrink(start, old, new) };
            object = resized.unwrap();
            assert!(object.len() >= size && object.cast::<u8>().addr().get().is_multiple_of(align));
            assert!((0..kept).all(|byte| object.cast::<u8>().add(byte).read() == step as u8));
        }
        old = new;
        heap.sound();
    }
    // SAFETY: the object is ours, and not used afterwards; any size up to the one said fits it.
    unsafe { allocator.deallocate(object.cast(), Layout::from_size_align(object.len(), 16).unwrap()) };
    assert_empties(&heap);
}

#[test]
fn a_shortage_is_an_error_and_the_object_stays() {
    let heap = TestHeap::new(Blocks::new(1 << 12));
    let mut bytes = Vec::new_in(&heap);
    bytes.extend_from_slice(&[5; 1000]);
    heap.source().refuse_after(Some(0));
    assert!(bytes.try_reserve(1 << 20).is_err());
    assert_eq!(bytes, [5; 1000]);
    assert!(Allocator::allocate(&&heap, layout(100_000, 8)).is_err());
    drop(bytes);
    heap.source().refuse_after(None);
    assert_empties(&heap);
}

#[test]
fn what_is_aligned_to_more_already_stays_where_it_is() {
    let heap = TestHeap::new(Blocks::new(1 << 12));
    let allocator: &dyn Allocator = &&heap;
    for (size, aligns) in [(4096, [8, 64, 1024]), (60_000, [8, 4096, 16_384])] {
        // Slots of this class, and blocks that hold as many bytes, are aligned to more than any of these.
        let mut old = layout(size, 8);
        let object = allocator.allocate(old).unwrap().cast();
        for align in aligns {
            let new = layout(size, align);
            // SAFETY: the object is ours, and has this layout.
            assert_eq!(unsafe { allocator.grow(object, old, new) }.unwrap().cast(), object, "{new:?}");
            old = new;
        }
        // SAFETY: the object is ours, and not used afterwards.
        unsafe { allocator.deallocate(object, old) };
    }
    assert_empties(&heap);
}
