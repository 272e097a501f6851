//! The heap against an oracle: random operations, every object filled to its last byte, and looked at before it goes.
//!
//! A round is a machine with a few MiB, and CPUs that take turns on one thread, as for page frames: so a run can be
//! repeated by its seed, and objects are freed by other CPUs than those that allocated them as often as not. The
//! [`oracle`] knows the blocks that the heap has from its page source, and derives from them what each free must say, up
//! to the cache's name and the slot's number.
//!
//! `cargo run --release -p model -- heap --operations 1000000` does a million operations, and `--only N` one round of
//! them again; `cargo test -p model --test heap` does what `make test` does.
//!
//! Every second round switches debugging on and off class by class, plants stray writes and lets allocations fail.

mod bad_frees;
mod check;
mod contents;
mod debug;
mod malloc;
pub mod oracle;
pub mod pages;
mod phase;

use std::alloc::{GlobalAlloc, Layout};
use std::mem::MaybeUninit;
use std::ptr::NonNull;

use bifolio::heap::{Heap, SizeClass, SlabDebug};

use crate::choices::Choices;
use crate::machine::Turns;
use crate::tally::Tally;
use oracle::Kind;
use pages::{Memory, Pages};
use phase::Phase;

/// Operations between two thorough checks.
const SAMPLE: u64 = 5_000;
/// Operations behind such a check that are checked each.
const WINDOW: u64 = 8;
/// How many CPUs there are: in rounds in turn.
const CPUS: [usize; 4] = [1, 4, 2, 3];
const MOST_CPUS: usize = 4;
/// Objects that were freed lately and may well be freed once more.
const RECENT: usize = 64;

/// Groups of the [`Tally`].
pub mod group {
    /// Calls, by entry point.
    pub const OPERATIONS: &str = "heap operations";
    /// Refused requests, by entry point.
    pub const REFUSALS: &str = "heap refusals";
    /// Bad frees, by kind.
    pub const BAD_FREES: &str = "bad heap frees";
    /// Errors planted in objects that are debugged, by kind: each was reported, with the right cache and slot.
    pub const PLANTED: &str = "planted errors";
    /// Checks, by kind.
    pub const CHECKS: &str = "heap checks";
}

/// A live object.
#[derive(Clone, Copy)]
struct Object {
    address: NonNull<u8>,
    layout: Layout,
    /// What it is filled with.
    number: u64,
    /// Which CPU allocated it.
    cpu: usize,
    /// How it is debugged.
    debug: SlabDebug,
}

impl Object {
    fn start(&self) -> usize {
        self.address.as_ptr().addr()
    }
}

/// One heap, and what is done with it.
struct Round<'m> {
    heap: Box<Heap<Pages<'m>, Turns, MOST_CPUS>>,
    live: Vec<Object>,
    /// Bytes of all live objects.
    bytes: usize,
    /// What was freed lately, in a ring.
    recent: [(usize, Layout); RECENT],
    random: Choices,
    cpus: usize,
    cpu: usize,
    numbers: u64,
    phase: Phase,
    /// How each class is debugged, in rounds that debug.
    debug: [SlabDebug; SizeClass::COUNT],
    debugs: bool,
    /// Bytes that were overwritten on purpose: each freezes a slab.
    overwritten: usize,
    tally: Tally,
}

/// Makes a heap on memory that mostly runs out, does so many operations on it, and in the end frees everything. `progress` is told
/// now and then how many were done; what was done comes back.
///
/// # Panics
/// At the first answer that is not the oracle's, and the first byte that is not the object's.
pub fn run(seed: u64, number: u64, operations: u64, progress: impl FnMut(u64)) -> Tally {
    let mut random = Choices::random(seed, number);
    let mut memory = Memory::new(random.one_of(&[4, 4, 8, 8, 16, 32]) << 20);
    let (cpus, debugs) = (CPUS[number as usize % CPUS.len()], number % 2 == 1);
    memory.with_pages(cpus, |pages| Round::new(pages, random, cpus, debugs).run(operations, progress))
}

/// The same with choices that end, on this memory.
///
/// # Panics
/// At the first answer that is not the oracle's, and the first byte that is not the object's.
pub fn run_small(memory: &mut Memory, mut choices: Choices) -> Tally {
    let (cpus, debugs) = (choices.one_of(&CPUS), choices.per_mille(300));
    memory.with_pages(cpus, |pages| Round::new(pages, choices, cpus, debugs).run(u64::MAX, |_| {}))
}

impl<'m> Round<'m> {
    fn new(pages: Pages<'m>, mut random: Choices, cpus: usize, debugs: bool) -> Self {
        Turns::reset();
        let phase = Phase::random(&mut random);
        Self {
            heap: Box::new(Heap::new(pages)),
            live: Vec::new(),
            bytes: 0,
            recent: [(1 << 40, Layout::new::<u8>()); RECENT],
            random,
            cpus,
            cpu: 0,
            numbers: 0,
            phase,
            debug: [SlabDebug::empty(); SizeClass::COUNT],
            debugs,
            overwritten: 0,
            tally: Tally::default(),
        }
    }

    fn run(mut self, operations: u64, mut progress: impl FnMut(u64)) -> Tally {
        if self.debugs {
            self.debug_others();
        }
        let mut number = 0;
        while number < operations && !self.random.are_spent() {
            self.operate();
            if number % SAMPLE < WINDOW {
                self.check();
            }
            number += 1;
            if number.is_multiple_of(SAMPLE) {
                progress(SAMPLE);
            }
        }
        self.end();
        progress(number % SAMPLE);
        self.tally
    }

    fn operate(&mut self) {
        if self.phase.is_over() {
            self.phase = Phase::random(&mut self.random);
            if self.debugs {
                self.debug_others();
            }
        }
        if self.cpus > 1 && self.random.per_mille(self.phase.switches) {
            self.cpu = self.random.below(self.cpus as u64) as usize;
            Turns::switch_to(self.cpu);
        }
        if self.random.per_mille(self.phase.bad_frees) {
            self.free_badly();
        } else if self.random.per_mille(self.phase.oddities) {
            self.do_something_odd();
        } else {
            let total = self.blocks().memory().1;
            let fills = (self.bytes as u64) < total as u64 / 1000 * self.phase.fill;
            if self.random.per_mille(if fills { 650 } else { 350 }) { self.allocate() } else { self.free() }
        }
    }

    fn blocks(&self) -> std::cell::Ref<'_, oracle::Blocks> {
        self.heap.source().blocks.borrow()
    }

    fn do_something_odd(&mut self) {
        match self.random.below(100) {
            0..40 => self.reallocate(),
            40..60 => self.use_malloc(),
            60..70 => self.look_at_one(),
            70..78 => self.bulk(),
            78..80 => self.retire(),
            80..90 if self.debugs => self.plant_in_debugged(),
            80..90 => self.look_at_one(),
            90..94 => self.shrink(),
            94 => self.run_short(),
            _ => self.have_enough(),
        }
    }

    fn layout(&mut self) -> Layout {
        let (size, align) = self.phase.size_and_align(&mut self.random);
        Layout::from_size_align(size, align).expect("sizes and alignments are small")
    }

    fn allocate(&mut self) {
        let layout = self.layout();
        let refusals = self.heap.source().refusals.get();
        let (name, address) = match self.random.below(20) {
            // SAFETY: sizes are not zero.
            0 | 1 => ("alloc", NonNull::new(unsafe { self.heap.alloc(layout) })),
            2 => ("allocate_zeroed", self.heap.allocate_zeroed(layout)),
            _ => ("allocate", self.heap.allocate(layout)),
        };
        self.tally.count(group::OPERATIONS, name);
        match address {
            Some(address) => {
                let debug = self.debug_of(layout);
                let expected =
                    if name == "allocate_zeroed" { Some(0) } else { debug.contains(SlabDebug::POISON).then_some(0x5a) };
                // SAFETY: the object is new, this long, and filled by the heap.
                assert!(expected.is_none_or(|byte| unsafe { contents::is_all(address, byte, layout.size()) }));
                self.took(address, layout);
            }
            None => self.refused(name, layout, refusals),
        }
    }

    /// Takes note of an object that was allocated, and fills it.
    fn took(&mut self, address: NonNull<u8>, layout: Layout) {
        self.took_as(address, layout, self.debug_of(layout));
    }

    /// The same for an object that is debugged in this way.
    fn took_as(&mut self, address: NonNull<u8>, layout: Layout, debug: SlabDebug) {
        self.heap.source().blocks.borrow_mut().take(address.as_ptr().addr(), layout, !debug.is_empty());
        self.numbers += 1;
        let object = Object { address, layout, number: self.numbers, cpu: self.cpu, debug };
        // SAFETY: the oracle has checked that the object is nobody else's.
        unsafe { contents::fill(address, object.number, 0, layout.size()) };
        self.bytes += layout.size();
        self.live.push(object);
    }

    /// Checks that a request could not be served: there is no such block, or the page source has refused one meanwhile
    /// and, where one CPU has all the slabs, none of them has a free slot.
    fn refused(&mut self, what: &'static str, layout: Layout, refusals: u64) {
        self.tally.count(group::REFUSALS, what);
        let kind = Kind::of(layout);
        if kind == Kind::TooLarge {
            return;
        }
        assert!(self.heap.source().refusals.get() > refusals, "{layout:?} was refused, though no page was");
        if self.cpus == 1 && !self.debugs {
            let (slots, live) = self.blocks().slots(kind);
            assert_eq!(slots, live, "{layout:?} was refused, though {} has free slots", kind.name());
        }
    }

    fn nth(&mut self) -> Option<usize> {
        let count = self.live.len() as u64;
        (count > 0).then(|| self.random.below(count) as usize)
    }

    fn free(&mut self) {
        let Some(index) = self.nth() else {
            return;
        };
        self.free_nth(index);
    }

    fn free_nth(&mut self, index: usize) {
        let object = self.live.swap_remove(index);
        let name = if object.cpu == self.cpu { "free" } else { "free of another CPU's" };
        self.tally.count(group::OPERATIONS, name);
        // SAFETY: the object is ours, and filled.
        unsafe { contents::check(object.address, object.number, object.layout.size()) };
        self.gave(&object);
        // SAFETY: the object is ours, and not used afterwards.
        unsafe {
            match self.random.below(20) {
                0 | 1 => self.heap.dealloc(object.address.as_ptr(), object.layout),
                2..6 => {
                    self.tally.count(group::OPERATIONS, "free_unsized");
                    assert_eq!(self.heap.free_unsized(object.address), Ok(()), "{:p}", object.address);
                }
                _ => assert_eq!(self.heap.free(object.address, object.layout), Ok(()), "{:p}", object.address),
            }
        }
    }

    /// Takes note of an object that is about to be freed.
    fn gave(&mut self, object: &Object) {
        self.heap.source().blocks.borrow_mut().give(object.start());
        self.bytes -= object.layout.size();
        let slot = self.random.below(RECENT as u64) as usize;
        self.recent[slot] = (object.start(), object.layout);
    }

    fn reallocate(&mut self) {
        let Some(index) = self.nth() else {
            return;
        };
        let old = self.live[index];
        let size = match self.random.below(4) {
            // A little more or less, which is often the same slot.
            0 => old.layout.size() + self.random.below(16) as usize,
            1 => old.layout.size().saturating_sub(self.random.below(16) as usize).max(1),
            _ => self.phase.size_and_align(&mut self.random).0,
        };
        let by_address = self.random.per_mille(300);
        let wanted = Layout::from_size_align(size, old.layout.align()).expect("sizes and alignments are small");
        let wanted = if by_address { malloc::layout_of(size) } else { wanted };
        let refusals = self.heap.source().refusals.get();
        // SAFETY: the object is ours, and filled.
        unsafe { contents::check(old.address, old.number, old.layout.size()) };
        // It may move into a slot whose block is new, or leave one whose block goes back: the oracle is told before.
        self.live.swap_remove(index);
        self.gave(&old);
        // SAFETY: the object is ours; we go on with what comes back.
        let (name, moved) = unsafe {
            match by_address {
                true => ("realloc", self.resize_by_address(old.address, size)),
                false => ("reallocate", self.heap.reallocate(old.address, old.layout, size)),
            }
        };
        self.tally.count(group::OPERATIONS, name);
        let Some(address) = moved.unwrap_or_else(|error| panic!("{:p}: {error}", old.address)) else {
            self.heap.source().blocks.borrow_mut().take(old.start(), old.layout, !old.debug.is_empty());
            self.bytes += old.layout.size();
            self.live.push(old);
            return self.refused_resize(&old, wanted, refusals);
        };
        if address == old.address {
            assert!(old.debug.is_empty(), "an object that is debugged moves");
            self.tally.count(group::OPERATIONS, "reallocate in place");
        } else {
            let is_same = Kind::of(wanted) == Kind::of(old.layout);
            assert!(!is_same || !old.debug.is_empty(), "an object moved from slot to slot of one kind");
        }
        // SAFETY: the object is ours and this long, and what it held before has come with it.
        unsafe { contents::check(address, old.number, old.layout.size().min(size)) };
        // What stays where it was is debugged as it was.
        let debug = if address == old.address { old.debug } else { self.debug_of(wanted) };
        self.took_as(address, wanted, debug);
    }

    fn refused_resize(&mut self, old: &Object, wanted: Layout, refusals: u64) {
        // SAFETY: the object is still ours.
        unsafe { contents::check(old.address, old.number, old.layout.size()) };
        let is_same = Kind::of(wanted) == Kind::of(old.layout);
        assert!(!is_same || !old.debug.is_empty(), "an object that could stay was refused");
        self.refused("reallocate", wanted, refusals);
    }

    fn look_at_one(&mut self) {
        let Some(index) = self.nth() else {
            return;
        };
        self.tally.count(group::OPERATIONS, "is_live");
        let object = self.live[index];
        // SAFETY: the object is ours, and filled.
        unsafe { contents::check(object.address, object.number, object.layout.size()) };
        assert!(self.heap.is_live(object.address, object.layout));
        let size = if object.debug.is_empty() { Kind::of(object.layout).bytes() } else { object.layout.size() };
        assert_eq!(self.heap.object_size(object.address), Ok(size));
    }

    /// Many objects of one layout at once, and some of them back at once.
    fn bulk(&mut self) {
        const MOST: usize = 100;
        let layout = self.layout();
        if layout.size() > 10_000 {
            return;
        }
        self.tally.count(group::OPERATIONS, "allocate_bulk");
        let refusals = self.heap.source().refusals.get();
        let mut places = [const { MaybeUninit::uninit() }; MOST];
        let wanted = 1 + self.random.below(MOST as u64) as usize;
        let count = self.heap.allocate_bulk(layout, &mut places[..wanted]);
        // SAFETY: so many were initialised.
        let objects: Vec<NonNull<u8>> = places[..count].iter().map(|place| unsafe { place.assume_init() }).collect();
        objects.iter().for_each(|address| self.took(*address, layout));
        if count < wanted {
            self.refused("allocate_bulk", layout, refusals);
        }
        let freed = self.random.below(count as u64 + 1) as usize;
        self.tally.count(group::OPERATIONS, "free_bulk");
        let objects = self.live.split_off(self.live.len() - freed);
        for object in &objects {
            // SAFETY: the object is ours, and filled.
            unsafe { contents::check(object.address, object.number, object.layout.size()) };
            self.gave(object);
        }
        let gone: Vec<_> = objects.iter().map(|object| object.address).collect();
        // SAFETY: the objects are ours, and not used afterwards.
        assert_eq!(unsafe { self.heap.free_bulk(&gone, layout) }, Ok(()));
    }

    fn retire(&mut self) {
        self.tally.count(group::OPERATIONS, "retire_cpu");
        self.heap.retire_cpu();
    }

    fn shrink(&mut self) {
        self.tally.count(group::OPERATIONS, "shrink");
        let before = self.blocks().frames();
        let given = self.heap.shrink();
        assert_eq!(before - self.blocks().frames(), given, "shrink says how much it gave back");
    }

    /// Lets the page source refuse all requests soon.
    fn run_short(&mut self) {
        self.heap.source().until_refusal.set(Some(self.random.below(5)));
    }

    fn have_enough(&mut self) {
        self.heap.source().until_refusal.set(None);
    }

    /// Frees everything, and wants every frame back.
    fn end(&mut self) {
        self.have_enough();
        self.check();
        while let Some(last) = self.live.len().checked_sub(1) {
            if self.random.per_mille(100) {
                self.cpu = self.random.below(self.cpus as u64) as usize;
                Turns::switch_to(self.cpu);
            }
            self.free_nth(last);
        }
        self.check();
        self.end_debugging();
        self.shrink();
        if self.overwritten > 0 {
            // What was overwritten is never used again, nor given back.
            assert_eq!(self.heap.frozen_slabs(), self.overwritten);
            return self.tally.count(group::CHECKS, "all free, but what is frozen");
        }
        assert_eq!(self.heap.frames(), Default::default(), "the heap has frames, but no object");
        self.heap.source().check_all_free();
        self.tally.count(group::CHECKS, "all free, every frame back");
    }
}
