//! What a run came to.

use crate::failure::Failure;
use crate::machine::Machine;
use alloc::vec::Vec;
use bifolio::allocator::Fallback;
use bifolio::frame::Mobility;
use core::fmt;
use core::time::Duration;

/// What one CPU has done.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Tally {
    /// Allocations, frees, resizings and the like; one that is for many at once is one.
    pub operations: u64,
    /// Requests that were refused.
    pub refused: u64,
    /// Frames that came from a lower zone than a request of their kind would be served from first.
    pub fallbacks: u64,
    /// Pieces that it has handed to other CPUs.
    pub handed_over: u64,
    /// Pieces of other CPUs that it has freed.
    pub from_others: u64,
    /// Interrupts of its timer.
    pub ticks: u64,
    /// Those among them that came while what they interrupted was inside a call of the allocator or the heap.
    pub re_entries: u64,
    /// Times that its pages, or its arena of the heap, had nothing left.
    pub refills: u64,
    /// Objects that it has freed in slabs of other CPUs.
    pub remote_frees: u64,
}

impl Tally {
    /// Both together.
    pub fn add(&mut self, other: Self) {
        self.operations += other.operations;
        self.refused += other.refused;
        self.fallbacks += other.fallbacks;
        self.handed_over += other.handed_over;
        self.from_others += other.from_others;
        self.ticks += other.ticks;
        self.re_entries += other.re_entries;
        self.refills += other.refills;
        self.remote_frees += other.remote_frees;
    }
}

/// What a run came to.
#[derive(Clone, Debug)]
pub struct Summary {
    /// Each CPU that took part, by its number.
    pub cpus: Vec<(usize, Tally)>,
    /// Times that all CPUs' pages were emptied.
    pub drains: u64,
    /// Requests that were served from pageblocks of another mobility.
    pub mixed: u64,
    /// Bytes that all together might have.
    pub bytes: usize,
    /// The longest call of the allocator or the heap among those that no timer interrupted; what other CPUs did meanwhile is in it
    /// where they take turns.
    pub longest: Duration,
    /// Somebody wanted it to end before the time was up.
    pub was_cancelled: bool,
}

/// Requests that were served from pageblocks of another mobility, since boot.
fn mixed<M: Machine>() -> u64 {
    let zones = M::frames().stats().zones;
    let of_all = |way, from, to| zones.iter().map(|zone| zone.fallbacks(way, from, to)).sum::<u64>();
    let count = |way, to: Mobility| to.fallbacks().iter().map(|from| of_all(way, *from, to)).sum::<u64>();
    Fallback::ALL.into_iter().flat_map(|way| Mobility::REQUESTED.map(|to| count(way, to))).sum()
}

/// Times that all CPUs' pages were emptied, since boot.
fn drains<M: Machine>() -> u64 {
    M::frames().stats().drains
}

impl Tally {
    /// What the pages of a CPU and its arena of the heap have done since boot, and nothing else.
    fn of_caches<M: Machine>(cpu: usize) -> Self {
        let heap = M::heap().arena_events(cpu);
        Self { refills: M::frames().refills(cpu) + heap.refills, remote_frees: heap.remote_frees, ..Self::default() }
    }
}

impl Summary {
    /// Of these CPUs, with nothing done.
    ///
    /// # Errors
    /// There is no memory for it.
    pub(super) fn new(numbers: impl Iterator<Item = usize> + Clone) -> Result<Self, Failure> {
        let mut cpus = Vec::new();
        cpus.try_reserve_exact(numbers.clone().count()).map_err(|_| Failure::NoMemory)?;
        cpus.extend(numbers.map(|cpu| (cpu, Tally::default())));
        Ok(Self { cpus, drains: 0, mixed: 0, bytes: 0, longest: Duration::ZERO, was_cancelled: false })
    }

    /// Takes note of what the allocators have counted so far.
    pub(super) fn begin<M: Machine>(&mut self, bytes: usize) {
        self.cpus.iter_mut().for_each(|(cpu, tally)| *tally = Tally::of_caches::<M>(*cpu));
        (self.drains, self.mixed, self.bytes) = (drains::<M>(), mixed::<M>(), bytes);
    }

    /// Of what the allocators have counted, only what is new since stays; to that comes what each CPU has counted itself.
    pub(super) fn end<M: Machine>(&mut self, own: impl Fn(usize) -> Tally) {
        for (cpu, tally) in &mut self.cpus {
            let (before, after) = (*tally, Tally::of_caches::<M>(*cpu));
            *tally = own(*cpu);
            tally.refills = after.refills - before.refills;
            tally.remote_frees = after.remote_frees - before.remote_frees;
        }
        (self.drains, self.mixed) = (drains::<M>() - self.drains, mixed::<M>() - self.mixed);
    }

    /// All CPUs together.
    pub fn sum(&self) -> Tally {
        let mut sum = Tally::default();
        self.cpus.iter().for_each(|(_, tally)| sum.add(*tally));
        sum
    }
}

/// A table: a line for each CPU, and one for all.
impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "CPU  operations  refused  zone fallbacks  refills  handed over  freed for others  \
             remote frees  ticks  re-entries"
        )?;
        let mut line = |cpu: Option<usize>, tally: &Tally| {
            match cpu {
                Some(cpu) => write!(f, "{cpu:3}")?,
                None => write!(f, "all")?,
            }
            writeln!(
                f,
                "  {:10}  {:7}  {:14}  {:7}  {:11}  {:16}  {:12}  {:5}  {:10}",
                tally.operations,
                tally.refused,
                tally.fallbacks,
                tally.refills,
                tally.handed_over,
                tally.from_others,
                tally.remote_frees,
                tally.ticks,
                tally.re_entries,
            )
        };
        self.cpus.iter().try_for_each(|(cpu, tally)| line(Some(*cpu), tally))?;
        line(None, &self.sum())?;
        write!(f, "drains of all per-CPU pages: {}, fallbacks to another mobility: {}", self.drains, self.mixed)
    }
}
