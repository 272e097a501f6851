//! A heap in a region as a static, for a global allocator.

use std::alloc::{GlobalAlloc, Layout};
use std::sync::Mutex;

use bifolio::heap::{HeapError, InRegion, RegionError, StaticHeap};
use bifolio::kernel::{NoInterrupts, Uniprocessor};
use kit::{Sound, scale};

/// As a microcontroller has it, a static array, and a kernel that maps a heap.
#[test]
fn a_heap_in_a_region_can_be_a_global_allocator() {
    static SMALL: StaticHeap<Uniprocessor<NoInterrupts>> = StaticHeap::new();
    serves(&SMALL, 64 << 10);
    let heap = SMALL.heap().and_then(InRegion::small).unwrap();
    assert_eq!((heap.validate(), heap.stats().objects), (Ok(()), 0));
    static LARGE: StaticHeap<Uniprocessor<NoInterrupts>> = StaticHeap::new();
    serves(&LARGE, 4 << 20);
    let heap = LARGE.heap().and_then(InRegion::slabs).unwrap();
    heap.sound();
    heap.shrink();
    assert_eq!(heap.frames().slabs, 0);
}

fn serves(heap: &'static StaticHeap<Uniprocessor<NoInterrupts>>, size: usize) {
    let layout = Layout::new::<[u64; 100]>();
    // SAFETY: the layout is not empty.
    assert!(unsafe { heap.alloc(layout) }.is_null(), "there is no memory yet");
    let region = Box::leak(vec![0xff_u8; size].into_boxed_slice()).as_mut_ptr();
    // SAFETY: the memory was allocated for this, and stays; one thread uses this heap.
    let init = |bytes| unsafe { heap.init(region, bytes) };
    assert!(matches!(init(200), Err(RegionError::TooSmall { bytes: 200, .. })));
    init(size).unwrap();
    assert_eq!(init(size), Err(RegionError::Twice));
    for round in 0..scale::rounds(100) as u8 {
        // SAFETY: the layout is not empty; each object is used within the layout it has, and freed once, with the last of them.
        unsafe {
            let objects: [_; 20] = core::array::from_fn(|_| heap.alloc_zeroed(layout));
            assert!(objects.iter().all(|object| !object.is_null()), "{objects:?}");
            assert!(objects.iter().all(|object| (0..layout.size()).all(|at| object.add(at).read() == 0)));
            objects.iter().for_each(|object| object.write_bytes(round, layout.size()));
            let object = heap.realloc(objects[0], layout, 2 * layout.size());
            assert!((0..layout.size()).all(|at| object.add(at).read() == round));
            heap.dealloc(object, Layout::from_size_align(2 * layout.size(), layout.align()).unwrap());
            objects[1..].iter().for_each(|object| heap.dealloc(*object, layout));
        }
    }
}

/// A global allocator has nobody to return errors to.
#[test]
fn what_a_static_heap_refuses_is_reported() {
    static ERRORS: Mutex<Vec<HeapError>> = Mutex::new(Vec::new());
    fn note(error: &HeapError) {
        ERRORS.lock().unwrap().push(*error);
    }
    let layout = Layout::new::<u64>();
    for size in [4 << 10, 4 << 20] {
        let heap = StaticHeap::<Uniprocessor<NoInterrupts>>::new();
        // SAFETY: the memory was allocated for this, and stays; one thread uses this heap.
        unsafe { heap.init(Box::leak(vec![0; size].into_boxed_slice()).as_mut_ptr(), size) }.unwrap();
        match heap.heap().unwrap() {
            InRegion::Small(heap) => heap.set_error_hook(note),
            InRegion::Slabs(heap) => heap.set_error_hook(note),
            _ => unreachable!(),
        }
        // SAFETY: the object is used no more once it was freed; what is freed wrongly is nobody's.
        unsafe {
            let object = heap.alloc(layout);
            heap.dealloc(object, layout);
            heap.dealloc(object, layout);
            heap.dealloc(std::ptr::null_mut(), layout);
            assert!(heap.realloc(object, layout, 100).is_null() && heap.realloc(object, layout, usize::MAX).is_null());
            let errors = std::mem::take(&mut *ERRORS.lock().unwrap());
            let [HeapError::DoubleFree { address, .. }, HeapError::Foreign { address: 0 }, last] = errors[..] else {
                panic!("{errors:?}")
            };
            assert_eq!((address, last.address()), (object.addr(), object.addr()));
        }
    }
}
