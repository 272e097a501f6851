//! Samples: single objects that somebody else has memory for, and that the heap knows from its own.

use std::alloc::Layout;
use std::ptr::NonNull;
use std::sync::Mutex;

use bifolio::error::FreeError;
use bifolio::frame::Order;
use bifolio::hardening::Hardening;
use bifolio::heap::{CacheOptions, Heap, HeapError, PageSource, Sample, Sampler, SizeClass, SlabDebug};
use kit::Thread;
use kit::source::SystemPages;

type TestHeap = Heap<Source, Thread>;

/// Bytes in a place for an object.
const PLACE: usize = 16 << 10;

/// What is in a place: a sample, and whether it is live.
type Place = Option<(Sample, bool)>;

/// A few places in a row.
struct Places {
    start: usize,
    used: Mutex<Vec<Place>>,
}

impl Places {
    fn new(count: usize) -> &'static Self {
        let memory = vec![0xa5_u8; (count + 1) * PLACE].leak().as_mut_ptr();
        let start = memory.expose_provenance().next_multiple_of(PLACE);
        Box::leak(Box::new(Self { start, used: Mutex::new(vec![None; count]) }))
    }

    fn with<R>(&self, f: impl FnOnce(&mut Vec<Place>) -> R) -> R {
        f(&mut self.used.lock().unwrap())
    }

    fn live(&self) -> usize {
        self.with(|used| used.iter().flatten().filter(|(_, is_live)| *is_live).count())
    }

    fn has(&self, object: NonNull<u8>) -> bool {
        self.look(object).is_some()
    }
}

// SAFETY: each place is one object's at a time, aligned to more than any, and leaked.
unsafe impl Sampler for Places {
    fn allocate(&self, sample: Sample, align: usize) -> Option<NonNull<u8>> {
        assert!(align.is_power_of_two() && align <= PLACE && sample.size <= PLACE);
        let nth = self.with(|used| {
            let nth = used.iter().position(|place| place.is_none_or(|(_, is_live)| !is_live))?;
            used[nth] = Some((sample, true));
            Some(nth)
        })?;
        NonNull::new(std::ptr::with_exposed_provenance_mut(self.start + nth * PLACE))
    }

    fn look(&self, object: NonNull<u8>) -> Option<Result<Sample, HeapError>> {
        let address = object.as_ptr().addr();
        let offset = address.checked_sub(self.start)?;
        let place = self.with(|used| used.get(offset / PLACE).copied())?;
        Some(match place {
            Some((sample, true)) if offset % PLACE == 0 => Ok(sample),
            Some((sample, false)) if offset % PLACE == 0 => {
                Err(HeapError::DoubleFree { address, cache: sample.cache, slot: (offset / PLACE) as u16 })
            }
            _ => Err(HeapError::Foreign { address }),
        })
    }

    unsafe fn free(&self, object: NonNull<u8>) -> Result<(), HeapError> {
        let nth = (object.as_ptr().addr() - self.start) / PLACE;
        self.with(|used| used[nth].as_mut().unwrap().1 = false);
        Ok(())
    }
}

/// Frames, and places for samples.
struct Source(SystemPages, &'static Places);

// SAFETY: every promise about blocks is that of `SystemPages`.
unsafe impl PageSource for Source {
    fn allocate(&self, order: Order) -> Option<NonNull<u8>> {
        self.0.allocate(order)
    }

    unsafe fn release(&self, block: NonNull<u8>, order: Order) -> Result<(), FreeError> {
        // SAFETY: the caller keeps the same contract.
        unsafe { self.0.release(block, order) }
    }

    fn sampler(&self) -> Option<&'static dyn Sampler> {
        Some(self.1)
    }
}

/// A heap with so many places for samples.
fn heap(count: usize) -> (TestHeap, &'static Places) {
    Thread::become_first();
    let places = Places::new(count);
    (Heap::new(Source(SystemPages::new(), places)), places)
}

fn layout(size: usize) -> Layout {
    Layout::from_size_align(size, 8).unwrap()
}

fn free(heap: &TestHeap, object: NonNull<u8>, size: usize) -> Result<(), HeapError> {
    // SAFETY: the tests free their own objects, or what they know to be refused.
    unsafe { heap.free(object, layout(size)) }
}

/// The next sample of this size; what comes before it is freed.
fn next(heap: &TestHeap, places: &Places, size: usize) -> NonNull<u8> {
    let mut others = Vec::new();
    let sample = loop {
        let object = heap.allocate(layout(size)).unwrap();
        if places.has(object) {
            break object;
        }
        others.push(object);
        assert!(others.len() < 1000, "no sample is taken");
    };
    others.into_iter().for_each(|object| free(heap, object, size).unwrap());
    sample
}

#[test]
fn one_of_so_many_requests_that_find_nothing_in_hand_is_a_sample() {
    let (heap, places) = heap(1000);
    // Of 8 KiB a slab has few objects: each request finds nothing in hand, or not many.
    let taken = |interval| {
        heap.sample(interval);
        let before = heap.arena_events(0).refills;
        let objects: Vec<_> = (0..500).map(|_| heap.allocate(layout(64)).unwrap()).collect();
        let samples = objects.iter().filter(|object| places.has(**object)).count();
        assert_eq!(samples, places.live());
        objects.into_iter().for_each(|object| free(&heap, object, 64).unwrap());
        assert_eq!(places.live(), 0);
        heap.validate().unwrap();
        (samples, heap.arena_events(0).refills - before)
    };
    assert_eq!(taken(0).0, 0, "off");
    let (all, _) = taken(1);
    assert!(all > 400, "with nothing in hand all are: {all} of 500");
    let (few, _) = taken(4);
    assert!((2..all / 4).contains(&few), "{few} of them with one in four");
    assert_eq!(taken(0).0, 0, "off again");
}

#[test]
fn a_sample_is_an_object_as_any_other() {
    let (heap, places) = heap(4);
    heap.sample(1);
    for size in [1, 57, 64, 1000, 8192] {
        let object = next(&heap, places, size);
        assert_eq!(heap.object_size(object), Ok(size));
        assert!(heap.is_live(object, layout(size)) && !heap.is_live(object, layout(size + 300)));
        // SAFETY: it is ours, and so long; we go on with what comes back.
        let moved = unsafe {
            object.write_bytes(7, size);
            heap.reallocate(object, layout(size), size + 1).unwrap().unwrap()
        };
        assert_ne!(moved, object, "it moves");
        // SAFETY: it is ours, and so long.
        assert!((0..size).all(|at| unsafe { moved.add(at).read() } == 7));
        assert!(matches!(free(&heap, object, size), Err(HeapError::DoubleFree { .. })));
        free(&heap, moved, size + 1).unwrap();
        let object = next(&heap, places, size);
        // SAFETY: it is ours, and used no more.
        unsafe { heap.free_unsized(object) }.unwrap();
        heap.validate().unwrap();
    }
    assert_eq!(places.live(), 0);
}

#[test]
fn bad_frees_of_samples_are_named() {
    let (heap, places) = heap(4);
    heap.sample(1);
    let object = next(&heap, places, 100);
    let wrong = free(&heap, object, 8000);
    assert!(matches!(wrong, Err(HeapError::WrongLayout { given: 8000, actual: 100, .. })), "{wrong:?}");
    let inside = object.map_addr(|address| address.saturating_add(8));
    assert!(matches!(free(&heap, inside, 100), Err(HeapError::Foreign { .. })));
    assert_eq!(places.live(), 1);
    free(&heap, object, 100).unwrap();
    assert!(matches!(free(&heap, object, 100), Err(HeapError::DoubleFree { .. })));
    assert!(heap.object_size(object).is_err());
    // SAFETY: it is refused.
    let twice = unsafe { heap.reallocate(object, layout(100), 200) };
    assert!(matches!(twice, Err(HeapError::DoubleFree { .. })));
    heap.validate().unwrap();
}

#[test]
fn without_room_for_samples_the_heap_serves_all() {
    let (heap, places) = heap(2);
    heap.sample(1);
    let objects: Vec<_> = (0..300).map(|_| heap.allocate(layout(48)).unwrap()).collect();
    assert_eq!(places.live(), 2);
    // Objects that a sampler has are freed as such, whatever is chosen meanwhile.
    heap.sample(0);
    objects.into_iter().for_each(|object| free(&heap, object, 48).unwrap());
    assert_eq!(places.live(), 0);
    heap.validate().unwrap();
}

#[test]
fn samples_are_made_and_cleared_as_objects_are_and_debugging_goes_on_beside_them() {
    let (heap, places) = heap(4);
    heap.sample(1);
    // SAFETY: an object is as long.
    let made = |object: NonNull<[u8; 72]>| unsafe { object.cast::<u8>().write_bytes(0x33, 72) };
    let cache = heap.cache(CacheOptions::<[u8; 72]>::new("made").constructor(made)).unwrap();
    let object = cache.allocate().unwrap();
    // SAFETY: it is ours, and so long.
    assert!(places.has(object.cast()) && unsafe { object.read() } == [0x33; 72]);
    // SAFETY: it is ours, and used no more.
    unsafe { cache.free(object) }.unwrap();
    heap.harden(Hardening::INIT_ON_ALLOC);
    let object = next(&heap, places, 200);
    // SAFETY: it is ours, and so long.
    assert!((0..200).all(|at| unsafe { object.add(at).read() } == 0), "the places hold something else");
    free(&heap, object, 200).unwrap();
    heap.harden(Hardening::empty());

    let class = SizeClass::of(layout(64)).unwrap();
    assert!(heap.set_debug(class, SlabDebug::POISON));
    free(&heap, next(&heap, places, 64), 64).unwrap();
    heap.sample(0);
    let object = heap.allocate(layout(64)).unwrap();
    // SAFETY: it is ours, and so long.
    assert!((0..64).all(|at| unsafe { object.add(at).read() } == 0x5a), "still poisoned");
    free(&heap, object, 64).unwrap();
    assert!(heap.set_debug(class, SlabDebug::empty()));
    heap.validate().unwrap();
}
