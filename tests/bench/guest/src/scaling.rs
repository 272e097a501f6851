//! What CPUs that work at once cost each other: instructions and lock acquisitions per operation.
//!
//! Instructions are those of all CPUs together, waiting for locks included, divided by the operations of all. The machine
//! runs its CPUs by turns, and a CPU that pauses ends its turn: so each pauses behind every call, and calls of different CPUs
//! follow each other as closely as they can without being cut up. The pauses are counted, as all that the loops do. Once in a
//! while a turn ends by itself, in the middle of a call: with more than one CPU figures repeat to half a percent, and not exactly.
//!
//! Locks are counted in runs of their own, by the hook through which the allocator tells of each.

use crate::meter::Meter;
use crate::region::ForObjects;
use alloc::vec;
use alloc::vec::Vec;
use bifolio::cpu::{Cpu, Hooks};
use bifolio::frame::{Gfp, Order, Pfn};
use bifolio::sync::{Acquire, Lock};
use core::array;
use core::hint::{black_box, spin_loop};
use core::mem;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use kernel::cpu;
use kernel::host::Stopwatch;
use kernel::memory::frames::Processor;
use kernel::sync::Mutex;
use workloads::heap::{BifolioHeap, Objects, SIXTY_FOUR, touch};
use workloads::{Bifolio, FRAMES, PageFrames, Random};

/// With how many CPUs at once.
const CPUS: [usize; 4] = [1, 2, 4, 8];
/// Pairs on each CPU, and before those are counted.
const PAIRS: u64 = 4_000;
const WARM_UP: u64 = 200;
/// Frames that all CPUs have together: half of memory.
const SHARED: usize = FRAMES / 2;
/// Frames of a bulk operation.
const BULK: usize = 64;
/// Objects that each CPU hands to the next at a time, and how often: as on the host.
const HANDED_OVER: usize = 1_000;
const ROUNDS: usize = 4;

/// Measures all that is selected, with as many CPUs as there are.
pub fn run(meter: &Meter<'_>) {
    for cpus in CPUS.into_iter().filter(|&cpus| cpus <= cpu::count()) {
        let (plain, counted) = (all::<Processor>(meter, cpus), all::<Watched>(meter, cpus));
        for (figure, locks) in plain.into_iter().zip(counted) {
            let Figure { workload, operations, instructions, .. } = figure;
            meter.report_of_cpus(workload, Bifolio::<Processor>::NAME, cpus, operations, instructions, locks.locks);
        }
    }
}

/// Locks that each CPU has taken.
static TAKEN: [AtomicU64; cpu::MAX_CPUS] = [const { AtomicU64::new(0) }; cpu::MAX_CPUS];

/// The processor, with a count of the locks that it takes.
struct Watched;

// SAFETY: in all that counts it is the kernel's.
unsafe impl Cpu for Watched {
    fn current() -> usize {
        Processor::current()
    }

    fn synchronize() {
        Processor::synchronize();
    }

    #[inline]
    fn mask_interrupts() -> bool {
        Processor::mask_interrupts()
    }

    #[inline]
    fn restore_interrupts(were_enabled: bool) {
        Processor::restore_interrupts(were_enabled);
    }
}

impl Hooks for Watched {
    fn relax() {
        Processor::relax();
    }

    fn acquire(_: &Lock, _: Acquire) {
        TAKEN[cpu::current()].fetch_add(1, Ordering::Relaxed);
    }
}

/// Locks that all CPUs have taken.
fn taken() -> u64 {
    TAKEN.iter().map(|taken| taken.load(Ordering::Relaxed)).sum()
}

/// What one workload came to.
struct Figure {
    workload: &'static str,
    operations: u64,
    instructions: u64,
    locks: u64,
}

fn all<C: Cpu + Sync + 'static>(meter: &Meter<'_>, cpus: usize) -> Vec<Figure> {
    let mut figures = Vec::new();
    if meter.wants(&["smp-page-pair"]) {
        figures.extend(page_pairs::<C>(cpus));
    }
    if meter.wants(&["smp-page-alloc", "smp-page-free"]) {
        figures.extend(page_singles::<C>(cpus));
    }
    if meter.wants(&["smp-page-bulk-alloc", "smp-page-bulk-free"]) {
        figures.extend(page_bulk::<C>(cpus));
    }
    if meter.wants(&["smp-page-cross-free"]) {
        figures.extend(page_cross_free::<C>(cpus));
    }
    if meter.wants(&["smp-heap-pair64"]) {
        figures.extend(heap_pairs::<C>(cpus));
    }
    if meter.wants(&["smp-heap-remote-free"]) {
        figures.extend(heap_remote_free::<C>(cpus));
    }
    figures
}

/// Returns once all CPUs have come here for the `nth` time.
fn meet(arrived: &AtomicUsize, cpus: usize, nth: usize) {
    arrived.fetch_add(1, Ordering::SeqCst);
    while arrived.load(Ordering::SeqCst) < nth * cpus {
        spin_loop();
    }
}

/// A piece of work, done by each CPU with its number.
type Work<'a> = &'a (dyn Fn(usize) + Sync);

/// Has all CPUs do one piece of work after the other, none before all are done with the one before: the instructions and
/// the locks of each, without what it takes to wait for each other.
fn measure<const N: usize>(cpus: usize, works: [Work<'_>; N]) -> [(u64, u64); N] {
    let (arrived, figures) = (AtomicUsize::new(0), Mutex::new("figures", Vec::with_capacity(N + 1)));
    let nothing: Work<'_> = &|_| ();
    cpu::on_cpus(cpus, &|cpu| {
        for (nth, work) in [nothing].iter().chain(&works).enumerate() {
            meet(&arrived, cpus, 2 * nth + 1);
            let (start, before) = (Stopwatch::start(), taken());
            work(cpu);
            meet(&arrived, cpus, 2 * nth + 2);
            let figure = (start.elapsed().0, taken() - before);
            if cpu == 0 {
                figures.lock().push(figure);
            }
        }
    });
    let figures = figures.lock();
    let (overhead, _) = figures[0];
    array::from_fn(|nth| (figures[nth + 1].0.saturating_sub(overhead), figures[nth + 1].1))
}

fn figure(workload: &'static str, operations: u64, (instructions, locks): (u64, u64)) -> Figure {
    Figure { workload, operations, instructions, locks }
}

/// What belongs to one CPU at a time, by its number: taken out to be worked with, and put back.
struct Hands<T>(Vec<Mutex<T>>);

impl<T: Default> Hands<T> {
    fn new(cpus: usize, make: impl Fn() -> T) -> Self {
        Self((0..cpus).map(|_| Mutex::new("hand", make())).collect())
    }

    fn with<R>(&self, cpu: usize, work: impl FnOnce(&mut T) -> R) -> R {
        let mut hand = mem::take(&mut *self.0[cpu].lock());
        let result = work(&mut hand);
        *self.0[cpu].lock() = hand;
        result
    }
}

fn page_pairs<C: Cpu + Sync + 'static>(cpus: usize) -> [Figure; 1] {
    let frames = Bifolio::<C>::for_cpus(cpus);
    let pairs = |count| {
        for _ in 0..count {
            let block = frames.allocate(Order::ZERO, Gfp::KERNEL).expect("there is memory");
            frames.free(black_box(block), Order::ZERO);
            spin_loop();
        }
    };
    // A frame of each CPU's is in use throughout.
    let warm_up = |_| {
        frames.allocate(Order::ZERO, Gfp::KERNEL).expect("there is memory");
        pairs(WARM_UP);
    };
    let [_, counted] = measure(cpus, [&warm_up, &|_| pairs(PAIRS)]);
    [figure("smp-page-pair", PAIRS * cpus as u64, counted)]
}

/// Frames, one by one, freed in the order of allocation, after it was done once.
fn page_singles<C: Cpu + Sync + 'static>(cpus: usize) -> [Figure; 2] {
    let frames = Bifolio::<C>::for_cpus(cpus);
    let hands = Hands::new(cpus, || vec![Pfn::new(0); SHARED / cpus]);
    let allocate = |cpu| {
        hands.with(cpu, |blocks| {
            blocks.iter_mut().for_each(|slot| {
                *slot = frames.allocate(Order::ZERO, Gfp::KERNEL).expect("there is memory");
                spin_loop();
            });
        });
    };
    let free = |cpu| {
        hands.with(cpu, |blocks| {
            blocks.iter().for_each(|block| {
                frames.free(*block, Order::ZERO);
                spin_loop();
            });
        });
    };
    let [_, _, allocated, freed] = measure(cpus, [&allocate, &free, &allocate, &free]);
    [figure("smp-page-alloc", SHARED as u64, allocated), figure("smp-page-free", SHARED as u64, freed)]
}

/// The same, 64 at once.
fn page_bulk<C: Cpu + Sync + 'static>(cpus: usize) -> [Figure; 2] {
    let frames = Bifolio::<C>::for_cpus(cpus);
    let frames = frames.allocator();
    let hands = Hands::new(cpus, || (0..SHARED / cpus).map(|_| None).collect::<Vec<_>>());
    let allocate = |cpu| {
        hands.with(cpu, |slots| {
            slots.chunks_mut(BULK).for_each(|slots| {
                assert_eq!(frames.allocate_bulk(slots, Gfp::KERNEL), Ok(slots.len()));
                spin_loop();
            });
        });
    };
    let free = |cpu| {
        hands.with(cpu, |slots| {
            slots.chunks_mut(BULK).for_each(|slots| {
                frames.free_bulk(slots).expect("they were allocated so");
                spin_loop();
            });
        });
    };
    let [_, _, allocated, freed] = measure(cpus, [&allocate, &free, &allocate, &free]);
    [figure("smp-page-bulk-alloc", SHARED as u64, allocated), figure("smp-page-bulk-free", SHARED as u64, freed)]
}

/// Each CPU frees what the next has allocated, in random order.
fn page_cross_free<C: Cpu + Sync + 'static>(cpus: usize) -> [Figure; 1] {
    let frames = Bifolio::<C>::for_cpus(cpus);
    let hands = Hands::new(cpus, || vec![Pfn::new(0); SHARED / cpus]);
    let allocate = |cpu| {
        hands.with(cpu, |blocks| {
            blocks.iter_mut().for_each(|slot| {
                *slot = frames.allocate(Order::ZERO, Gfp::KERNEL).expect("there is memory");
                spin_loop();
            });
            Random::new(7 + cpu as u64).shuffle(blocks);
        });
    };
    let free = |cpu| {
        hands.with((cpu + 1) % cpus, |blocks| {
            blocks.iter().for_each(|block| {
                frames.free(*block, Order::ZERO);
                spin_loop();
            });
        });
    };
    let [_, _, _, freed] = measure(cpus, [&allocate, &free, &allocate, &free]);
    [figure("smp-page-cross-free", SHARED as u64, freed)]
}

fn heap_pairs<C: Cpu + Sync + 'static>(cpus: usize) -> [Figure; 1] {
    let heap = BifolioHeap::<ForObjects, C>::for_cpus(cpus);
    let pairs = |count| {
        for _ in 0..count {
            let object = heap.allocate(SIXTY_FOUR).expect("there is memory");
            touch(object);
            // SAFETY: it was allocated so, and nobody knows it.
            unsafe { heap.free(black_box(object), SIXTY_FOUR) };
            spin_loop();
        }
    };
    let warm_up = |_| {
        heap.allocate(SIXTY_FOUR).expect("there is memory");
        pairs(WARM_UP);
    };
    let [_, counted] = measure(cpus, [&warm_up, &|_| pairs(PAIRS)]);
    [figure("smp-heap-pair64", PAIRS * cpus as u64, counted)]
}

/// Objects that go from CPU to CPU.
#[derive(Default)]
struct Loose(Vec<NonNull<u8>>);

// SAFETY: the objects are memory that any CPU may use and free.
unsafe impl Send for Loose {}

/// Each CPU frees what the next has allocated, again and again. An operation is an allocation and a free.
fn heap_remote_free<C: Cpu + Sync + 'static>(cpus: usize) -> [Figure; 1] {
    let heap = BifolioHeap::<ForObjects, C>::for_cpus(cpus);
    let hands = Hands::new(cpus, || Loose(Vec::with_capacity(HANDED_OVER)));
    let allocate = |cpu| {
        hands.with(cpu, |objects| {
            for _ in 0..HANDED_OVER {
                let object = heap.allocate(SIXTY_FOUR).expect("there is memory");
                touch(object);
                objects.0.push(object);
                spin_loop();
            }
        });
    };
    let free = |cpu| {
        hands.with((cpu + 1) % cpus, |objects| {
            for object in objects.0.drain(..) {
                // SAFETY: it was allocated so, and nobody else knows it any more.
                unsafe { heap.free(object, SIXTY_FOUR) };
                spin_loop();
            }
        });
    };
    let mut sum = (0, 0);
    for round in 0..=ROUNDS {
        for (instructions, locks) in measure(cpus, [&allocate, &free]) {
            // The first time does not count.
            sum = if round == 0 { sum } else { (sum.0 + instructions, sum.1 + locks) };
        }
    }
    [figure("smp-heap-remote-free", (ROUNDS * HANDED_OVER * cpus) as u64, sum)]
}
