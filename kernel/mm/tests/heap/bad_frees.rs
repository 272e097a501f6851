//! Every way to free what may not be freed is refused, named, and changes nothing.

use std::alloc::GlobalAlloc;
use std::ptr;
use std::sync::Mutex;

use bifolio::error::FreeError;
use bifolio::frame::{Order, Pfn};
use bifolio::heap::HeapError;
use kit::Sound;

use crate::objects::{Object, TestHeap, assert_empties, bad_free, layout};
use crate::source::Blocks;

#[test]
fn a_double_free_is_named_with_cache_and_slot() {
    let heap = TestHeap::new(Blocks::new(1 << 12));
    let layout = layout(96, 8);
    let objects: Vec<_> = (0..10).map(|seed| Object::new(&heap, layout, seed)).collect();
    let address = objects[6].start();
    for object in objects {
        object.free(&heap);
    }
    let error = bad_free(&heap, address, layout);
    assert_eq!(error, HeapError::DoubleFree { address, cache: "kmalloc-96", slot: 6 });
    assert_eq!(
        error.to_string(),
        format!("bad free of {address:#x}: slot 6 of kmalloc-96 is free already (double free)")
    );
    // With another class's layout it is still a double free.
    assert_eq!(bad_free(&heap, address, self::layout(8, 8)), error);
    assert_empties(&heap);
    assert_eq!(bad_free(&heap, address, layout), HeapError::Foreign { address });
}

#[test]
fn an_interior_pointer_is_named_with_its_slot() {
    let heap = TestHeap::new(Blocks::new(1 << 12));
    let layout = layout(160, 8);
    let objects: Vec<_> = (0..40).map(|seed| Object::new(&heap, layout, seed)).collect();
    for offset in 1..160 {
        let address = objects[33].start() + offset;
        let expected = HeapError::Interior { address, cache: "kmalloc-160", slot: 33, offset };
        assert_eq!(bad_free(&heap, address, layout), expected);
        assert_eq!(bad_free(&heap, address, self::layout(1 << 20, 8)), expected);
    }
    objects.into_iter().for_each(|object| object.free(&heap));
    assert_empties(&heap);
}

#[test]
fn an_address_without_an_object_is_foreign() {
    let heap = TestHeap::new(Blocks::new(1 << 12));
    let object = Object::new(&heap, layout(24, 8), 1);
    let local = 0u64;
    // The slab's last bytes hold no slot: 341 of 24 bytes leave 8.
    let tail = (object.start() & !8191) + 8184;
    // Where the map knows 48 bits of an address, the other 16 must matter too.
    let alias = object.start() ^ 1 << (usize::BITS - 1);
    for address in
        [1, 4096, usize::MAX, tail, alias, object.start() ^ 1 << (3 * usize::BITS / 4 - 1), (&raw const local).addr()]
    {
        for layout in [layout(24, 8), layout(64, 8), layout(9000, 8)] {
            assert_eq!(bad_free(&heap, address, layout), HeapError::Foreign { address });
        }
    }
    object.free(&heap);
    assert_empties(&heap);
}

#[test]
fn a_wrong_layout_is_named_with_both_sizes() {
    let heap = TestHeap::new(Blocks::new(1 << 12));
    let object = Object::new(&heap, layout(50, 8), 1);
    let address = object.start();
    for given in [1, 48, 57, 64, 4096, 100_000] {
        let expected = HeapError::WrongLayout { address, cache: "kmalloc-56", slot: 0, given, actual: 56 };
        assert_eq!(bad_free(&heap, address, layout(given, 8)), expected);
    }
    object.free(&heap);
    assert_empties(&heap);
}

#[test]
fn large_objects_are_told_as_exactly() {
    let heap = TestHeap::new(Blocks::new(1 << 14));
    for order in Order::all().skip(2) {
        let bytes = order.bytes() as usize;
        let object = Object::new(&heap, layout(bytes, 8), order.get());
        let (address, cache) = (object.start(), "kmalloc-large");
        for offset in [1, 4096, bytes / 2, bytes / 2 + 4096, bytes - 1] {
            let address = address + offset;
            let expected = HeapError::Interior { address, cache, slot: 0, offset };
            assert_eq!(bad_free(&heap, address, object.layout), expected);
            assert_eq!(bad_free(&heap, address, layout(8, 8)), expected);
        }
        for given in [8, bytes / 2, 2 * bytes] {
            let expected = HeapError::WrongLayout { address, cache, slot: 0, given, actual: bytes };
            assert_eq!(bad_free(&heap, address, layout(given, 8)), expected);
        }
        let layout = object.layout;
        object.free(&heap);
        assert_eq!(bad_free(&heap, address, layout), HeapError::Foreign { address });
    }
    assert_empties(&heap);
}

#[test]
fn resizing_what_is_not_live_is_refused_too() {
    let heap = TestHeap::new(Blocks::new(1 << 12));
    let object = Object::new(&heap, layout(64, 8), 1);
    let address = object.address;
    let kept = Object::new(&heap, layout(64, 8), 2);
    object.free(&heap);
    for size in [64, 100, 8, 100_000] {
        // SAFETY: nobody's object starts here.
        let error = unsafe { heap.reallocate(address, layout(64, 8), size) }.unwrap_err();
        assert!(matches!(error, HeapError::DoubleFree { slot: 0, .. }), "{error}");
    }
    kept.free(&heap);
    assert_empties(&heap);
}

#[test]
fn errors_without_a_caller_go_to_the_hook() {
    static HEARD: Mutex<Vec<HeapError>> = Mutex::new(Vec::new());
    let heap = TestHeap::new(Blocks::new(1 << 12));
    heap.set_error_hook(|&error| HEARD.lock().unwrap().push(error));
    // SAFETY: none of these is anybody's object.
    unsafe {
        heap.dealloc(ptr::without_provenance_mut(0x1000), layout(8, 8));
        heap.dealloc(ptr::null_mut(), layout(8, 8));
        assert!(heap.realloc(ptr::without_provenance_mut(0x2000), layout(8, 8), 9).is_null());
        assert!(heap.realloc(ptr::null_mut(), layout(8, 8), 9).is_null());
    }
    let heard = std::mem::take(&mut *HEARD.lock().unwrap());
    assert_eq!(heard, [0x1000, 0, 0x2000, 0].map(|address| HeapError::Foreign { address }));
    heap.sound();
}

#[test]
#[should_panic(expected = "bad free of 0x1000: no object of this heap")]
fn errors_without_a_caller_panic_unless_told_otherwise() {
    let heap = TestHeap::new(Blocks::new(1 << 12));
    // SAFETY: this is nobody's object.
    unsafe { heap.dealloc(ptr::without_provenance_mut(0x1000), layout(8, 8)) };
}

#[test]
fn a_page_source_that_takes_nothing_back_is_told_of() {
    static HEARD: Mutex<Vec<HeapError>> = Mutex::new(Vec::new());
    let heap = TestHeap::new(Blocks::new(1 << 12));
    heap.set_error_hook(|&error| HEARD.lock().unwrap().push(error));
    let object = Object::new(&heap, layout(100_000, 8), 1);
    let (address, order) = (object.start(), Order::new(5).unwrap());
    heap.source().forget();
    object.free(&heap);
    heap.sound();
    let error = FreeError::AlreadyFree(Pfn::containing(address as u64));
    assert_eq!(*HEARD.lock().unwrap(), [HeapError::Refused { address, frames: order.frames(), error }]);
}

#[test]
fn each_error_says_what_and_where() {
    let (address, cache, slot) = (0x5040, "inode", 3);
    let site = std::panic::Location::caller();
    let pfn = Pfn::new(5);
    let told = [
        (
            HeapError::Interior { address, cache, slot, offset: 8 },
            "bad free of 0x5040: 8 bytes inside slot 3 of inode".to_owned(),
        ),
        (
            HeapError::WrongLayout { address, cache, slot, given: 9, actual: 64 },
            "bad free of 0x5040: a layout of 9 bytes given for slot 3 of inode, which has 64".to_owned(),
        ),
        (
            HeapError::Destroyed { address, cache, slot },
            "bad free of 0x5040: slot 3 of inode, which has been destroyed".to_owned(),
        ),
        (
            HeapError::Leaked { address, cache, size: 64, allocated: None },
            "64 bytes at 0x5040 were still allocated when inode was destroyed".to_owned(),
        ),
        (
            HeapError::Leaked { address, cache, size: 64, allocated: Some(site) },
            format!("64 bytes at 0x5040 were still allocated when inode was destroyed, since {site}"),
        ),
        (
            HeapError::Refused { address: 0x5000, frames: 2, error: FreeError::AlreadyFree(pfn) },
            format!("the page source did not take back 2 frames at 0x5000: {}", FreeError::AlreadyFree(pfn)),
        ),
    ];
    for (error, words) in told {
        assert_eq!(error.to_string(), words);
        let is_refusal = matches!(error, HeapError::Refused { .. });
        assert_eq!(std::error::Error::source(&error).is_some(), is_refusal, "{error}");
    }
}
