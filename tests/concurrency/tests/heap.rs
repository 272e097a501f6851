//! Heaps that several CPUs use: no object has two owners, none is lost, and no bad free goes unnoticed.
#![cfg(not(bifolio_loom))]

use std::alloc::Layout;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use bifolio::heap::{Heap, HeapError};
use bifolio::sync::Mutex;
use concurrency::cpus::{Effort, Thread, linger, on_cpus, random};
use kit::source::SystemPages;

const CPUS: usize = 3;

type TestHeap = Heap<SystemPages, Thread, CPUS>;

/// A live object, marked at both ends.
struct Object {
    start: NonNull<usize>,
    layout: Layout,
}

// SAFETY: the memory belongs to the object, which belongs to one CPU at a time.
unsafe impl Send for Object {}

// SAFETY: a thread that shares an object reads no more than where it is.
unsafe impl Sync for Object {}

impl Object {
    /// Words; with few slots in a slab, slabs come and go.
    const SIZES: [usize; 5] = [8, 128, 512, Self::LARGEST, 2000];
    /// The largest of those that slabs have.
    const LARGEST: usize = 1024;

    fn new(heap: &TestHeap) -> Self {
        Self::of(heap, Self::SIZES[random(Self::SIZES.len())])
    }

    fn of(heap: &TestHeap, words: usize) -> Self {
        let layout = Layout::array::<usize>(words).unwrap();
        let start = heap.allocate(layout).expect("the host has memory").cast();
        let object = Self { start, layout };
        // SAFETY: the object is ours.
        object.ends().for_each(|word| unsafe { word.write(object.mark()) });
        object
    }

    /// The first word and the last.
    fn ends(&self) -> impl Iterator<Item = NonNull<usize>> {
        let last = self.layout.size() / size_of::<usize>() - 1;
        // SAFETY: the object is this long.
        [self.start, unsafe { self.start.add(last) }].into_iter()
    }

    fn mark(&self) -> usize {
        self.start.addr().get() ^ self.layout.size()
    }

    fn free(self, heap: &TestHeap) {
        for word in self.ends() {
            // SAFETY: the object is ours; and another thread that has it too sees it.
            let mark = unsafe { word.replace(0) };
            assert_eq!(mark, self.mark(), "an object of {} bytes was overwritten", self.layout.size());
        }
        self.try_free(heap).unwrap();
    }

    /// Frees an object that nobody uses any more, though somebody else may do the same: the heap is to notice.
    fn try_free(&self, heap: &TestHeap) -> Result<(), HeapError> {
        // SAFETY: if the object is live, it is the caller's.
        unsafe { heap.free(self.start.cast(), self.layout) }
    }
}

/// Asserts that the heap, which has no live object, gives every frame back.
fn assert_empties(heap: &TestHeap) {
    heap.validate().unwrap();
    heap.shrink();
    assert_eq!(heap.source().frames(), 0, "the heap gave everything back");
    heap.validate().unwrap();
}

/// CPUs that allocate, free, hand objects to each other, shrink the heap, retire and look at it whole.
#[test]
fn no_object_has_two_owners() {
    let effort = Effort { schedules: 1000, rounds: 1, short: 16, long: 20_000 };
    effort.explore(move || {
        let heap = Box::new(TestHeap::new(SystemPages::new()));
        let post = Mutex::<Vec<Object>, Thread>::new("post", Vec::new());
        on_cpus(CPUS, |_| {
            let mut held: Vec<Object> = Vec::new();
            for _ in 0..effort.steps() {
                match random(32) {
                    0..14 if held.len() < 60 => held.push(Object::new(&heap)),
                    14..18 => post.lock().extend(held.pop()),
                    18..22 => held.extend({ post.lock() }.pop()),
                    22 if random(4) == 0 => drop(heap.shrink()),
                    23 if random(4) == 0 => heap.retire_cpu(),
                    24 if random(8) == 0 => heap.validate().unwrap(),
                    _ if !held.is_empty() => held.swap_remove(random(held.len())).free(&heap),
                    _ => {}
                }
            }
            held.into_iter().for_each(|object| object.free(&heap));
        });
        core::mem::take(&mut *post.lock()).into_iter().for_each(|object| object.free(&heap));
        assert_empties(&heap);
    });
}

/// One CPU allocates what another frees, word after word and slab after slab: what is freed from elsewhere comes back.
#[test]
fn what_others_free_comes_back() {
    let effort = Effort { schedules: 1000, rounds: 1, short: 24, long: 100_000 };
    effort.explore(move || {
        let heap = Box::new(TestHeap::new(SystemPages::new()));
        let post = Mutex::<Vec<Object>, Thread>::new("post", Vec::new());
        on_cpus(CPUS, |cpu| {
            let mut held: Vec<Object> = Vec::new();
            for _ in 0..effort.steps() {
                // Several at once: the lock must not be what keeps one CPU's frees before another's allocations.
                match cpu {
                    0 if held.len() < 8 => held.push(Object::of(&heap, Object::LARGEST)),
                    0 => post.lock().append(&mut held),
                    _ => core::mem::take(&mut *post.lock()).into_iter().for_each(|object| object.free(&heap)),
                }
            }
            post.lock().append(&mut held);
        });
        core::mem::take(&mut *post.lock()).into_iter().for_each(|object| object.free(&heap));
        assert_empties(&heap);
    });
}

/// Each CPU allocates some objects of each size: nothing is handed out twice.
fn assert_one_owner_each(heap: &TestHeap) {
    let held = Mutex::<Vec<Object>, Thread>::new("held", Vec::new());
    on_cpus(CPUS, |_| {
        for words in Object::SIZES.into_iter().flat_map(|words| [words; 3]) {
            let object = Object::of(heap, words);
            held.lock().push(object);
        }
    });
    // Each looks whether it still has what was written to it.
    core::mem::take(&mut *held.lock()).into_iter().for_each(|object| object.free(heap));
}

/// Double frees that had no caller to be told to.
static LATE: AtomicU64 = AtomicU64::new(0);

fn count_double_free(error: &HeapError) {
    assert!(matches!(error, HeapError::DoubleFree { .. }), "{error}");
    LATE.fetch_add(1, Relaxed);
}

/// Two CPUs free one object at the same time, whosever its slab is: one of them is told, or else the heap notices.
#[test]
fn of_two_frees_of_one_object_one_is_noticed() {
    let effort = Effort { schedules: 2000, rounds: 200, short: 0, long: 0 };
    effort.explore(|| {
        LATE.store(0, Relaxed);
        let heap = Box::new(TestHeap::new(SystemPages::new()));
        heap.set_error_hook(count_double_free);
        let given = Mutex::<Vec<Object>, Thread>::new("given", Vec::new());
        on_cpus(1 + random(CPUS), |_| {
            for _ in 0..1 + random(3) {
                let object = Object::new(&heap);
                given.lock().push(object);
            }
        });
        let mut given = core::mem::take(&mut *given.lock());
        let object = given.swap_remove(random(given.len()));
        let freed = AtomicU64::new(0);
        on_cpus(2, |_| {
            linger(40);
            freed.fetch_add(object.try_free(&heap).is_ok().into(), Relaxed);
        });
        assert_one_owner_each(&heap);
        given.into_iter().for_each(|object| object.free(&heap));
        assert_empties(&heap);
        assert_eq!(freed.load(Relaxed) - LATE.load(Relaxed), 1);
    });
}
