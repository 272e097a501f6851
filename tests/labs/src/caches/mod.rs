//! Lab 5: a cache for each CPU. The seam, what tries it, and its sequences.

mod exam;
mod sequence;

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};

pub(crate) use exam::perform;
pub use exam::{Known, states};
pub use sequence::Timed;
pub(crate) use sequence::timed;

use crate::source::Source;
use crate::{BadFree, Frame, Refused};

/// Frames of a batch, which begins at a multiple of that.
pub const BATCH: u64 = 8;
/// Batches that there are, at most: a word has a bit for each.
pub const BATCHES: usize = 64;
/// CPUs that there are, at most.
pub const CPUS: usize = 4;
/// Words for each batch, and for each CPU.
pub const WORDS: usize = 4;

/// A word of memory that all CPUs see. They come to it through [`Cpu`] alone.
#[derive(Debug, Default)]
pub struct Word(AtomicU64);

/// The CPU that does something. Between two of its steps an interrupt may come, unless it masks them, and other CPUs may have done
/// whatever they do.
pub trait Cpu {
    /// Its number.
    fn number(&self) -> usize;

    /// It has done something to a word.
    #[doc(hidden)]
    fn step(&self);

    /// Masks interrupts, or no longer; how it was before.
    #[doc(hidden)]
    fn set_masked(&self, masked: bool) -> bool;
}

impl dyn Cpu + '_ {
    /// Keeps interrupts from this CPU, until what comes of it is dropped. Other CPUs go on.
    pub fn mask(&self) -> Masked<'_> {
        Masked { cpu: self, before: self.set_masked(true) }
    }

    /// What is in a word.
    pub fn load(&self, word: &Word) -> u64 {
        self.stepped(word.0.load(Ordering::Acquire))
    }

    /// Writes into a word.
    pub fn store(&self, word: &Word, value: u64) {
        word.0.store(value, Ordering::Release);
        self.step();
    }

    /// Sets bits in a word, in one step: nothing that others do to it is lost. What was in it before.
    pub fn set(&self, word: &Word, bits: u64) -> u64 {
        self.stepped(word.0.fetch_or(bits, Ordering::AcqRel))
    }

    /// Writes into a word and says what was in it before, in one step.
    pub fn swap(&self, word: &Word, value: u64) -> u64 {
        self.stepped(word.0.swap(value, Ordering::AcqRel))
    }

    fn stepped(&self, value: u64) -> u64 {
        self.step();
        value
    }
}

/// A CPU that nothing comes between: for a first test.
#[derive(Clone, Copy, Debug)]
pub struct Quiet(pub usize);

impl Cpu for Quiet {
    fn number(&self) -> usize {
        self.0
    }

    fn step(&self) {}

    fn set_masked(&self, _: bool) -> bool {
        false
    }
}

/// For as long as this is there, a CPU is not interrupted.
#[must_use = "interrupts are masked for as long as this is there"]
pub struct Masked<'a> {
    cpu: &'a dyn Cpu,
    before: bool,
}

impl Drop for Masked<'_> {
    fn drop(&mut self) {
        self.cpu.set_masked(self.before);
    }
}

impl fmt::Debug for Masked<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "interrupts are masked on CPU {}", self.cpu.number())
    }
}

/// What all CPUs share: the batches, and what may be written down of each and of each CPU. All words are 0 at first.
#[derive(Debug)]
pub struct Batches {
    source: &'static Source,
    of_batch: &'static [[Word; WORDS]],
    of_cpu: &'static [[Word; WORDS]],
}

impl Batches {
    /// Over some batches. The words are leaked: a piece is tried in a process or a boot that is over soon.
    pub fn new(source: &'static Source) -> Self {
        let words = |count| -> &'static [[Word; WORDS]] {
            Box::leak((0..count).map(|_| Default::default()).collect::<Vec<_>>().into_boxed_slice())
        };
        assert!(source.count() <= BATCHES, "a word has a bit for each batch");
        Self { source, of_batch: words(source.count()), of_cpu: words(CPUS) }
    }

    /// Takes a batch that nobody has, for a CPU: its number. `None` if there is none left.
    pub fn take(&self, cpu: &dyn Cpu) -> Option<usize> {
        let taken = self.source.take(cpu.number());
        cpu.step();
        taken
    }

    /// Gives a batch back. Any CPU may have it then.
    ///
    /// # Panics
    /// It was not taken.
    pub fn give_back(&self, cpu: &dyn Cpu, batch: usize) {
        self.source.give_back(batch);
        cpu.step();
    }

    /// The words of a batch.
    pub fn of_batch(&self, batch: usize) -> &'static [Word; WORDS] {
        &self.of_batch[batch]
    }

    /// The words of a CPU.
    pub fn of_cpu(&self, cpu: usize) -> &'static [Word; WORDS] {
        &self.of_cpu[cpu]
    }

    /// The frame of a batch with this bit, which is its number there.
    pub fn frame(&self, batch: usize, bit: u32) -> Frame {
        self.source.start(batch) + Frame::from(bit)
    }

    /// In which batch a frame lies, and which bit it has there. `None` if it is in none.
    pub fn place(&self, frame: Frame) -> Option<(usize, u32)> {
        let batch = self.source.run_of(frame)?;
        Some((batch, (frame - self.source.start(batch)) as u32))
    }
}

/// Caches of frames, one for each CPU: what lab 5 has a learner write.
///
/// All CPUs are in it at the same time.
pub trait Caches: Sync {
    /// Begins with no batch.
    fn new(batches: Batches) -> Self
    where
        Self: Sized;

    /// Hands out a frame of one of this CPU's batches.
    ///
    /// # Errors
    /// There is none, and no batch left to take.
    fn allocate(&self, cpu: &dyn Cpu) -> Result<Frame, Refused>;

    /// Takes a frame back, which may be one of another CPU's batches.
    ///
    /// # Errors
    /// Nobody has it. Then nothing changes.
    fn free(&self, cpu: &dyn Cpu, frame: Frame) -> Result<(), BadFree>;

    /// Gives those of this CPU's batches back of which all frames are free.
    fn drain(&self, cpu: &dyn Cpu);
}
