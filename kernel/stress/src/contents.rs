//! What stress writes into the memory that it has: a mark that says whose it is, in every word.
//!
//! The two loops are single instructions: this is where nearly all time goes, and what a loop costs is better spent on more
//! memory.

use core::arch::asm;
use core::fmt;

/// The upper bits of a mark in memory that somebody has.
const LIVE: u64 = 0x5afe << 48;
/// The same while its owner has it resized, which may copy it.
const MOVING: u64 = 0x30fe << 48;
/// The same once its owner is about to free it.
const DEAD: u64 = 0xdead << 48;
const UPPER: u64 = 0xffff << 48;

/// Whose a piece of memory is: the CPU that allocated it, and the how many-th of that CPU's it was.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Id(u64);

impl Id {
    const CPU_SHIFT: u32 = 40;
    /// As many CPUs can be told apart.
    pub const CPUS: usize = 1 << (UPPER.trailing_zeros() - Self::CPU_SHIFT);

    /// The piece of this number that the CPU has allocated.
    pub fn new(cpu: usize, number: u64) -> Self {
        Self((cpu as u64) << Self::CPU_SHIFT | number & ((1 << Self::CPU_SHIFT) - 1))
    }

    /// The CPU that allocated it.
    pub fn cpu(self) -> usize {
        (self.0 >> Self::CPU_SHIFT) as usize
    }

    /// In each word, as long as somebody has the memory.
    pub fn live(self) -> u64 {
        LIVE | self.0
    }

    /// In each word while it is resized.
    pub fn moving(self) -> u64 {
        MOVING | self.0
    }

    /// In each word once it is freed.
    pub fn dead(self) -> u64 {
        DEAD | self.0
    }

    /// Whose mark of memory in use a word is; `None` if it is none.
    pub fn of_live(word: u64) -> Option<Self> {
        (word & UPPER == LIVE).then_some(Self(word & !UPPER))
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CPU {}'s piece {}", self.cpu(), self.0 & ((1 << Self::CPU_SHIFT) - 1))
    }
}

/// A word that was found, as a report calls it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Word(pub u64);

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.0 & UPPER {
            LIVE => "in use",
            MOVING => "being resized",
            DEAD => "freed",
            _ => return write!(f, "{:#018x}", self.0),
        };
        write!(f, "the mark of {}, {state}", Id(self.0 & !UPPER))
    }
}

/// Writes a word everywhere.
///
/// # Safety
/// So many words from `start` on are the caller's.
pub unsafe fn fill(start: *mut u64, words: usize, word: u64) {
    // SAFETY: writes only those words; the direction flag is clear between any two pieces of Rust.
    unsafe {
        asm!(
            "rep stosq",
            inout("rcx") words => _,
            inout("rdi") start => _,
            in("rax") word,
            options(nostack, preserves_flags),
        );
    }
}

/// The place of the first word that is not this one, and what it is; `None` if all are.
///
/// # Safety
/// So many words from `start` on are the caller's, and initialised.
pub unsafe fn find_other(start: *const u64, words: usize, word: u64) -> Option<(usize, Word)> {
    if words == 0 {
        return None;
    }
    let (left, differs): (usize, u8);
    // SAFETY: reads only those words, at least one; the direction flag is clear.
    unsafe {
        asm!(
            "repe scasq",
            "setne {differs}",
            differs = out(reg_byte) differs,
            inout("rcx") words => left,
            inout("rdi") start => _,
            in("rax") word,
            options(nostack, readonly),
        );
    }
    let place = words - left - 1;
    // SAFETY: one of those words.
    (differs != 0).then(|| (place, Word(unsafe { start.add(place).read() })))
}
