//! Rounds of random operations: mostly allocations and frees, in phases that each prefer something else.

use std::time::Duration;

use bifolio::allocator::AllocError;
use bifolio::cpu::Hooks;
use bifolio::frame::{Gfp, Order, Pfn, ZoneKind};
use kit::Raw;

use crate::choices::Choices;
use crate::machine::{Machine, Size, Turns, end_faults};
use crate::tally::Tally;
use kit::oracle::{Oracle, Seen, blocks};

/// Operations between two thorough checks.
const SAMPLE: u64 = 10_000;
/// Operations behind such a check that are checked each.
const WINDOW: u64 = 16;
/// How many CPUs have an arena: of machines in turn.
const CPUS: [usize; 5] = [1, 4, 0, 2, 3];
/// Blocks that were freed lately and may well be freed once more.
pub(crate) const RECENT: usize = 64;

/// Groups of the [`Tally`].
pub mod group {
    /// Calls, by entry point.
    pub const OPERATIONS: &str = "operations";
    /// Refused requests, by entry point.
    pub const REFUSALS: &str = "refusals";
    /// Bad frees, by kind.
    pub const BAD_FREES: &str = "bad frees";
    /// Thorough checks, by kind.
    pub const CHECKS: &str = "checks";
}

const ORDERS: &[&[u8]] = &[
    &[0],
    &[0, 0, 0, 1, 2, 3],
    &[0, 0, 0, 0, 0, 0, 1, 1, 1, 2, 2, 3, 4, 5, 6, 7, 8, 9, 10],
    &[0, 3, 4],
    &[6, 7, 8, 9, 10],
    &[9, 10],
    &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10],
];
const ZONES: &[&[Gfp]] =
    &[&[Gfp::empty()], &[Gfp::empty(), Gfp::DMA32, Gfp::DMA], &[Gfp::empty(), Gfp::empty(), Gfp::DMA32], &[Gfp::DMA]];
const MOBILITIES: &[&[Gfp]] =
    &[&[Gfp::empty()], &[Gfp::empty(), Gfp::MOVABLE, Gfp::RECLAIMABLE], &[Gfp::MOVABLE, Gfp::MOVABLE, Gfp::empty()]];
const URGENCIES: &[&[Gfp]] = &[
    &[Gfp::MEMALLOC],
    &[Gfp::KERNEL, Gfp::KERNEL, Gfp::ATOMIC, Gfp::NOWAIT],
    &[
        Gfp::KERNEL,
        Gfp::ATOMIC,
        Gfp::NOWAIT,
        Gfp::empty(),
        Gfp::HIGH.union(Gfp::WAIT),
        Gfp::MEMALLOC,
        Gfp::MEMALLOC.union(Gfp::WAIT),
        Gfp::MEMALLOC.union(Gfp::HIGH),
        Gfp::NOWARN.union(Gfp::WAIT),
    ],
    &[Gfp::ATOMIC],
];

/// What a stretch of operations prefers.
struct Phase {
    left: u64,
    /// The part of memory that it tends to hold, in thousandths; above 1000 it runs into refusals.
    fill: u64,
    orders: &'static [u8],
    zones: &'static [Gfp],
    mobilities: &'static [Gfp],
    urgencies: &'static [Gfp],
    /// In thousandths of the operations.
    bad_frees: u64,
    oddities: u64,
    switches: u64,
}

impl Phase {
    fn random(random: &mut Choices) -> Self {
        Self {
            left: random.between(500, 20_000),
            fill: random.one_of(&[0, 50, 300, 500, 700, 900, 990, 1100]),
            orders: random.one_of(ORDERS),
            zones: random.one_of(ZONES),
            mobilities: random.one_of(MOBILITIES),
            urgencies: random.one_of(URGENCIES),
            bad_frees: random.one_of(&[10, 30, 150]),
            oddities: random.one_of(&[2, 10, 40]),
            switches: random.one_of(&[1, 30, 300]),
        }
    }
}

/// One machine, and what is done on it.
pub(crate) struct Round<'m> {
    pub(crate) machine: Machine<'m>,
    pub(crate) oracle: Oracle,
    pub(crate) random: Choices,
    pub(crate) cpu: usize,
    /// Blocks that were freed lately, in a ring.
    pub(crate) recent: [(Pfn, Order); RECENT],
    pub(crate) dropped: u64,
    pub(crate) isolated: Vec<bifolio::frame::PfnRange>,
    /// Drains had been when a pageblock was last isolated: what arenas held of it then may come from them until the next.
    pub(crate) isolated_at: u64,
    pub(crate) added: usize,
    /// When reports were last read.
    pub(crate) watched: Duration,
    first: Vec<Seen>,
    phase: Phase,
    /// What was done.
    pub(crate) tally: Tally,
}

/// Makes the machine with this number, of which every fifth has a large zone, does so many operations on it, and in the end frees
/// everything. `progress` is told now and then how many were done; what was done comes back.
///
/// # Panics
/// At the first answer that is not the oracle's.
pub fn run(seed: u64, number: u64, operations: u64, progress: impl FnMut(u64)) -> Tally {
    let (cpus, size) = (CPUS[number as usize % CPUS.len()], if number % 5 == 4 { Size::Large } else { Size::Usual });
    Machine::with(Choices::random(seed, number), cpus, size, |machine, choices| {
        Round::new(machine, choices).run(operations, progress)
    })
}

/// The same with choices that end, on a small machine.
///
/// # Panics
/// At the first answer that is not the oracle's.
pub fn run_small(mut choices: Choices) -> Tally {
    let cpus = choices.one_of(&CPUS);
    Machine::with(choices, cpus, Size::Small, |machine, choices| Round::new(machine, choices).run(u64::MAX, |_| {}))
}

impl<'m> Round<'m> {
    fn new(machine: Machine<'m>, mut random: Choices) -> Self {
        Turns::reset();
        end_faults();
        let mut oracle = Oracle::new(&machine.ram);
        machine.usable.iter().for_each(|range| oracle.add(*range));
        let first = blocks(machine.frames);
        assert_eq!(first, oracle.blocks(), "the fresh allocator has what the map has");
        let phase = Phase::random(&mut random);
        Self {
            machine,
            oracle,
            random,
            cpu: 0,
            recent: [(Pfn::new(u64::MAX), Order::ZERO); RECENT],
            dropped: 0,
            isolated: Vec::new(),
            isolated_at: 0,
            added: 0,
            watched: <Turns>::uptime(),
            first,
            phase,
            tally: Tally::default(),
        }
    }

    fn run(mut self, operations: u64, mut progress: impl FnMut(u64)) -> Tally {
        let mut number = 0;
        while number < operations && !self.random.are_spent() {
            self.operate();
            if number % SAMPLE < WINDOW {
                self.check();
            }
            if number % (5 * SAMPLE) == 0 {
                self.check_blocks();
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
        if self.phase.left == 0 {
            self.phase = Phase::random(&mut self.random);
            Turns::wait(Duration::from_secs(1));
        }
        self.phase.left -= 1;
        if self.machine.cpus > 1 && self.random.per_mille(self.phase.switches) {
            self.cpu = self.random.below(self.machine.cpus as u64) as usize;
            Turns::switch_to(self.cpu);
        }
        if self.random.per_mille(self.phase.bad_frees) {
            self.free_badly();
        } else if self.random.per_mille(self.phase.oddities) {
            self.do_something_odd();
        } else {
            let managed: u64 = self.oracle.managed().iter().sum();
            let held = managed - self.oracle.all_free();
            let fills = held * 1000 < self.phase.fill * managed;
            if self.random.per_mille(if fills { 700 } else { 300 }) { self.allocate() } else { self.free() }
        }
    }

    pub(crate) fn order(&mut self) -> Order {
        Order::new(self.random.one_of(self.phase.orders)).expect("phases have orders that there are")
    }

    pub(crate) fn gfp(&mut self) -> Gfp {
        let phase = &self.phase;
        let mut gfp = self.random.one_of(phase.zones)
            | self.random.one_of(phase.mobilities)
            | self.random.one_of(phase.urgencies);
        if self.random.per_mille(5) {
            gfp |= self.random.one_of(&[Gfp::NOFRAGMENT, Gfp::NOWARN, Gfp::ZERO]);
        }
        gfp
    }

    fn allocate(&mut self) {
        self.tally.count(group::OPERATIONS, "allocate");
        let (order, mut gfp) = (self.order(), self.gfp());
        if self.random.per_mille(1) {
            gfp |= self.random.one_of(&[Gfp::DMA | Gfp::DMA32, Gfp::MOVABLE | Gfp::RECLAIMABLE]);
        }
        let result = self.machine.frames.take(order, gfp);
        self.take_note_of_shrinking(gfp);
        match (result, gfp.highest_zone().zip(gfp.mobility())) {
            (Ok(pfn), Some((highest, _))) => {
                self.took(pfn, order, highest);
                self.check_purity(pfn, order, gfp);
                self.check_zeroed(gfp, &[bifolio::frame::PfnRange::new(pfn, pfn.offset(order.frames()))]);
            }
            (Err(AllocError::ContradictoryFlags(named)), None) => assert_eq!(named | Gfp::ZERO, gfp | Gfp::ZERO),
            (Err(AllocError::OutOfMemory { order: named, gfp: flags }), Some(_)) => {
                assert_eq!((named, flags | Gfp::ZERO), (order, gfp | Gfp::ZERO));
                self.refused("allocate", order, flags);
            }
            (Err(error), _) => panic!("order {order} with {gfp}: {error}"),
            (Ok(pfn), None) => panic!("{gfp} contradict each other, and got {pfn}"),
        }
    }

    /// Takes note of a block that was allocated.
    pub(crate) fn took(&mut self, pfn: Pfn, order: Order, highest: ZoneKind) {
        let isolated = self.oracle.in_isolation(pfn);
        let noted = self.oracle.allocate(pfn, order, highest);
        assert_eq!(noted, Ok(()), "the allocator gave a block that it must not");
        if isolated {
            // What an arena had before may still come out of it, but nothing else.
            let from_arena = self.machine.cpus > 0 && order.get() < 4;
            assert!(from_arena && self.drains() == self.isolated_at, "{pfn} came out of isolation");
        }
    }

    fn free(&mut self) {
        self.tally.count(group::OPERATIONS, "free");
        let count = self.oracle.count();
        if count == 0 {
            return;
        }
        let (pfn, order) = self.oracle.nth(self.random.below(count as u64) as usize);
        assert_eq!(self.machine.frames.give(pfn, order), Ok(()), "freeing {pfn} at order {order}");
        self.gave(pfn, order);
    }

    /// Takes note of a block that was freed.
    pub(crate) fn gave(&mut self, pfn: Pfn, order: Order) {
        self.oracle.free(pfn, order);
        let slot = self.random.below(RECENT as u64) as usize;
        self.recent[slot] = (pfn, order);
    }

    /// How often all arenas have been drained.
    pub(crate) fn drains(&self) -> u64 {
        self.machine.frames.stats().drains
    }

    /// Takes note of what the cache has freed during a request.
    pub(crate) fn take_note_of_shrinking(&mut self, gfp: Gfp) {
        for (pfn, order) in self.machine.cache.freed() {
            let may = gfp.contains(Gfp::WAIT) && !gfp.contains(Gfp::MEMALLOC);
            assert!(may, "a request with {gfp} called a shrinker");
            self.tally.count(group::OPERATIONS, "shrink");
            self.oracle.show(pfn);
            self.gave(pfn, order);
        }
    }

    /// Frees everything, and wants the first state back.
    fn end(&mut self) {
        self.unisolate_all();
        self.empty_cache();
        self.free_all();
        // What is kept for requests that cannot wait goes back before one that can is refused.
        while let Ok(pfn) = self.machine.frames.take(Order::ZERO, Gfp::KERNEL) {
            self.took(pfn, Order::ZERO, ZoneKind::Normal);
        }
        self.refused("allocate", Order::ZERO, Gfp::KERNEL);
        self.free_all();
        self.machine.frames.drain();
        self.check();
        self.check_drained();
        assert_eq!(self.machine.frames.cached(), 0);
        let blocks = blocks(self.machine.frames);
        assert_eq!(blocks, self.oracle.blocks(), "all is free, and not as the oracle has it");
        if self.added == 0 {
            assert_eq!(blocks, self.first, "all is free, and not as it was at first");
        }
        let stats = self.machine.frames.stats();
        assert_eq!((stats.late_double_frees, stats.bad_drops), (0, self.dropped));
        for zone in stats.zones {
            assert_eq!((zone.free, zone.allocated), (zone.managed, zone.freed), "{zone:?}");
            assert_eq!((zone.isolated, zone.free_highatomic, zone.reserved_highatomic), (0, 0, 0), "{zone:?}");
        }
        self.tally.count(group::CHECKS, "all free, as at first");
    }

    fn free_all(&mut self) {
        while let Some(last) = self.oracle.count().checked_sub(1) {
            let (pfn, order) = self.oracle.nth(last);
            assert_eq!(self.machine.frames.give(pfn, order), Ok(()));
            self.gave(pfn, order);
        }
    }
}
