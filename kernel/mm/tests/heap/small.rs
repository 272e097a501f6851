//! Regions of less than 512 KiB, in which each object is a piece of its own: as exact as slabs are.

use std::alloc::Layout;
use std::ptr::NonNull;
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;

use bifolio::heap::{CacheOptions, Heap, HeapError, MallocError, RegionHeap, SizeClass, SlabDebug};
use kit::{Random, Thread};

const KIB: usize = 1024;

fn with_region(bytes: usize, story: impl FnOnce(RegionHeap<'_>)) {
    let mut memory = vec![0x5a; bytes];
    story(Heap::in_region(&mut memory).unwrap());
}

#[test]
fn random_operations_keep_contents_and_every_invariant() {
    with_region(100 * KIB, |heap| {
        let mut random = Random::new(3);
        let mut held: Vec<(NonNull<u8>, usize, u8)> = Vec::new();
        // SAFETY: every object is this test's, has as many bytes, and is used no more once it was freed or moved.
        let is_filled = |object: NonNull<u8>, size: usize, byte: u8| unsafe {
            std::slice::from_raw_parts(object.as_ptr(), size).iter().all(|found| *found == byte)
        };
        for step in 0..20_000_u32 {
            let most = if random.per_mille(100) { 12_000 } else { 600 };
            let size = 1 + random.index(most);
            let byte = step as u8;
            match random.below(5) {
                0 | 1 if !held.is_empty() => {
                    let (object, size, byte) = held.swap_remove(random.index(held.len()));
                    assert!(is_filled(object, size, byte));
                    // SAFETY: as above.
                    unsafe { heap.free_sized(object.as_ptr(), size).unwrap() };
                }
                2 if !held.is_empty() => {
                    let place = random.index(held.len());
                    let (object, old, byte) = &mut held[place];
                    // SAFETY: as above.
                    let Ok(moved) = (unsafe { heap.realloc(object.as_ptr(), size) }) else { continue };
                    assert!(is_filled(moved, size.min(*old), *byte) && heap.object_size(moved).unwrap() >= size);
                    // SAFETY: as above.
                    unsafe { moved.write_bytes(*byte, size) };
                    (*object, *old) = (moved, size);
                }
                _ => {
                    let align = 1 << random.below(9);
                    let object = if align <= 8 { heap.malloc(size) } else { heap.aligned_alloc(align, size) };
                    let Ok(object) = object else { continue };
                    assert!(object.as_ptr().addr().is_multiple_of(align) && heap.object_size(object).unwrap() >= size);
                    // SAFETY: as above.
                    unsafe { object.write_bytes(byte, size) };
                    match align {
                        1..=8 => held.push((object, size, byte)),
                        // SAFETY: as above.
                        _ => unsafe { heap.free_aligned_sized(object.as_ptr(), align, size).unwrap() },
                    }
                }
            }
            if step % 64 == 0 {
                heap.heap().validate().unwrap();
                assert_eq!(heap.heap().large_stats().objects(), held.len());
            }
        }
        for (object, size, byte) in held {
            assert!(is_filled(object, size, byte));
            // SAFETY: as above.
            unsafe { heap.free(object.as_ptr()).unwrap() };
        }
        assert_eq!(heap.heap().frames(), Default::default());
    });
}

#[test]
fn every_wrong_free_is_refused_and_named() {
    with_region(20 * KIB, |heap| {
        let object = heap.malloc(100).unwrap();
        let (address, cache, slot) = (object.as_ptr().addr(), "kmalloc-112", 0);
        let large = heap.malloc(9000).unwrap();
        // SAFETY: the objects are ours, and not used once they were freed; what is freed wrongly is nobody's.
        unsafe {
            for offset in [1, 8, 16, 111] {
                let inside = HeapError::Interior { address: address + offset, cache, slot, offset };
                assert_eq!(heap.free(object.as_ptr().add(offset)), Err(inside));
                assert_eq!(heap.realloc(object.as_ptr().add(offset), 1), Err(MallocError::NoObject(inside)));
            }
            for given in [96, 113, 128, 9000] {
                let wrong = HeapError::WrongLayout { address, cache, slot, given, actual: 112 };
                assert_eq!(heap.free_sized(object.as_ptr(), given), Err(MallocError::NoObject(wrong)));
            }
            let wrong = HeapError::WrongLayout {
                address: large.addr().get(),
                cache: "kmalloc-large",
                slot,
                given: 100,
                actual: 9216,
            };
            assert_eq!(heap.free_sized(large.as_ptr(), 100), Err(MallocError::NoObject(wrong)));
            heap.heap().validate().unwrap();
            assert_eq!(heap.free_sized(object.as_ptr(), 105), Ok(()), "a size of the same class");
            assert_eq!(heap.free(object.as_ptr()), Err(HeapError::DoubleFree { address, cache, slot }));
            for address in [address + 16, 64, usize::MAX - 4095] {
                let nobody = Err(HeapError::Foreign { address });
                assert_eq!(heap.free(std::ptr::without_provenance_mut(address)), nobody);
            }
            assert_eq!(heap.free(large.as_ptr()), Ok(()));
        }
        assert_eq!(heap.heap().frames(), Default::default());
    });
}

#[test]
fn what_the_heap_itself_has_taken_is_nobodys_object() {
    with_region(300 * KIB, |heap| {
        let cache = heap.heap().cache::<[u64; 512]>(CacheOptions::new("page")).unwrap();
        let page = cache.allocate().unwrap();
        let object = page.cast::<u8>();
        // SAFETY: what is freed wrongly stays; then the object is freed, and not used afterwards.
        unsafe {
            assert!(heap.free(object.as_ptr()).is_ok() || heap.heap().validate().is_ok());
            assert!(cache.free(page).is_ok() || heap.heap().validate().is_ok());
        }
        let block = object.as_ptr().map_addr(|address| address & !4095);
        // SAFETY: nothing of the user's starts there.
        assert!(unsafe { heap.free_sized(block, 4096) }.is_err());
        assert_eq!(cache.destroy(|_| unreachable!()), 0);
        heap.heap().validate().unwrap();
        heap.heap().shrink();
        assert_eq!(heap.heap().frames(), Default::default());
    });
}

#[test]
fn an_object_grows_and_shrinks_where_it_is() {
    with_region(64 * KIB, |heap| {
        let object = heap.malloc(10).unwrap();
        // SAFETY: the object is ours, and we go on with what comes back.
        unsafe {
            object.write(9);
            for size in [20, 300, 30_000, 9000, 100, 1] {
                assert_eq!((heap.realloc(object.as_ptr(), size), object.read()), (Ok(object), 9), "{size}");
            }
            let behind = heap.malloc(10).unwrap();
            let moved = heap.realloc(object.as_ptr(), 300).unwrap();
            assert!(moved != object && moved.read() == 9);
            let stats = heap.heap().large_stats();
            assert_eq!((stats.resized, stats.moved, stats.objects()), (6, 1, 2));
            [moved, behind].iter().for_each(|object| heap.free(object.as_ptr()).unwrap());
        }
    });
}

#[test]
fn what_is_debugged_is_debugged_in_a_small_region_too() {
    with_region(128 * KIB, |heap| {
        let class = SizeClass::of(Layout::from_size_align(64, 16).unwrap()).unwrap();
        let before = heap.malloc(64).unwrap();
        assert!(heap.heap().set_debug(class, SlabDebug::all()));
        let object = heap.malloc(64).unwrap();
        assert_eq!(heap.heap().large_stats().objects(), 1);
        // SAFETY: the objects are ours; the byte behind the end of one is in its redzone.
        unsafe {
            object.add(64).write(1);
            assert!(matches!(heap.free(object.as_ptr()), Err(HeapError::Overwritten { .. })));
            assert_eq!(heap.free(before.as_ptr()), Ok(()), "from before");
        }
        heap.heap().validate().unwrap();
    });
}

/// Two threads free each of many objects at the same time: one of them is told that there is none.
#[test]
fn of_two_frees_at_once_one_is_refused() {
    const OBJECTS: usize = 300;
    const ROUNDS: usize = 30;
    let mut memory = vec![0; 64 * KIB];
    Thread::become_cpu(0);
    let heap = Heap::<_, Thread, 2>::in_shared_region(&mut memory).unwrap();
    let barrier = Barrier::new(2);
    for round in 0..ROUNDS {
        let objects: Vec<usize> = (0..OBJECTS).map(|_| heap.malloc(48 + round).unwrap().as_ptr().addr()).collect();
        let freed = AtomicUsize::new(0);
        thread::scope(|scope| {
            for cpu in 0..2 {
                let (objects, freed, barrier) = (&objects, &freed, &barrier);
                scope.spawn(move || {
                    Thread::become_cpu(cpu);
                    barrier.wait();
                    for object in objects {
                        // SAFETY: nobody uses the object.
                        let result = unsafe { heap.free(std::ptr::with_exposed_provenance_mut(*object)) };
                        freed.fetch_add(usize::from(result.is_ok()), Relaxed);
                    }
                });
            }
        });
        assert_eq!((freed.load(Relaxed), heap.heap().large_stats().objects()), (OBJECTS, 0));
        heap.heap().validate().unwrap();
    }
}
