//! Small models, in every order of events there is with few changes of turn, and with all that a processor may reorder.
#![cfg(bifolio_loom)]

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use bifolio::allocator::{Cpu, Hooks, PageAllocator, PerCpuPages, Plan};
use bifolio::frame::{Gfp, Order, Pfn, ZoneKind};
use bifolio::memory_map::{MemoryMap, Region, RegionKind};
use bifolio::slab::models;
use bifolio::sync::{Acquire, Gate, Lock};
use kit::{Raw, over_numbers};
use loom::cell::UnsafeCell;
use loom::sync::MutexGuard;
use loom::sync::atomic::{Ordering::SeqCst, fence};
use loom::thread::{self, JoinHandle};

loom::thread_local! {
    static NUMBER: Cell<usize> = Cell::new(usize::MAX);
}

/// A lock, as loom knows it, and its guard while it is held.
type Held = (&'static loom::sync::Mutex<()>, Option<MutexGuard<'static, ()>>);

loom::lazy_static! {
    /// The locks of a run, by address.
    static ref LOCKS: Mutex<HashMap<usize, Held>> = Mutex::default();
}

/// A thread of loom's as a CPU. It takes a lock of loom's for each of the crate's, so that loom knows which CPU waits for which.
struct Thread;

// SAFETY: threads that share an allocator have different numbers; nothing interrupts them.
unsafe impl Cpu for Thread {
    fn current() -> usize {
        NUMBER.with(Cell::get)
    }

    fn synchronize() {
        fence(SeqCst);
    }

    fn mask_interrupts() -> bool {
        false
    }

    fn restore_interrupts(_: bool) {}
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

/// A CPU that is not heard of when it is asked for a barrier.
struct Unheard;

// SAFETY: threads that share a gate have different numbers; nothing interrupts them; a barrier is never claimed.
unsafe impl Cpu for Unheard {
    fn current() -> usize {
        NUMBER.with(Cell::get)
    }

    fn synchronize() {
        unreachable!("nothing waits for what never comes");
    }

    fn try_synchronize(missed: &mut dyn FnMut(usize)) {
        missed(0);
    }

    fn mask_interrupts() -> bool {
        false
    }

    fn restore_interrupts(_: bool) {}
}

impl Hooks for Unheard {
    fn relax() {
        thread::yield_now();
    }
}

/// Runs `model` in all orders of events; of a large one, in those that have no more than so many changes of turn that nobody
/// waits for.
fn explore(name: &str, changes: Option<usize>, model: impl Fn() + Send + Sync + 'static) {
    let runs = Arc::new(AtomicUsize::new(0));
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = changes;
    builder.max_branches = 1_000_000;
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

/// An allocator with pages for CPUs 0 and 1, and what the frames hold: loom sees which CPUs touch them at once.
struct Machine {
    frames: PageAllocator<'static, Thread>,
    memory: Vec<UnsafeCell<bool>>,
}

impl Machine {
    /// One that lives as long as a run of the model.
    fn new() -> Arc<Self> {
        Self::of(FRAMES)
    }

    /// One of so many frames.
    fn of(count: u64) -> Arc<Self> {
        let mut regions = [Region { start: FIRST << 12, end: (FIRST + count) << 12, kind: RegionKind::Usable }];
        let plan = Plan::apart(MemoryMap::sanitise(&mut regions).unwrap());
        let metadata = Box::leak(vec![!0; plan.metadata_words()].into_boxed_slice());
        let pages: &[PerCpuPages; 2] = Box::leak(Box::new([const { PerCpuPages::new() }; 2]));
        let frames = over_numbers(&plan, metadata, pages).unwrap();
        frames.prime();
        Arc::new(Self { frames, memory: (0..count).map(|_| UnsafeCell::new(false)).collect() })
    }

    fn set(&self, pfn: Pfn, order: Order, is_used: bool) {
        let first = (pfn.number() - FIRST) as usize;
        // Of a large block a frame here and there will do.
        let step = if order > half_a_word() { 1 << half_a_word().get() } else { 1 };
        for frame in self.memory[first..first + order.frames() as usize].iter().step_by(step) {
            // SAFETY: a CPU that has a frame has it to itself: loom sees whether that is so.
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

    /// Has a CPU do something meanwhile.
    fn start<R: 'static>(self: &Arc<Self>, cpu: usize, work: impl FnOnce(&Self) -> R + 'static) -> JoinHandle<R> {
        let machine = self.clone();
        thread::spawn(move || as_cpu(cpu, || work(&machine)))
    }

    /// Everything is free, and sound, once the CPUs' pages are empty.
    fn assert_all_free(&self) {
        self.frames.drain();
        self.frames.validate().unwrap();
        let zone = self.frames.zone(ZoneKind::Normal);
        assert_eq!((zone.free, self.frames.cached()), (zone.managed, 0));
    }
}

/// Does `work` as CPU 0.
fn as_owner<R>(work: impl FnOnce() -> R) -> R {
    as_cpu(0, work)
}

fn as_cpu<R>(cpu: usize, work: impl FnOnce() -> R) -> R {
    NUMBER.with(|number| number.set(cpu));
    let result = work();
    NUMBER.with(|number| number.set(usize::MAX));
    result
}

fn half_a_word() -> Order {
    Order::new(5).unwrap()
}

/// A gate, and what is behind it.
struct Guarded {
    gate: Gate,
    value: UnsafeCell<u32>,
}

impl Guarded {
    fn new() -> Arc<Self> {
        let guarded = Self { gate: Gate::new(), value: UnsafeCell::new(0) };
        guarded.gate.prime();
        Arc::new(guarded)
    }

    fn change(&self) {
        // SAFETY: a thread that is here is here alone: loom sees whether that is so.
        self.value.with_mut(|value| unsafe { *value += 1 });
    }

    /// Has the owner go in twice meanwhile.
    fn enter_twice(self: &Arc<Self>) -> JoinHandle<()> {
        let guarded = self.clone();
        thread::spawn(move || {
            for _ in 0..2 {
                if let Some(_inside) = guarded.gate.enter() {
                    guarded.change();
                }
            }
        })
    }
}

/// The owner of a gate goes in while a stranger, which does not hear of it when it asks for a barrier, leaves it alone.
#[test]
fn what_an_owner_has_that_is_not_heard_of_is_left_alone() {
    explore("a gate whose owner is not heard of", None, || {
        let guarded = Guarded::new();
        let owner = guarded.enter_twice();
        if Gate::try_close_all::<Unheard>(std::iter::once((0, &guarded.gate))) {
            guarded.gate.await_owner::<Unheard>();
            guarded.change();
        }
        owner.join().unwrap();
        assert!(!guarded.gate.is_closed());
    });
}

/// The owner of a gate goes in twice while a stranger closes it, waits, and does as it likes.
#[test]
fn nobody_is_inside_once_the_owner_was_waited_for() {
    explore("a gate that is closed", None, || {
        let guarded = Guarded::new();
        let owner = guarded.enter_twice();
        Gate::close_all::<Thread>([&guarded.gate]);
        guarded.gate.await_owner::<Thread>();
        guarded.change();
        guarded.gate.open();
        owner.join().unwrap();
    });
}

/// A CPU allocates and frees while a stranger empties its pages and uses what they held.
#[test]
fn pages_are_not_emptied_while_their_owner_is_inside() {
    explore("pages that are emptied", Some(2), || {
        let machine = Machine::new();
        // A batch has a word.
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

/// A CPU gets a word on loan, of which it takes one frame, while a stranger needs what is left of it: the stranger
/// may not pass the CPU by as one that holds nothing.
#[test]
fn what_a_batch_is_about_to_hold_is_found() {
    explore("a batch that is about to hold a word", Some(2), || {
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

/// Two CPUs free frames of one word, the first of its pageblock that are freed since the zone looked there, while a third
/// looks for one.
#[test]
fn frames_freed_into_one_word_at_once_are_found() {
    explore("two frees into one word, and a search", Some(1), || {
        let machine = Machine::of(Order::PAGEBLOCK.frames());
        let taken = [0; 2].map(|_| machine.allocate(Order::ZERO, Gfp::MEMALLOC).unwrap());
        // The zone looks.
        machine.frames.zone(ZoneKind::Normal);
        let cpus = [0, 1].map(|cpu| machine.start(cpu, move |machine| machine.free(taken[cpu], Order::ZERO)));
        let found = machine.allocate(Order::ZERO, Gfp::MEMALLOC).expect("there were frames all the time");
        cpus.into_iter().for_each(|cpu| cpu.join().unwrap());
        machine.free(found, Order::ZERO);
        machine.assert_all_free();
    });
}

/// Two CPUs free the last blocks of a pageblock, while a third looks for a whole one.
#[test]
fn a_pageblock_whose_last_blocks_are_freed_at_once_is_whole() {
    explore("the last two frees of a pageblock, and a search", Some(2), || {
        let machine = Machine::of(Order::PAGEBLOCK.frames());
        let half = Order::new(8).unwrap();
        let taken = [0; 2].map(|_| machine.allocate(half, Gfp::MEMALLOC).unwrap());
        machine.frames.zone(ZoneKind::Normal);
        let cpus = [0, 1].map(|cpu| machine.start(cpu, move |machine| machine.free(taken[cpu], half)));
        let early = machine.allocate(half, Gfp::MEMALLOC);
        cpus.into_iter().for_each(|cpu| cpu.join().unwrap());
        early.into_iter().for_each(|pfn| machine.free(pfn, half));
        let whole = machine.allocate(Order::PAGEBLOCK, Gfp::MEMALLOC).expect("all of it is free");
        machine.free(whole, Order::PAGEBLOCK);
        machine.assert_all_free();
    });
}

/// A CPU frees a block that another's batch has on loan, while the loan ends: its owner has been idle.
#[test]
fn a_lent_block_is_freed_while_its_loan_ends() {
    explore("a free of a lent block, and the end of its loan", Some(3), || {
        let machine = Machine::of(Order::PAGEBLOCK.frames());
        let taken = as_owner(|| machine.allocate(Order::ZERO, Gfp::MOVABLE).unwrap());
        as_owner(|| assert!(!machine.frames.decay(), "it was busy"));
        let other = machine.start(1, move |machine| machine.free(taken, Order::ZERO));
        as_owner(|| assert!(machine.frames.decay()));
        other.join().unwrap();
        machine.assert_all_free();
        assert_eq!(machine.frames.late_double_frees(), 0);
    });
}

/// A CPU frees a block that another's batch has on loan, while a third empties the batch, whose owner frees as well.
#[test]
fn a_lent_block_is_freed_while_its_batch_is_drained() {
    explore("frees of lent blocks, and a drain", Some(1), || {
        let machine = Machine::of(Order::PAGEBLOCK.frames());
        let taken = as_owner(|| [0; 2].map(|_| machine.allocate(Order::ZERO, Gfp::MOVABLE).unwrap()));
        let cpus = [0, 1].map(|cpu| machine.start(cpu, move |machine| machine.free(taken[cpu], Order::ZERO)));
        machine.frames.drain();
        cpus.into_iter().for_each(|cpu| cpu.join().unwrap());
        machine.assert_all_free();
        assert_eq!(machine.frames.late_double_frees(), 0);
    });
}

/// The owner of a batch and another CPU free one block, and the owner allocates again.
#[test]
fn of_two_frees_of_a_lent_block_one_is_noticed_before_it_has_two_owners() {
    explore("two frees of a lent block", Some(3), || {
        let machine = Machine::of(Order::PAGEBLOCK.frames());
        let taken = as_owner(|| machine.allocate(Order::ZERO, Gfp::MOVABLE).unwrap());
        machine.set(taken, Order::ZERO, false);
        let other = machine.start(1, move |machine| machine.frames.give(taken, Order::ZERO).is_ok());
        let own = as_owner(|| machine.frames.give(taken, Order::ZERO).is_ok());
        let good = u64::from(own) + u64::from(other.join().unwrap());
        let again = as_owner(|| [0; 2].map(|_| machine.allocate(Order::ZERO, Gfp::MOVABLE).unwrap()));
        let elsewhere = machine.allocate(half_a_word(), Gfp::MEMALLOC).unwrap();
        machine.frames.drain();
        assert_eq!(good - machine.frames.late_double_frees(), 1);
        machine.free(elsewhere, half_a_word());
        again.into_iter().for_each(|pfn| machine.free(pfn, Order::ZERO));
        machine.assert_all_free();
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
fn of_two_frees_of_one_slot_one_is_noticed_wherever_the_slab_goes() {
    let model = models::of_two_frees_of_one_slot_one_is_noticed_wherever_the_slab_goes;
    explore("two frees of a slot whose slab moves", None, model);
}

#[test]
fn a_slab_that_a_second_free_empties_is_closed_with_all_that_was_freed() {
    let model = models::a_slab_that_a_second_free_empties_is_closed_with_all_that_was_freed;
    explore("two frees of the last live slot, and the end of its slab", None, model);
}

#[test]
fn a_slot_is_free_while_it_is_taken_over() {
    explore("a slot that is taken over", None, models::a_slot_is_free_while_it_is_taken_over);
}
