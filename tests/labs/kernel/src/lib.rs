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

use labs::Frames;
use labs::exam::{Rules, perform};
use labs::lab::{LEAST, Lab};
use labs::operation::{Mix, Wanted, sequence};

/// Has a piece do the sequences of one of a lab's exams, as the host does where it can be trusted with a stranger's piece.
///
/// # Errors
/// What it does wrong, of what the exam is about, or what kept that from being tried.
pub fn exam<P: Frames>(lab: &Lab, number: usize, seed: u64) -> Result<(), String> {
    let Some(exam) = lab.exams.get(number) else { return Ok(()) };
    let (mut right, mut other) = (0, None);
    for (layout, operations) in exam.sequences(lab, seed) {
        let (tally, failure) = perform::<P>(layout, &operations, exam.rules(lab), None);
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
pub fn fragmentation<P: Frames>(lab: &Lab, seed: u64) -> Result<(), String> {
    let Some((_, least)) = lab.fragmentation else { return Ok(()) };
    match labs::fragmentation::measure::<P>(seed) {
        Some(large) if large >= least => Ok(()),
        Some(large) => Err(labs::fragmentation::complaint(large, least)),
        None => Err(labs::fragmentation::NOT_MEASURED.into()),
    }
}

/// Good operations and bad frees of every kind, each checked against the oracle.
const MIXED: Mix =
    Mix { too_large: 50, again: 100, inside: 100, wrong_order: 100, foreign: 100, keeps_all: false, emergency: false };
/// So many.
const OPERATIONS: usize = 1500;

/// Has a piece stand bad frees among good ones, as [`perform`] has it.
///
/// # Errors
/// What it does wrong.
pub fn bad_frees<P: Frames>(lab: &Lab) -> Result<(), String> {
    let layout = memory::layout(lab);
    let wanted = Wanted {
        mix: MIXED,
        largest: lab.largest,
        zones: layout.zones.len(),
        length: OPERATIONS,
        frames: layout.ranges,
    };
    let operations = sequence(1, wanted);
    let (_, failure) = perform::<P>(&layout, &operations, Rules { largest: lab.largest, counts: false }, None);
    failure.map_or(Ok(()), |failure| Err(failure.text))
}
