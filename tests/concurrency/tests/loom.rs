//! Small models, in every order of events there is with few changes of turn, and with all that a processor may reorder.
#![cfg(loom)]

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use bifolio::allocator::{Cpu, Hooks, PageAllocator, PerCpuPages, Plan};
use bifolio::frame::{Gfp, Order, Pfn};
use bifolio::memory_map::{MemoryMap, Region, RegionKind};
use bifolio::slab::models;
use bifolio::sync::{Acquire, Gate, Lock};
use kit::{Raw, over_numbers};
use loom::cell::UnsafeCell;
use loom::sync::MutexGuard;
use loom::sync::atomic::{Ordering::SeqCst, fence};
use loom::thread;

loom::thread_local! {
    static NUMBER: Cell<usize> = Cell::new(usize::MAX);
}

/// A lock, as loom knows it, and its guard while it is held.
type Held = (&'static loom::sync::Mutex<()>, Option<MutexGuard<'static, ()>>);

loom::lazy_static! {
    /// The locks of a run, by address.
    static ref LOCKS: Mutex<HashMap<usize, Held>> = Mutex::default();
}

/// A thread of loom's as a CPU. It takes a lock of loom's for each of the crate's, so that loom knows who waits for whom.
struct Thread;

// SAFETY: threads that share an allocator have different numbers; nothing interrupts them.
unsafe impl Cpu for Thread {
    fn current() -> usize {
        NUMBER.with(Cell::get)
    }

    fn synchronize() {
        fence(SeqCst);
    }

    fn without_interrupts<R>(critical: impl FnOnce() -> R) -> R {
        critical()
    }
}

impl Hooks for Thread {
    fn relax() {
        thread::yield_now();
    }

    fn acquire(lock: &Lock, _: Acquire) {
        let new = || (&*Box::leak(Box::new(loom::sync::Mutex::new(()))), None);
        let mutex = LOCKS.lock().unwrap().entry(lock.address).or_insert_with(new).0;
        let guard = mutex.lock().unwrap();
        LOCKS.lock().unwrap().get_mut(&lock.address).unwrap().1 = Some(guard);
    }

    fn release(lock: &Lock) {
        let guard = LOCKS.lock().unwrap().get_mut(&lock.address).unwrap().1.take();
        drop(guard);
    }
}

/// Runs `model` in all orders of events; of a large one, in those that have no more than so many changes of turn that nobody
/// waits for.
fn explore(name: &str, changes: Option<usize>, model: impl Fn() + Send + Sync + 'static) {
    let runs = Arc::new(AtomicUsize::new(0));
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = changes;
    builder.max_branches = 100_000;
    let count = runs.clone();
    builder.check(move || {
        count.fetch_add(1, Relaxed);
        model();
    });
    let bound = changes.map_or(String::new(), |changes| format!(" with {changes} changes of turn"));
    println!("explored: {name}: all {} orders of events{bound}", runs.load(Relaxed));
}

const FIRST: u64 = 1 << 20;
const FRAMES: u64 = 128;

/// An allocator with an arena for CPU 0, and what the frames hold: loom sees who touches them at once.
struct Machine {
    frames: PageAllocator<'static, Thread>,
    memory: Vec<UnsafeCell<bool>>,
}

impl Machine {
    /// One that lives as long as a run of the model.
    fn new() -> Arc<Self> {
        let mut regions = [Region { start: FIRST << 12, end: (FIRST + FRAMES) << 12, kind: RegionKind::Usable }];
        let plan = Plan::apart(MemoryMap::sanitise(&mut regions).unwrap()).unwrap();
        let metadata = Box::leak(vec![!0; plan.metadata_words()].into_boxed_slice());
        let arenas: &[PerCpuPages; 1] = Box::leak(Box::new([PerCpuPages::new()]));
        let frames = over_numbers(&plan, metadata, arenas).unwrap();
        frames.prime();
        Arc::new(Self { frames, memory: (0..FRAMES).map(|_| UnsafeCell::new(false)).collect() })
    }

    fn set(&self, pfn: Pfn, order: Order, is_used: bool) {
        let first = (pfn.number() - FIRST) as usize;
        for frame in &self.memory[first..first + order.frames() as usize] {
            // SAFETY: who has a frame has it to himself: loom sees whether that is so.
            let before = frame.with_mut(|frame| unsafe { frame.replace(is_used) });
            assert_ne!(before, is_used, "{pfn} was handed out or freed twice");
        }
    }

    fn allocate(&self, order: Order, gfp: Gfp) -> Option<Pfn> {
        let pfn = self.frames.take(order, gfp | Gfp::NOWARN).ok()?;
        self.set(pfn, order, true);
        Some(pfn)
    }

    fn free(&self, pfn: Pfn, order: Order) {
        self.set(pfn, order, false);
        self.frames.give(pfn, order).unwrap();
    }
}

/// Does `work` as CPU 0.
fn as_owner<R>(work: impl FnOnce() -> R) -> R {
    NUMBER.with(|number| number.set(0));
    let result = work();
    NUMBER.with(|number| number.set(usize::MAX));
    result
}

fn half_a_word() -> Order {
    Order::new(5).unwrap()
}

/// The owner of a gate goes in twice while a stranger closes it, waits, and does as it likes.
#[test]
fn nobody_is_inside_once_the_owner_was_waited_for() {
    struct Guarded {
        gate: Gate,
        value: UnsafeCell<u32>,
    }
    impl Guarded {
        fn change(&self) {
            // SAFETY: who is here is here alone: loom sees whether that is so.
            self.value.with_mut(|value| unsafe { *value += 1 });
        }
    }
    explore("a gate that is closed", None, || {
        let guarded = Arc::new(Guarded { gate: Gate::new(), value: UnsafeCell::new(0) });
        guarded.gate.prime();
        let owner = {
            let guarded = guarded.clone();
            thread::spawn(move || {
                for _ in 0..2 {
                    if let Some(_inside) = guarded.gate.enter() {
                        guarded.change();
                    }
                }
            })
        };
        Gate::close_all::<Thread>([&guarded.gate]);
        guarded.gate.await_owner::<Thread>();
        guarded.change();
        guarded.gate.open();
        owner.join().unwrap();
    });
}

/// The owner of an arena allocates and frees while a stranger empties it and uses what it held.
#[test]
fn an_arena_is_not_emptied_while_its_owner_is_inside() {
    explore("an arena that is emptied", Some(3), || {
        let machine = Machine::new();
        // The arena has a word.
        as_owner(|| machine.free(machine.allocate(Order::ZERO, Gfp::MOVABLE).unwrap(), Order::ZERO));
        let owner = {
            let machine = machine.clone();
            thread::spawn(move || {
                as_owner(|| {
                    // The stranger may have left too little.
                    if let Some(pfn) = machine.allocate(Order::ZERO, Gfp::MOVABLE) {
                        machine.free(pfn, Order::ZERO);
                    }
                });
            })
        };
        machine.frames.drain();
        let held: Vec<Pfn> = (0..3).filter_map(|_| machine.allocate(half_a_word(), Gfp::MEMALLOC)).collect();
        owner.join().unwrap();
        held.into_iter().for_each(|pfn| machine.free(pfn, half_a_word()));
        as_owner(|| machine.frames.drain());
        machine.frames.validate().unwrap();
        assert_eq!((machine.frames.cached(), machine.frames.late_double_frees()), (0, 0));
    });
}

/// The owner of an arena gets a word, of which it takes one frame, while a stranger needs what is left of it: the stranger
/// may not pass the arena by as one that holds nothing.
#[test]
fn what_an_arena_is_about_to_hold_is_found() {
    explore("an arena that is about to hold a word", Some(3), || {
        let machine = Machine::new();
        let owner = {
            let machine = machine.clone();
            thread::spawn(move || as_owner(|| machine.allocate(Order::ZERO, Gfp::MOVABLE)))
        };
        // All but half a word, in a corner of which is the frame that the owner has.
        let held = [(); 3].map(|()| machine.allocate(half_a_word(), Gfp::MEMALLOC).expect("the frames are there"));
        let single = owner.join().unwrap();
        held.into_iter().for_each(|pfn| machine.free(pfn, half_a_word()));
        single.into_iter().for_each(|pfn| machine.free(pfn, Order::ZERO));
        machine.frames.drain();
        machine.frames.validate().unwrap();
    });
}

#[test]
fn slots_freed_from_elsewhere_come_back() {
    explore("slots freed from elsewhere", None, models::slots_freed_from_elsewhere_come_back);
}

#[test]
fn of_two_frees_of_one_slot_one_is_noticed() {
    explore("two frees of one slot", None, models::of_two_frees_of_one_slot_one_is_noticed);
}

#[test]
fn a_slot_is_free_while_it_is_taken_over() {
    explore("a slot that is taken over", None, models::a_slot_is_free_while_it_is_taken_over);
}
