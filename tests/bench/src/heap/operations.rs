//! The workloads that take time.

use crate::meter::{Clock, Measured, Run};
use std::mem;
use std::ptr::NonNull;
use std::sync::Mutex;
use workloads::Random;
use workloads::heap::{self, Objects, SIXTY_FOUR, Sizes, Window};

/// Live objects of `heap-power` and `heap-uniform`, for each thread.
const LIVE: usize = 1024;
/// Live objects of `heap-big`.
const BIG: usize = 200_000;
/// Objects of `heap-bulk-alloc` and `heap-bulk-free`.
const BULK: usize = 20_000;
/// Objects that `heap-remote-free` hands over at a time.
const HANDED_OVER: usize = 1000;

/// `heap-pair64`: as a program in use does it. An object of each thread's is live all the time, so that no slab empties.
pub fn pair<A: Objects>(run: Run) -> Vec<Measured> {
    let heap = A::new();
    run.on_threads(&|clock| {
        let held = heap.allocate(SIXTY_FOUR);
        heap::pairs(&heap, run.operations(20_000, 200));
        let count = run.operations(2_000_000, 10_000);
        clock.measure("heap-pair64", count, &mut || heap::pairs(&heap, count));
        // SAFETY: it was allocated so, and nobody uses it.
        unsafe { heap::free_all(&heap, &[held]) };
    })
}

/// `heap-power`: sizes by a power law.
pub fn power<A: Objects>(run: Run) -> Vec<Measured> {
    window::<A>(run, "heap-power", Sizes::PowerLaw, LIVE)
}

/// `heap-big`: the same with 200,000 live objects, which no cache of the processor holds.
pub fn big<A: Objects>(run: Run) -> Vec<Measured> {
    window::<A>(run, "heap-big", Sizes::PowerLaw, BIG)
}

/// `heap-uniform`: sizes of 8 to 2,048 bytes.
pub fn uniform<A: Objects>(run: Run) -> Vec<Measured> {
    window::<A>(run, "heap-uniform", Sizes::Uniform, LIVE)
}

fn window<A: Objects>(run: Run, workload: &'static str, sizes: Sizes, live: usize) -> Vec<Measured> {
    let heap = A::new();
    run.on_threads(&|clock| {
        let mut window = Window::new(21 + clock.cpu as u64, sizes, live);
        window.fill(&heap);
        window.churn(&heap, run.operations(100_000, 20_000));
        let (turns, count) = (run.operations(50, 1), 20_000);
        for _ in 0..turns {
            if clock.is_enough(workload) {
                break;
            }
            clock.measure(workload, count, &mut || window.churn(&heap, count));
        }
        window.clear(&heap);
    })
}

/// `heap-bulk-alloc`, `heap-bulk-free`: 20,000 objects, freed in random order. The first time does not count.
pub fn bulk<A: Objects>(run: Run) -> Vec<Measured> {
    let heap = A::new();
    run.on_threads(&|clock| {
        let mut random = Random::new(7);
        let mut objects = vec![None; BULK];
        for time in 0..=run.operations(16, 1) {
            if clock.is_enough("heap-bulk-free") {
                break;
            }
            let mut fill = || heap::fill(&heap, &mut objects);
            if time == 0 {
                fill();
            } else {
                clock.measure("heap-bulk-alloc", BULK as u64, &mut fill);
            }
            random.shuffle(&mut objects);
            let mut free = || {
                // SAFETY: all were just allocated, and nobody uses them.
                unsafe { heap::free_all(&heap, &objects) };
                0
            };
            if time == 0 {
                free();
            } else {
                clock.measure("heap-bulk-free", BULK as u64, &mut free);
            }
        }
    })
}

/// Objects that belong to nobody for a moment.
struct Loose(Vec<Option<NonNull<u8>>>);

// SAFETY: the objects are memory that any thread may use and free.
unsafe impl Send for Loose {}

/// `heap-remote-free`: two threads allocate 1,000 objects each, hand them over, and each frees what the other got, again and
/// again. An operation is an allocation and a free; handing over does not count.
pub fn remote_free<A: Objects>(run: Run) -> Vec<Measured> {
    let heap = A::new();
    let hand_over = [const { Mutex::new(Loose(Vec::new())) }; 2];
    let exchange = |clock: &Clock<'_>, objects: Vec<Option<NonNull<u8>>>| {
        *hand_over[clock.cpu].lock().expect("nobody panics meanwhile") = Loose(objects);
        clock.wait();
        mem::replace(&mut *hand_over[clock.cpu ^ 1].lock().expect("nobody panics meanwhile"), Loose(Vec::new())).0
    };
    run.on_threads(&|clock| {
        let mut objects = vec![None; HANDED_OVER];
        let warm = 4;
        for time in 0..warm + run.operations(200, 1) {
            if time < warm {
                heap::fill(&heap, &mut objects);
            } else {
                clock.measure("heap-remote-free", HANDED_OVER as u64, &mut || heap::fill(&heap, &mut objects));
            }
            objects = exchange(clock, objects);
            let mut free = || {
                // SAFETY: the other thread allocated them and has forgotten them.
                unsafe { heap::free_all(&heap, &objects) };
                0
            };
            if time < warm {
                free();
            } else {
                // The pair is counted already.
                clock.measure("heap-remote-free", 0, &mut free);
            }
            clock.wait();
        }
    })
}
