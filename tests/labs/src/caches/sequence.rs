//! What lab 5's pieces are asked for, on which CPU, and in the middle of what.

use alloc::vec::Vec;
use core::ops::Range;

use kit::Random;

use super::CPUS;
use crate::Frame;
use crate::operation::{Asks, Mix, Operation, Wanted, Wrong, sequence};

/// An operation on a CPU.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timed {
    /// On which.
    pub cpu: usize,
    /// It comes behind so many steps of the last operation of which this is `None`, if that is not over by then.
    pub behind: Option<usize>,
    /// What it is; `None` has the CPU give back what it does not need.
    pub operation: Option<Operation<()>>,
}

/// Single frames.
struct Singles;

impl Asks for Singles {
    type Request = ();

    fn good(&mut self, _: &mut Random, _: Wanted<'_>) {}

    fn too_large(&mut self, _: &mut Random, _: Wanted<'_>) -> Option<()> {
        None
    }

    fn length((): ()) -> u64 {
        1
    }

    fn order(_: &mut Random, (): ()) -> u8 {
        0
    }

    fn bounds(range: &Range<Frame>) -> Range<u64> {
        range.clone()
    }
}

/// Steps of an operation behind which others come, at most.
const STEPS: u64 = 10;
/// Of a thousand operations, behind so many a CPU is to give back what it does not need.
const DRAINS: u64 = 150;

/// A sequence: the same for the same seed.
pub(crate) fn timed(seed: u64, wanted: Wanted<'_>) -> Vec<Timed> {
    let mut random = Random::new(!seed);
    let mut all = Vec::new();
    for operation in sequence(seed, wanted, &mut Singles) {
        place(&mut random, wanted, &mut all, Some(operation));
        if !wanted.mix.keeps_all && random.per_mille(DRAINS) {
            place(&mut random, wanted, &mut all, None);
        }
    }
    if !wanted.mix.keeps_all {
        all.extend((0..CPUS).map(|cpu| Timed { cpu, behind: None, operation: None }));
    }
    all
}

/// Puts an operation behind the others, or into the middle of the last one, on some CPU.
fn place(random: &mut Random, wanted: Wanted<'_>, all: &mut Vec<Timed>, operation: Option<Operation<()>>) {
    let Mix { interrupts, meetings, .. } = wanted.mix;
    let roll = random.below(1000);
    // What must be refused is tried in peace: what is to be said of it depends on what else goes on.
    let is_good = match operation {
        None | Some(Operation::Allocate { .. }) => true,
        Some(Operation::Free { wrong, .. }) => wrong == Wrong::Nothing,
        Some(Operation::FreeOther { .. }) => false,
    };
    let met = all.iter().rfind(|other| other.behind.is_none()).map(|other| other.cpu);
    let (cpu, behind) = match met.filter(|_| is_good && roll < interrupts + meetings) {
        Some(met) => {
            // Two CPUs are as good as four, and easier to look at.
            let cpu = if roll < interrupts { met } else { (met + 1) % 2 };
            (cpu, Some(1 + random.below(STEPS) as usize))
        }
        None if random.per_mille(900) => (random.index(2), None),
        None => (random.index(CPUS), None),
    };
    all.push(Timed { cpu, behind, operation });
}
