//! Lab 5: a cache for each CPU. `make lab N=5` builds this file, tries it and says what it is worth.
//!
//! Memory comes in batches of 8 frames. A CPU takes a batch, hands its frames out one by one, takes them back, and gives the batch
//! back when all of them are free. Nobody else hands out frames of it, so there is no lock. But all CPUs are in your code at once, and
//! each may be interrupted between any two steps, by a handler that wants frames as well.
//!
//! The rules:
//! - A frame has one owner at a time. A CPU hands out frames of its own batches only. It takes another batch only if none of them
//!   has a free frame, those included that other CPUs have freed. Where there is no batch left either: `OutOfMemory`.
//! - Any CPU may free any frame. Frames of other CPUs' batches go back to those.
//! - What is free is noticed by whose batch it is, at the latest when that CPU finds nothing else, or is told to `drain`: that gives
//!   all its batches back of which all frames are free.
//! - A free that is wrong changes nothing, and says why: `NotMemory` (the frame is in no batch) or `AlreadyFree` (nobody has it,
//!   whether its batch is taken or not).
//! - All that you remember lies in words of 64 bits, four for each batch and four for each CPU, all 0 at first. There are at most 64
//!   batches, so a word can have a bit for each. `cpu` comes to them, and each of these is a step: `cpu.load(word)`,
//!   `cpu.store(word, value)`, `cpu.set(word, bits)` and `cpu.swap(word, value)`. The last two say what was there before, and no
//!   other CPU comes in between.
//! - `let _masked = cpu.mask();` keeps interrupts from this CPU until the end of the block. Other CPUs go on.
//! - Wait for nothing: what you wait for may be what you interrupted. No loop waits for a word to change.
//!
//! This file is compiled without `std` and without `unsafe`, for the host and for the kernel.
//! What is used of `labs` here is in `tests/labs/src/caches/mod.rs`.

use labs::caches::{BATCH, Batches, Caches, Cpu};
use labs::{BadFree, Frame, Refused};

/// Your caches. `batches.of_batch(batch)` and `batches.of_cpu(cpu.number())` are the words, `take`, `give_back`, `place` and `frame`
/// are what else it can do.
pub struct Piece {
    batches: Batches,
}

impl Caches for Piece {
    fn new(batches: Batches) -> Self {
        Self { batches }
    }

    fn allocate(&self, cpu: &dyn Cpu) -> Result<Frame, Refused> {
        todo!("a frame of one of CPU {}'s batches", cpu.number())
    }

    fn free(&self, cpu: &dyn Cpu, frame: Frame) -> Result<(), BadFree> {
        todo!("take frame {frame:#x} back on CPU {}, whichever CPU's batch it is in", cpu.number())
    }

    fn drain(&self, cpu: &dyn Cpu) {
        todo!("give back CPU {}'s batches of which all frames are free", cpu.number())
    }
}

/// The first test, of a piece that has three batches, with two CPUs. `make lab N=5` runs it, and has more.
pub fn first_test(piece: Piece, [one, two]: [&dyn Cpu; 2]) {
    let frame = piece.allocate(one).expect("there are batches");
    let next = piece.allocate(one).expect("it has a batch");
    assert_eq!(frame / BATCH, next / BATCH, "both are of the batch that it took first");
    assert_ne!(piece.allocate(two).expect("there are more") / BATCH, frame / BATCH, "each CPU has batches of its own");
    assert_eq!(piece.free(two, frame), Ok(()), "any CPU may free it");
    assert_eq!(piece.free(two, frame), Err(BadFree::AlreadyFree));
    assert_eq!(piece.free(one, next), Ok(()));
    piece.drain(one);
    assert_eq!(piece.allocate(two).map(|third| third / BATCH), Ok(frame / BATCH + 1), "each goes on with its own");
}
