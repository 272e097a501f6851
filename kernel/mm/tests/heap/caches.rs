//! Caches of one type: exact sizes, constructors, and what is left when they end.

use std::alloc::Layout;
use std::ptr::NonNull;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use bifolio::heap::{CacheError, CacheOptions, HeapError, SlabDebug};
use kit::Sound;

use crate::objects::{TestHeap, assert_empties};
use crate::source::Blocks;

/// 101 bytes, or 104 with the padding.
struct Inode {
    _number: u64,
    _name: [u8; 93],
}

fn heap() -> TestHeap {
    TestHeap::new(Blocks::new(1 << 12))
}

#[test]
fn objects_are_as_large_as_they_are() {
    let heap = heap();
    let inodes = heap.cache::<Inode>(CacheOptions::new("inode")).unwrap();
    let objects: Vec<_> = (0..1000).map(|_| inodes.allocate().unwrap()).collect();
    let stats = inodes.stats();
    assert_eq!((stats.name, stats.object_size, stats.active_objects), ("inode", 104, 1000));
    assert_eq!((stats.objects_per_slab, stats.slabs, stats.frames), (8 * 4096 / 104, 4, 32));
    let mut text = String::new();
    heap.write_slabinfo(&mut text).unwrap();
    assert!(text.lines().any(|line| line.starts_with("inode               1000 ")), "{text}");
    for (nth, object) in objects.iter().enumerate() {
        // SAFETY: the object is ours.
        unsafe { object.cast::<u8>().write_bytes(nth as u8, 101) };
    }
    heap.sound();
    for (nth, object) in objects.into_iter().enumerate() {
        // SAFETY: the object is ours, and not used afterwards.
        unsafe {
            assert_eq!((object.cast::<u8>().read(), object.cast::<u8>().add(100).read()), (nth as u8, nth as u8));
            inodes.free(object).unwrap();
        }
    }
    assert_eq!(inodes.destroy(|object| panic!("{object:?}")), 0);
    assert_empties(&heap);
}

#[test]
fn an_object_is_of_one_cache() {
    let heap = heap();
    let inodes = heap.cache::<Inode>(CacheOptions::new("inode")).unwrap();
    let others = heap.cache::<[u8; 104]>(CacheOptions::new("other").align(8)).unwrap();
    let inode = inodes.allocate().unwrap();
    let address = inode.as_ptr().addr();
    let wrong = |given| HeapError::WrongLayout { address, cache: "inode", slot: 0, given, actual: 104 };
    // SAFETY: what is refused is not freed; and then it is ours, and not used afterwards.
    unsafe {
        assert_eq!(others.free(inode.cast()), Err(wrong(104)));
        assert_eq!(heap.free(inode.cast(), Layout::new::<[u8; 104]>()), Err(wrong(104)));
        let inside = NonNull::new(inode.as_ptr().cast::<u8>().add(8)).unwrap();
        let error = HeapError::Interior { address: address + 8, cache: "inode", slot: 0, offset: 8 };
        assert_eq!(inodes.free(inside.cast()), Err(error));
        assert_eq!(inodes.free(inode), Ok(()));
        assert_eq!(inodes.free(inode), Err(HeapError::DoubleFree { address, cache: "inode", slot: 0 }));
        let plain = heap.allocate(Layout::new::<[u64; 13]>()).unwrap();
        let error = others.free(plain.cast()).unwrap_err();
        assert!(matches!(error, HeapError::WrongLayout { cache: "kmalloc-104", .. }), "{error}");
        heap.free(plain, Layout::new::<[u64; 13]>()).unwrap();
    }
    drop((inodes, others));
    assert_empties(&heap);
}

#[test]
fn a_constructor_runs_once_for_a_slot() {
    static RUNS: AtomicUsize = AtomicUsize::new(0);
    fn construct(object: NonNull<[u32; 10]>) {
        RUNS.fetch_add(1, Relaxed);
        // SAFETY: the slot is ours, and this large.
        unsafe { object.write([7; 10]) };
    }
    let heap = heap();
    let cache = heap.cache(CacheOptions::new("sevens").constructor(construct).align(64)).unwrap();
    let mut slots = 0;
    for _ in 0..5 {
        let objects: Vec<NonNull<[u32; 10]>> = (0..600).map(|_| cache.allocate().unwrap()).collect();
        slots = slots.max(cache.stats().objects);
        for object in objects {
            assert!(object.as_ptr().addr().is_multiple_of(64));
            // SAFETY: the object is ours, was constructed, and is freed as it was found.
            unsafe {
                assert_eq!(object.read(), [7; 10]);
                cache.free(object).unwrap();
            }
        }
    }
    assert!(RUNS.load(Relaxed) >= slots && RUNS.load(Relaxed) <= 2 * slots, "{RUNS:?} runs for {slots} slots");
    // What is poisoned is constructed again.
    cache.set_debug(SlabDebug::all());
    for _ in 0..300 {
        let object = cache.allocate().unwrap();
        // SAFETY: likewise.
        unsafe {
            assert_eq!(object.read(), [7; 10]);
            cache.free(object).unwrap();
        }
    }
    assert_eq!(cache.destroy(|object| panic!("{object:?}")), 0);
    assert_empties(&heap);
}

#[test]
fn what_is_left_is_listed_and_can_never_be_freed() {
    for debug in [SlabDebug::empty(), SlabDebug::all()] {
        let heap = heap();
        let cache = heap.cache::<Inode>(CacheOptions::new("inode").debug(debug)).unwrap();
        let objects: Vec<_> = (0..500).map(|_| cache.allocate().unwrap()).collect();
        let line = line!() - 1;
        let (left, freed): (Vec<_>, Vec<_>) = objects.into_iter().enumerate().partition(|(nth, _)| nth % 100 == 5);
        for (_, object) in freed {
            // SAFETY: the object is ours, and not used afterwards.
            unsafe { cache.free(object).unwrap() };
        }
        let mut expected: Vec<_> = left.iter().map(|(_, object)| object.as_ptr().addr()).collect();
        let mut listed = Vec::new();
        let count = cache.destroy(|object| {
            assert_eq!(object.size, size_of::<Inode>());
            assert_eq!(object.allocated.map(|site| site.line()), (!debug.is_empty()).then_some(line));
            listed.push(object.address);
        });
        expected.sort_unstable();
        listed.sort_unstable();
        assert_eq!((count, &listed), (5, &expected));
        heap.sound();
        for (_, object) in &left {
            // SAFETY: it is refused.
            let error = unsafe { heap.free_unsized(object.cast()) }.unwrap_err();
            assert!(matches!(error, HeapError::Destroyed { cache: "inode", .. }), "{error}");
        }
        // The name may be used again, and is another cache's.
        let again = heap.cache::<Inode>(CacheOptions::new("inode")).unwrap();
        let object = again.allocate().unwrap();
        assert!(!expected.contains(&object.as_ptr().addr()));
        // SAFETY: likewise.
        unsafe { again.free(object).unwrap() };
        drop(again);
        heap.shrink();
        heap.sound();
        assert!(heap.frames().slabs > 0, "what has leaked is still there");
    }
}

#[test]
fn a_cache_that_is_dropped_reports_what_is_left() {
    static HEARD: Mutex<Vec<HeapError>> = Mutex::new(Vec::new());
    let heap = heap();
    heap.set_error_hook(|&error| HEARD.lock().unwrap().push(error));
    let cache = heap.cache::<u64>(CacheOptions::new("words")).unwrap();
    let address = cache.allocate().unwrap().as_ptr().addr();
    drop(cache);
    let leaked = HeapError::Leaked { address, cache: "words", size: 8, allocated: None };
    assert_eq!(*HEARD.lock().unwrap(), [leaked]);
    assert_eq!(leaked.to_string(), format!("8 bytes at {address:#x} were still allocated when words was destroyed"));
}

#[test]
fn a_cache_that_cannot_be_is_refused() {
    let heap = heap();
    let error = heap.cache::<[u8; 8193]>(CacheOptions::new("large")).err();
    assert_eq!(error, Some(CacheError::TooLarge { size: 8200 }));
    assert_eq!(heap.cache::<u8>(CacheOptions::new("odd").align(24)).err(), Some(CacheError::InvalidAlignment(24)));
    heap.source().refuse_after(Some(0));
    assert_eq!(heap.cache::<u8>(CacheOptions::new("none")).err(), Some(CacheError::OutOfMemory));
    heap.source().refuse_after(None);
    let all: Vec<_> = std::iter::from_fn(|| heap.cache::<u8>(CacheOptions::new("many")).ok()).collect();
    assert_eq!(heap.cache::<u8>(CacheOptions::new("one more")).err(), Some(CacheError::TooMany));
    assert!(all.len() >= 16);
    let errors = [CacheError::TooLarge { size: 8200 }, CacheError::InvalidAlignment(24), CacheError::OutOfMemory];
    assert_eq!(
        errors.map(|error| error.to_string()),
        [
            "objects of 8200 bytes are too large for a cache",
            "an alignment of 24, which is no power of two",
            "no memory for a cache",
        ]
    );
    assert_eq!(CacheError::TooMany.to_string(), format!("there are {} caches already", all.len()));
    drop(all);
    assert_empties(&heap);
}

#[test]
fn one_allocation_can_be_made_to_fail() {
    let heap = heap();
    let cache = heap.cache::<Inode>(CacheOptions::new("inode")).unwrap();
    cache.set_fail_after(Some(1));
    let taken: Vec<_> = (0..3).map(|_| cache.allocate()).collect();
    assert!(taken[0].is_some() && taken[1].is_none() && taken[2].is_some());
    for object in taken.into_iter().flatten() {
        // SAFETY: the object is ours, and not used afterwards.
        unsafe { cache.free(object).unwrap() };
    }
    drop(cache);
    assert_empties(&heap);
}
