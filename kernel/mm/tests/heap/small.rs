//! Regions of less than 4 MiB, in which objects lie side by side without slabs: full of objects, and as exact as slabs are.

use std::alloc::Layout;
use std::ptr::NonNull;
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;

use bifolio::heap::{Heap, HeapError, InRegion, MallocError, Objects, RegionHeap, SingleCpu, SmallHeap};
use kit::{Random, Thread, scale};

const KIB: usize = 1024;
const NAME: &str = "small-heap";

fn with_region(bytes: usize, story: impl FnOnce(RegionHeap<'_>)) {
    let mut memory = vec![0x5a; bytes];
    story(Heap::in_region(&mut memory).unwrap());
}

/// How many objects there are, in a heap of which every invariant holds.
fn objects<C: bifolio::cpu::Cpu, const CPUS: usize>(heap: RegionHeap<'_, C, CPUS>) -> usize {
    let small = heap.heap().small().unwrap();
    assert_eq!(small.validate(), Ok(()));
    small.stats().objects
}

fn is_filled(object: NonNull<u8>, size: usize, byte: u8) -> bool {
    // SAFETY: every object here is its test's, and has as many bytes.
    unsafe { std::slice::from_raw_parts(object.as_ptr(), size).iter().all(|found| *found == byte) }
}

#[test]
fn a_page_is_a_heap() {
    with_region(4 * KIB, |heap| {
        assert!(heap.heap().slabs().is_none());
        for (size, least) in [(8, 93), (64, 93), (200, 87), (1000, 70), (3800, 92)] {
            let held: Vec<_> = std::iter::from_fn(|| heap.malloc(size).ok()).collect();
            assert!(held.len() * size * 100 >= 4096 * least, "{} of {size} bytes", held.len());
            assert_eq!(objects(heap), held.len());
            // SAFETY: each is ours, and not used afterwards.
            held.into_iter().for_each(|object| unsafe { heap.free(object.as_ptr()).unwrap() });
        }
        assert_eq!(objects(heap), 0);
    });
}

#[test]
fn an_object_of_each_size_fits_into_64_kib() {
    with_region(64 * KIB, |heap| {
        for size in (8..=704).step_by(8) {
            heap.malloc(size).unwrap();
        }
        for size in (1..=800).step_by(25) {
            heap.malloc(size).unwrap();
        }
        assert_eq!(objects(heap), 88 + 32);
    });
}

/// The programs of `make bench WORKLOAD=heap-region`, by other random numbers: what is live when a request is refused.
#[test]
fn small_regions_are_full_when_they_refuse() {
    let live_at_refusal = |bytes, most: usize, seed| {
        let mut live = 0;
        with_region(bytes, |heap| {
            let (mut random, mut held) = (Random::new(seed), Vec::new());
            for step in 0_u64.. {
                let power = 8 << random.index(most.ilog2() as usize - 2);
                let size = (power + random.index(power)).min(most);
                let Some(object) = heap.heap().allocate(Layout::from_size_align(size, 8).unwrap()) else { break };
                held.push((object, size));
                live += size;
                if step % 2 == 1 {
                    let (object, size) = held.swap_remove(random.index(held.len()));
                    live -= size;
                    // SAFETY: it was allocated with this size, and is forgotten.
                    unsafe { heap.free_sized(object.as_ptr(), size).unwrap() };
                }
            }
            assert_eq!(objects(heap), held.len());
        });
        live
    };
    for (bytes, most, least) in
        scale::some([(64, 1000, 86), (256, 1000, 88), (512, 1000, 88), (2048, 74_000, 86), (4095, 74_000, 86)])
    {
        let bytes = bytes * KIB;
        let mut live: Vec<usize> =
            (0..scale::size(9, 1) as u64).map(|seed| live_at_refusal(bytes, most, seed)).collect();
        live.sort_unstable();
        let median = live[live.len() / 2];
        assert!(median * 100 >= bytes * least, "{bytes} bytes: {median} are live");
    }
}

#[test]
fn random_operations_keep_contents_and_every_invariant() {
    with_region(100 * KIB, |heap| {
        let mut random = Random::new(3);
        let mut held: Vec<(NonNull<u8>, usize, u8)> = Vec::new();
        for step in 0..scale::size(20_000, 500) {
            let most = if random.per_mille(100) { 12_000 } else { 600 };
            let (size, byte) = (1 + random.index(most), step as u8);
            match random.below(5) {
                0 | 1 if !held.is_empty() => {
                    let (object, size, byte) = held.swap_remove(random.index(held.len()));
                    assert!(is_filled(object, size, byte));
                    // SAFETY: the object is ours, has as many bytes, and is used no more once it was freed or moved.
                    unsafe { heap.free_sized(object.as_ptr(), size).unwrap() };
                }
                2 if !held.is_empty() => {
                    let place = random.index(held.len());
                    let (object, old, byte) = &mut held[place];
                    // SAFETY: the object is ours, has as many bytes, and is used no more once it was freed or moved.
                    let Ok(moved) = (unsafe { heap.realloc(object.as_ptr(), size) }) else { continue };
                    assert!(is_filled(moved, size.min(*old), *byte) && heap.object_size(moved).unwrap() >= size);
                    // SAFETY: the object is ours, has as many bytes, and is used no more once it was freed or moved.
                    unsafe { moved.write_bytes(*byte, size) };
                    (*object, *old) = (moved, size);
                }
                _ => {
                    let align = 1 << random.below(9);
                    let object = if align <= 8 { heap.malloc(size) } else { heap.aligned_alloc(align, size) };
                    let Ok(object) = object else { continue };
                    assert!(object.as_ptr().addr().is_multiple_of(align));
                    assert_eq!(heap.object_size(object), Ok(size.next_multiple_of(8)));
                    // SAFETY: the object is ours, has as many bytes, and is used no more once it was freed or moved.
                    unsafe { object.write_bytes(byte, size) };
                    held.push((object, size, byte));
                }
            }
            if step % 64 == 0 {
                assert_eq!(objects(heap), held.len());
            }
        }
        for (object, size, byte) in held {
            assert!(is_filled(object, size, byte));
            // SAFETY: the object is ours, and not used afterwards.
            unsafe { heap.free(object.as_ptr()).unwrap() };
        }
        assert_eq!(objects(heap), 0);
    });
}

#[test]
fn every_wrong_free_is_refused_and_named() {
    with_region(20 * KIB, |heap| {
        let object = heap.malloc(100).unwrap();
        let (address, cache, slot) = (object.as_ptr().addr(), NAME, 0);
        let large = heap.malloc(9000).unwrap();
        // SAFETY: the objects are ours, and not used once they were freed; what is freed wrongly is nobody's.
        unsafe {
            for offset in [1, 8, 16, 103] {
                let inside = HeapError::Interior { address: address + offset, cache, slot, offset };
                assert_eq!(heap.free(object.as_ptr().add(offset)), Err(inside));
                assert_eq!(heap.realloc(object.as_ptr().add(offset), 1), Err(MallocError::NoObject(inside)));
                assert_eq!(heap.object_size(object.add(offset)), Err(inside));
            }
            for given in [0, 96, 105, 9000] {
                let wrong = HeapError::WrongLayout { address, cache, slot, given, actual: 104 };
                assert_eq!(heap.free_sized(object.as_ptr(), given), Err(MallocError::NoObject(wrong)));
                let layout = Layout::from_size_align(given, 8).unwrap();
                assert_eq!(heap.heap().reallocate(object, Some(layout), layout), Err(wrong));
            }
            assert_eq!(objects(heap), 2);
            assert_eq!(heap.free_sized(object.as_ptr(), 97), Ok(()), "a size that takes as much");
            assert_eq!(heap.free(object.as_ptr()), Err(HeapError::DoubleFree { address, cache, slot }));
            let small = heap.heap().small().unwrap();
            let behind_all = large.addr().get() + 9000 + small.stats().free;
            for address in [address + 12, 64, address - 8, behind_all, usize::MAX - 4095] {
                let nobody = Err(HeapError::Foreign { address });
                assert_eq!(heap.free(std::ptr::without_provenance_mut(address)), nobody);
            }
            assert_eq!(heap.free(large.as_ptr()), Ok(()));
        }
        assert_eq!(objects(heap), 0);
    });
}

#[test]
fn an_object_grows_and_shrinks_where_it_is() {
    with_region(64 * KIB, |heap| {
        let object = heap.malloc(10).unwrap();
        // SAFETY: the object is ours, and we go on with what comes back.
        unsafe {
            object.write(9);
            for size in [20, 300, 30_000, 63_000, 9000, 100, 1] {
                assert_eq!((heap.realloc(object.as_ptr(), size), object.read()), (Ok(object), 9), "{size}");
            }
            let behind = heap.malloc(10).unwrap();
            let moved = heap.realloc(object.as_ptr(), 300).unwrap();
            assert!(moved != object && moved.read() == 9);
            let wanted = Layout::from_size_align(64_000, 16).unwrap();
            assert_eq!(heap.realloc(moved.as_ptr(), 64_000), Err(MallocError::OutOfMemory(wanted)));
            assert_eq!((heap.object_size(moved), moved.read()), (Ok(304), 9));
            assert_eq!(objects(heap), 2);
            [moved, behind].iter().for_each(|object| heap.free(object.as_ptr()).unwrap());
        }
    });
}

/// Two threads free each of many objects at the same time: one of them is told that there is none.
#[test]
fn of_two_frees_at_once_one_is_refused() {
    const OBJECTS: usize = 300;
    let mut memory = vec![0; 64 * KIB];
    Thread::become_cpu(0);
    let heap = Heap::<_, Thread, 2>::in_shared_region(&mut memory).unwrap();
    let barrier = Barrier::new(2);
    for round in 0..scale::rounds(30) {
        let held: Vec<usize> =
            (0..OBJECTS).map(|_| heap.malloc(48 + round).unwrap().as_ptr().expose_provenance()).collect();
        let freed = AtomicUsize::new(0);
        thread::scope(|scope| {
            for cpu in 0..2 {
                let (held, freed, barrier) = (&held, &freed, &barrier);
                scope.spawn(move || {
                    Thread::become_cpu(cpu);
                    barrier.wait();
                    for object in held {
                        // SAFETY: nobody uses the object.
                        let result = unsafe { heap.free(std::ptr::with_exposed_provenance_mut(*object)) };
                        freed.fetch_add(usize::from(result.is_ok()), Relaxed);
                    }
                });
            }
        });
        assert_eq!((freed.load(Relaxed), objects(heap)), (OBJECTS, 0));
    }
}

/// What it cannot do is not there: no function of a small heap would do nothing.
#[test]
fn what_takes_slabs_takes_4_mib_unless_they_are_asked_for() {
    let mut memory = vec![0; 4 << 20];
    let small: &SmallHeap<'_, _> = match Heap::in_region(&mut memory[1..]).unwrap().heap() {
        InRegion::Small(heap) => heap,
        other => panic!("{other:?}"),
    };
    assert_eq!((small.stats().objects, small.stats().used), (0, 0));
    let heap = Heap::in_region(&mut memory).unwrap().heap();
    assert!(heap.small().is_none() && heap.slabs().is_some());
    assert!(Heap::<_, SingleCpu, 1>::with_slabs_in(&mut memory[..64 << 10]).is_ok());
}
