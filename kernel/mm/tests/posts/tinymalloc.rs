//! "there are indeed some areas that could be improved": what tinymalloc does, and what its author would have liked it to do.

use std::alloc::Layout;
use std::collections::BTreeSet;
use std::ptr::NonNull;
use std::sync::{Barrier, mpsc};
use std::thread;

use bifolio::frame::Order;
use bifolio::heap::{Heap, HeapError, RegionHeap, SizeClass};
use kit::{Sound, Thread};

/// "small allocations (<= 64 bytes) use a fast-path allocation strategy"
const SMALL: usize = 64;
/// "large allocations (>= 4096 bytes) are handled separately"
const LARGE: usize = 4096;
/// A fixed heap size "is slop"; this is tinymalloc's.
const HEAP_SIZE: usize = 1 << 20;
/// More than the tests need: the heap takes of it what it uses.
const REGION: usize = 32 << 20;
const THREADS: usize = 8;

/// Runs `story` on a heap for many threads, and wants everything back behind it.
fn with_heap(story: impl FnOnce(&'_ RegionHeap<'_, Thread, THREADS>)) {
    Thread::become_cpu(0);
    let mut region = vec![0; REGION];
    let heap = Heap::<_, Thread, THREADS>::in_shared_region(&mut region).unwrap();
    story(&heap);
    let slabs = heap.heap().slabs().unwrap();
    slabs.sound();
    slabs.shrink();
    assert_eq!(slabs.frames(), Default::default(), "what nobody uses is given back");
}

/// The pages that an object lies in.
fn pages(object: NonNull<u8>, size: usize) -> std::ops::RangeInclusive<usize> {
    object.as_ptr().addr() / 4096..=(object.as_ptr().addr() + size - 1) / 4096
}

fn free(heap: &RegionHeap<'_, Thread, THREADS>, object: NonNull<u8>) {
    // SAFETY: the tests free their own objects, and each once.
    unsafe { heap.free(object.as_ptr()) }.unwrap();
}

#[test]
fn small_medium_and_large_are_handled_separately() {
    with_heap(|heap| {
        let mut of = [const { Vec::new() }; 3];
        for round in 0..4 {
            for size in (1..20_000).step_by(37 + round) {
                let range = if size <= SMALL { 0 } else { usize::from(size >= LARGE) + 1 };
                of[range].push((heap.malloc(size).unwrap(), size));
            }
        }
        let [small, medium, large] = of
            .each_ref()
            .map(|objects| objects.iter().flat_map(|(object, size)| pages(*object, *size)).collect::<BTreeSet<_>>());
        assert!(small.is_disjoint(&medium) && small.is_disjoint(&large) && medium.is_disjoint(&large));
        // Blocks of 16 bytes waste up to 15 of them; here no more than a quarter of the request is wasted, or 15 bytes.
        for (object, size) in of.iter().flatten() {
            let wasted = heap.object_size(*object).unwrap() - size;
            assert!(*size >= LARGE || wasted < 16 || wasted * 4 <= *size, "{wasted} bytes wasted on {size}");
        }
        of.iter().flatten().for_each(|(object, _)| free(heap, *object));
    });
}

#[test]
fn each_thread_has_an_arena_and_none_waits_for_another() {
    with_heap(|heap| {
        let barrier = Barrier::new(THREADS);
        let work = |number: usize| {
            Thread::become_cpu(number);
            let mut used = BTreeSet::new();
            for round in 0..50 {
                barrier.wait();
                let sizes = (1..2000).step_by(61 + number);
                let objects: Vec<_> = sizes.map(|size| (heap.malloc(size).unwrap(), size)).collect();
                for (object, size) in &objects {
                    // SAFETY: the object is ours, and this long.
                    unsafe { object.write_bytes(number as u8 ^ round, *size) };
                    used.extend(pages(*object, *size));
                }
                barrier.wait();
                for (object, size) in objects {
                    // SAFETY: likewise, and it was filled.
                    let bytes = unsafe { std::slice::from_raw_parts(object.as_ptr(), size) };
                    assert!(bytes.iter().all(|byte| *byte == number as u8 ^ round), "another thread wrote here");
                    free(heap, object);
                }
            }
            used
        };
        thread::scope(|scope| {
            let threads: Vec<_> = (0..THREADS).map(|number| scope.spawn(move || work(number))).collect();
            threads.into_iter().for_each(|thread| drop(thread.join().unwrap()));
        });
    });
}

#[test]
fn what_one_thread_allocates_another_frees() {
    with_heap(|heap| {
        let (give, take) = mpsc::channel::<(usize, usize)>();
        thread::scope(|scope| {
            for number in 1..THREADS {
                let give = give.clone();
                scope.spawn(move || {
                    Thread::become_cpu(number);
                    for size in (1..6000).step_by(7) {
                        let object = heap.malloc(size).unwrap();
                        // SAFETY: the object is ours, and this long.
                        unsafe { object.write_bytes(number as u8, size) };
                        give.send((object.as_ptr().expose_provenance(), size)).unwrap();
                    }
                });
            }
            drop(give);
            for (address, size) in take {
                let object = NonNull::new(std::ptr::with_exposed_provenance_mut::<u8>(address)).unwrap();
                // SAFETY: the object is ours since it was sent, and was filled.
                let bytes = unsafe { std::slice::from_raw_parts(object.as_ptr(), size) };
                assert!(bytes.iter().all(|byte| *byte == bytes[0]));
                free(heap, object);
            }
        });
    });
}

#[test]
fn the_heap_extends_as_needed_and_shrinks_again() {
    with_heap(|heap| {
        let held = || {
            let frames = heap.heap().slabs().unwrap().frames();
            (frames.slabs + frames.large + frames.metadata) as usize * 4096
        };
        assert_eq!(held(), 0, "nothing is taken before there is a request");
        let mut objects = Vec::new();
        for limit in [HEAP_SIZE, 4 * HEAP_SIZE, 16 * HEAP_SIZE] {
            let mut bytes = 0;
            while bytes < limit {
                let size = 1 + (objects.len() * 7919) % 5000;
                objects.push(heap.malloc(size).unwrap());
                bytes += size;
            }
            // A slab of each class that is not full yet, and beyond that little.
            let slabs = SizeClass::COUNT * Order::new(4).unwrap().bytes() as usize;
            assert!(held() > limit && held() < bytes * 6 / 5 + slabs, "{} held for {bytes}", held());
            objects.drain(..).for_each(|object| free(heap, object));
            heap.heap().slabs().unwrap().shrink();
            assert_eq!(held(), 0);
        }
        // A preallocated region has an end, and this is what happens there.
        while let Ok(object) = heap.malloc(64 << 10) {
            objects.push(object);
        }
        // Each takes 25 frames of a block of 32, and what is left of those is too short for one more.
        assert!(held() > REGION * 25 / 32 - (1 << 20));
        free(heap, objects.pop().unwrap());
        objects.push(heap.malloc(64 << 10).unwrap());
        objects.drain(..).for_each(|object| free(heap, object));
    });
}

#[test]
fn fragmentation_the_big_monster() {
    with_heap(|heap| {
        // Nine of ten objects go, all over the place. What is left is few, and new objects are put among them.
        let objects: Vec<_> = (0..40_000).map(|_| heap.malloc(128).unwrap()).collect();
        let full = heap.heap().slabs().unwrap().frames().slabs;
        let (kept, freed): (Vec<_>, Vec<_>) = objects.into_iter().enumerate().partition(|(index, _)| index % 10 == 0);
        freed.into_iter().for_each(|(_, object)| free(heap, object));
        let again: Vec<_> = (0..36_000).map(|_| heap.malloc(128).unwrap()).collect();
        assert!(
            heap.heap().slabs().unwrap().frames().slabs <= full + 8,
            "the holes are filled before more memory is taken"
        );
        again.into_iter().for_each(|object| free(heap, object));
        kept.into_iter().for_each(|(_, object)| free(heap, object));
        heap.heap().slabs().unwrap().shrink();
        // And then all of it is good for anything else.
        let whole = Order::MAX.bytes() as usize;
        let blocks: Vec<_> = std::iter::from_fn(|| heap.malloc(whole).ok()).collect();
        assert!(blocks.len() >= REGION / whole - 2, "{} blocks", blocks.len());
        blocks.into_iter().for_each(|object| free(heap, object));
    });
}

#[test]
fn a_bad_pointer_is_refused_and_named() {
    with_heap(|heap| {
        // "if (ptr == NULL) return", and "if (arena == NULL) return; // invalid pointer". Here it is told what it was.
        // SAFETY: none of these is a live object's start, but where it says so.
        unsafe {
            assert_eq!(heap.free(std::ptr::null_mut()), Ok(()));
            let mut local = 0u64;
            let pointer = (&raw mut local).cast::<u8>();
            assert_eq!(heap.free(pointer), Err(HeapError::Foreign { address: pointer.addr() }));

            let object = heap.malloc(SMALL).unwrap();
            let address = object.as_ptr().addr() + 16; // a block of its bitmap allocator, but no allocation
            let interior = HeapError::Interior { address, cache: "kmalloc-64", slot: 0, offset: 16 };
            assert_eq!(heap.free(object.as_ptr().add(16)), Err(interior));
            assert_eq!(heap.free(object.as_ptr()), Ok(()), "this one lives");
            let twice = HeapError::DoubleFree { address: address - 16, cache: "kmalloc-64", slot: 0 };
            assert_eq!(heap.free(object.as_ptr()), Err(twice));
        }
        let class = SizeClass::of(Layout::new::<[u8; SMALL]>()).unwrap();
        assert_eq!(heap.heap().slabs().unwrap().cache_stats(class).active_objects, 0);
    });
}
