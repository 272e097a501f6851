//! What a heap is for: memory of any layout, exclusive, and all of it back in the end.

use std::alloc::{GlobalAlloc, Layout};
use std::ptr::NonNull;

use bifolio::frame::Order;
use bifolio::heap::{Heap, HeapError, SizeClass};

use crate::source::{Blocks, Thread};

type TestHeap = Heap<Blocks, Thread>;

fn layout(size: usize, align: usize) -> Layout {
    Layout::from_size_align(size, align).unwrap()
}

/// Allocates, and fills the object with a byte.
fn allocate(heap: &TestHeap, layout: Layout, fill: u8) -> NonNull<u8> {
    let object = heap
        .allocate(layout)
        .unwrap_or_else(|| panic!("no memory for {layout:?}"));
    assert!(
        object.as_ptr().addr().is_multiple_of(layout.align()),
        "{layout:?} at {object:?}"
    );
    // SAFETY: the object is ours and this long.
    unsafe { object.write_bytes(fill, layout.size()) };
    object
}

/// Checks that the object is still filled as it was, and frees it.
fn free(heap: &TestHeap, object: NonNull<u8>, layout: Layout, fill: u8) {
    // SAFETY: the object is ours, this long and initialised; nobody uses it afterwards.
    unsafe {
        let bytes = std::slice::from_raw_parts(object.as_ptr(), layout.size());
        assert!(
            bytes.iter().all(|&byte| byte == fill),
            "{layout:?} at {object:?} was written to"
        );
        heap.free(object, layout).unwrap();
    }
}

/// Asserts that the heap gives every frame back.
fn assert_empties(heap: &TestHeap) {
    heap.validate().unwrap();
    let held = heap.source().frames();
    assert_eq!(heap.shrink(), held, "shrink says how much it gave back");
    assert_eq!(heap.source().out(), [], "the heap gave everything back");
    heap.validate().unwrap();
}

#[test]
fn every_layout_is_served_and_everything_comes_back() {
    let heap = TestHeap::new(Blocks::new(1 << 16));
    let mut objects = Vec::new();
    let sizes = (0..=130).chain(SizeClass::all().flat_map(|class| [class.size() - 1, class.size(), class.size() + 1]));
    for size in sizes.chain([20_000, 1 << 16, (1 << 20) + 1, 1 << 22]) {
        for align in (0..=22).step_by(2).map(|shift| 1 << shift) {
            let fill = objects.len() as u8;
            objects.push((allocate(&heap, layout(size, align), fill), layout(size, align), fill));
            if objects.len() > 100 {
                let (object, layout, fill) = objects.swap_remove(fill as usize % 100);
                free(&heap, object, layout, fill);
            }
        }
    }
    heap.validate().unwrap();
    for (object, layout, fill) in objects {
        free(&heap, object, layout, fill);
    }
    assert_empties(&heap);
}
