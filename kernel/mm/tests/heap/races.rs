//! Threads that free the same objects at the same time: of two frees of an object one is good and the other is told of, with
//! cache and slot, at once or a little later; and no memory has two owners next.
//!
//! `RACES=1000000 cargo test -p bifolio --test heap races` races for a million objects in all; by default there are fewer.

use std::alloc::Layout;
use std::collections::BTreeSet;
use std::env;
use std::ptr::NonNull;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use bifolio::error::FreeError;
use bifolio::frame::{FRAME_SIZE, Order};
use bifolio::heap::{Heap, HeapError, PageSource, SizeClass, SlabDebug};
use kit::source::SystemPages;
use kit::{Sound, scale};

use crate::objects::layout;
use crate::source::Thread;

/// CPUs: two that free, and one that does neither.
const CPUS: usize = 3;
const BYSTANDER: usize = CPUS - 1;
/// Objects that are freed at about the same time.
const BATCH: usize = scale::size(500, 20);
/// How long a thread waits for the other: not for one that does not run at all.
const PATIENCE: usize = 200;
/// Kinds of objects, each of which has its share of the races.
const KINDS: usize = 8;
/// Races by default.
const FEW: usize = scale::rounds(16_000);

/// Blocks of the system's memory, and runs of any length: as if they were mapped.
struct Pages(SystemPages);

// SAFETY: all memory comes from the system with the layout asked for, and goes back to it when released.
unsafe impl PageSource for Pages {
    fn allocate(&self, order: Order) -> Option<NonNull<u8>> {
        self.0.allocate(order)
    }

    unsafe fn release(&self, block: NonNull<u8>, order: Order) -> Result<(), FreeError> {
        // SAFETY: the caller keeps the same contract.
        unsafe { self.0.release(block, order) }
    }

    fn run_for(object: Layout) -> Option<Layout> {
        let bytes = object.size().next_multiple_of(FRAME_SIZE as usize);
        Layout::from_size_align(bytes, object.align().max(FRAME_SIZE as usize)).ok()
    }

    fn allocate_run(&self, run: Layout) -> Option<NonNull<u8>> {
        // SAFETY: the layout is not empty.
        NonNull::new(unsafe { std::alloc::alloc(run) })
    }

    unsafe fn release_run(&self, start: NonNull<u8>, run: Layout) -> Result<(), FreeError> {
        // SAFETY: the run came from `allocate_run` as this, and nobody uses it any more.
        unsafe { std::alloc::dealloc(start.as_ptr(), run) };
        Ok(())
    }
}

type RacedHeap = Heap<Pages, Thread, CPUS>;

/// The addresses of slots whose second free was told of late. One race at a time fills it.
static LATE: Mutex<Vec<usize>> = Mutex::new(Vec::new());
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn note(error: &HeapError) {
    let HeapError::DoubleFree { address, cache, .. } = error else { panic!("{error}") };
    assert!(cache.starts_with("kmalloc-"), "{error}");
    LATE.lock().unwrap().push(*address);
}

/// An object, and how many were told that they freed it.
struct Raced {
    object: NonNull<u8>,
    layout: Layout,
    good: AtomicUsize,
}

// SAFETY: the threads look at no memory of the object.
unsafe impl Sync for Raced {}
// SAFETY: as for `Sync`.
unsafe impl Send for Raced {}

/// What else happens while objects are freed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Meanwhile {
    Nothing,
    /// The owner gives its slabs away.
    Retiring,
    /// A third CPU shrinks the heap.
    Shrinking,
}

fn allocate(heap: &RacedHeap, layouts: &[Layout], owner: usize) -> Vec<Raced> {
    let new = |nth: usize| {
        let layout = layouts[nth % layouts.len()];
        let object = heap.allocate(layout).expect("the host has memory");
        Raced { object, layout, good: AtomicUsize::new(0) }
    };
    Thread::as_cpu(owner, || (0..BATCH).map(new).collect())
}

/// Frees all objects, each on two CPUs at about the same time.
fn race(heap: &RacedHeap, objects: &[Raced], meanwhile: Meanwhile) {
    let at = [AtomicUsize::new(0), AtomicUsize::new(0)];
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        if meanwhile == Meanwhile::Shrinking {
            scope.spawn(|| {
                Thread::as_cpu(BYSTANDER, || {
                    while !is_over.load(Relaxed) {
                        heap.shrink();
                        std::thread::yield_now();
                    }
                });
            });
        }
        let free = |cpu: usize| {
            Thread::as_cpu(cpu, || {
                for (nth, raced) in objects.iter().enumerate() {
                    at[cpu].store(nth + 1, Relaxed);
                    let patience = if nth == 0 { usize::MAX } else { PATIENCE };
                    (0..patience).take_while(|_| at[cpu ^ 1].load(Relaxed) <= nth).for_each(|turn| {
                        if turn > PATIENCE { std::thread::yield_now() } else { std::hint::spin_loop() }
                    });
                    free_once(heap, raced);
                    if meanwhile == Meanwhile::Retiring && cpu == 0 && nth % 16 == 0 {
                        heap.retire_cpu();
                    }
                }
            });
        };
        let cpus = [0, 1].map(|cpu| scope.spawn(move || free(cpu)));
        cpus.into_iter().for_each(|cpu| cpu.join().unwrap());
        is_over.store(true, Relaxed);
    });
}

fn free_once(heap: &RacedHeap, raced: &Raced) {
    // SAFETY: nobody uses the object any more; the heap is to find out that it is freed twice.
    match unsafe { heap.free(raced.object, raced.layout) } {
        Ok(()) => _ = raced.good.fetch_add(1, Relaxed),
        // If its slab was given back meanwhile, or it had none, there is no such object.
        Err(HeapError::DoubleFree { address, .. } | HeapError::Foreign { address }) => {
            assert_eq!(address, raced.object.as_ptr().addr());
        }
        Err(error) => panic!("{error}"),
    }
}

/// Each CPU allocates as many objects: none is handed out that another has.
fn allocate_again(heap: &RacedHeap, layouts: &[Layout]) {
    let held: Vec<_> = (0..CPUS).flat_map(|cpu| allocate(heap, layouts, cpu)).collect();
    let starts: BTreeSet<_> = held.iter().map(|raced| raced.object).collect();
    assert_eq!(starts.len(), held.len(), "memory has two owners");
    held.iter().for_each(|raced| free_once(heap, raced));
    assert!(held.iter().all(|raced| raced.good.load(Relaxed) == 1));
}

/// Of the frees of each object one was good, but for those that were told of late.
fn check(objects: &[Raced]) -> usize {
    assert!(objects.iter().all(|raced| (1..=2).contains(&raced.good.load(Relaxed))));
    let twice = objects.iter().filter(|raced| raced.good.load(Relaxed) == 2);
    let mut twice: Vec<_> = twice.map(|raced| raced.object.as_ptr().addr()).collect();
    let mut late = core::mem::take(&mut *LATE.lock().unwrap());
    twice.sort_unstable();
    late.sort_unstable();
    assert_eq!(twice, late, "freed twice, and told of");
    twice.len()
}

/// Races for objects of these layouts, which `owner` allocates, after `prepare` has been at the heap.
fn races(layouts: &[Layout], owner: usize, meanwhile: Meanwhile, prepare: impl Fn(&RacedHeap)) {
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    LATE.lock().unwrap().clear();
    let all = env::var("RACES").map_or(FEW, |races| races.parse().expect("RACES is a number"));
    let heap = RacedHeap::new(Pages(SystemPages::new()));
    heap.set_error_hook(note);
    prepare(&heap);
    let mut late = 0;
    for _ in 0..(all / KINDS).div_ceil(BATCH) {
        let objects = allocate(&heap, layouts, owner);
        race(&heap, &objects, meanwhile);
        allocate_again(&heap, layouts);
        // What was freed twice is told of once arenas take over what others have freed: as reports have them do, and walks.
        _ = heap.arena_stats(None);
        heap.sound();
        late += check(&objects);
    }
    println!("{all} races in {KINDS} kinds; of this kind {late} were told of late");
    for class in SizeClass::all() {
        assert!(heap.set_debug(class, SlabDebug::empty()));
    }
    heap.shrink();
    assert_eq!(heap.source().0.frames(), 0, "the heap gave everything back");
}

/// Slots of slabs with several words, with one, and with few slots.
fn slots() -> [Layout; 4] {
    [24, 64, 1000, 8000].map(|size| layout(size, 8))
}

#[test]
fn of_two_frees_of_an_own_object_one_is_good() {
    races(&slots(), 0, Meanwhile::Nothing, |_| ());
}

#[test]
fn of_two_frees_of_anothers_object_one_is_good() {
    races(&slots(), BYSTANDER, Meanwhile::Nothing, |_| ());
}

#[test]
fn of_two_frees_of_an_object_of_the_shared_arena_one_is_good() {
    races(&slots(), usize::MAX, Meanwhile::Nothing, |_| ());
}

#[test]
fn of_two_frees_of_an_object_whose_owner_retires_one_is_good() {
    races(&slots(), 0, Meanwhile::Retiring, |_| ());
}

#[test]
fn of_two_frees_of_an_object_while_the_heap_shrinks_one_is_good() {
    races(&slots(), 0, Meanwhile::Shrinking, |_| ());
}

#[test]
fn of_two_frees_of_an_object_that_is_debugged_one_is_good() {
    races(&slots(), 0, Meanwhile::Nothing, |heap| {
        for class in SizeClass::all() {
            assert!(heap.set_debug(class, SlabDebug::RED_ZONE | SlabDebug::STORE_USER));
        }
    });
}

#[test]
fn of_two_frees_of_a_large_object_one_is_good() {
    races(&[9000, 20_000].map(|size| layout(size, 8)), 0, Meanwhile::Nothing, |_| ());
}

#[test]
fn of_two_frees_of_a_mapped_object_one_is_good() {
    let sizes = [Order::MAX.bytes() as usize + 1, 5 << 20];
    races(&sizes.map(|size| layout(size, 8)), 0, Meanwhile::Shrinking, |_| ());
}
