//! A learner's piece in a booted kernel.
//!
//! The kernel boots on its own allocator, and gives the piece frames that it has from that. From there on they are the piece's: what
//! is written into them is written into the machine's memory, and what it hands out twice is found there.
#![no_std]

extern crate alloc;

pub mod costs;
pub mod memory;
pub mod shell;
pub mod stress;

use alloc::format;
use alloc::string::String;

use kernel::println;
use labs::Frames;
use labs::caches::Caches;
use labs::judge::Rules;
use labs::lab::{LEAST, Lab};
use labs::objects::Objects;
use labs::operation::{Mix, Wanted};
use labs::subject::{OfCaches, OfFrames, OfObjects, Subject, Visitor};

/// What is done with a piece.
#[derive(Clone, Copy, Debug)]
pub enum Trial {
    /// All CPUs at work with it.
    Stress,
    /// Bad frees of every kind among good ones.
    BadFrees,
    /// What an operation takes, which is printed.
    Costs,
    /// The exam with this number, with a seed.
    Exam(usize, u64),
    /// Whether it leaves large blocks large, with a seed.
    Fragmentation(u64),
}

/// Does it.
#[derive(Clone, Copy, Debug)]
pub struct Trier(pub &'static Lab, pub Trial);

impl Trier {
    fn try_it<S: Subject>(
        self,
        subject: S,
        stress: fn(&Lab) -> Result<(), String>,
        costs: fn(&Lab) -> u64,
        fragmentation: impl Fn(&Lab, u64) -> Result<(), String>,
    ) -> Result<(), String> {
        let Self(lab, trial) = self;
        match trial {
            Trial::Stress => stress(lab),
            Trial::BadFrees => bad_frees(subject, lab),
            Trial::Exam(number, seed) => exam(subject, lab, number, seed),
            Trial::Fragmentation(seed) => fragmentation(lab, seed),
            Trial::Costs => {
                println!("instructions: {}", costs(lab));
                Ok(())
            }
        }
    }
}

impl Visitor for Trier {
    type Output = Result<(), String>;

    fn frames<P: Frames + Send + 'static>(self) -> Self::Output {
        let subject = OfFrames::of::<P>();
        let fragmentation = |lab: &Lab, seed| fragmentation(subject, lab, seed);
        self.try_it(subject, stress::stress_frames::<P>, costs::frames::<P>, fragmentation)
    }

    fn objects<P: Objects + Send + 'static>(self) -> Self::Output {
        self.try_it(OfObjects::of::<P>(), stress::stress_objects::<P>, costs::objects::<P>, |_, _| Ok(()))
    }

    fn caches<P: Caches + Send + 'static>(self) -> Self::Output {
        self.try_it(OfCaches::of::<P>(), stress::stress_caches::<P>, costs::caches::<P>, |_, _| Ok(()))
    }
}

/// Has a piece do the sequences of one of a lab's exams, as the host does where it can be trusted with a stranger's piece.
///
/// # Errors
/// What it does wrong, of what the exam is about, or what kept that from being tried.
fn exam<S: Subject>(subject: S, lab: &Lab, number: usize, seed: u64) -> Result<(), String> {
    let Some(exam) = lab.exams.get(number) else { return Ok(()) };
    let (mut right, mut other) = (0, None);
    for (layout, operations) in exam.sequences::<S>(lab, seed) {
        let (tally, failure) = subject.perform(layout, &operations, exam.rules(lab), None);
        right += exam.kinds.iter().map(|kind| tally.of(*kind)).sum::<usize>();
        match failure {
            Some(failure) if exam.kinds.contains(&failure.kind) => return Err(failure.text),
            Some(failure) => _ = other.get_or_insert(failure.text),
            None => {}
        }
    }
    match other {
        _ if right >= LEAST => Ok(()),
        Some(text) => Err(format!("that could not be tried: {text}")),
        None => Err("that could not be tried: it does too little".into()),
    }
}

/// Whether a piece leaves large blocks large, as the host measures it.
///
/// # Errors
/// It does not.
fn fragmentation(OfFrames(new): OfFrames, lab: &Lab, seed: u64) -> Result<(), String> {
    let Some((_, least)) = lab.fragmentation else { return Ok(()) };
    match labs::fragmentation::measure(new, seed) {
        Some(large) if large >= least => Ok(()),
        Some(large) => Err(labs::fragmentation::complaint(large, least)),
        None => Err(labs::fragmentation::NOT_MEASURED.into()),
    }
}

/// Good operations and bad frees of every kind, each checked against the oracle.
const MIXED: Mix = Mix { too_large: 50, again: 100, inside: 100, wrong_order: 100, foreign: 100, ..Mix::GOOD };
/// So many.
const OPERATIONS: usize = 1500;

/// Has a piece stand bad frees among good ones.
///
/// # Errors
/// What it does wrong.
fn bad_frees<S: Subject>(subject: S, lab: &Lab) -> Result<(), String> {
    let layout = memory::layout(lab);
    let wanted = Wanted {
        mix: MIXED,
        largest: lab.largest,
        zones: layout.zones.len(),
        length: OPERATIONS,
        frames: layout.ranges,
    };
    let operations = S::sequence(1, wanted);
    let (_, failure) = subject.perform(&layout, &operations, Rules { largest: lab.largest, counts: false }, None);
    failure.map_or(Ok(()), |failure| Err(failure.text))
}
