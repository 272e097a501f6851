//! Entries that cannot be true, and what is believed of them all the same.
//!
//! Firmware has them: kexec under SEV-SNP, and boards whose tables were patched by hand. Linux drops such entries and
//! boots. Here an entry that takes memory away still takes what it can mean, and one that gives memory gives none: where
//! its end is nonsense, nothing says that its start is not.

use core::fmt;

use super::{Region, RegionKind};
use crate::frame::PHYSICAL_LIMIT;

/// What is wrong with an entry of a memory map.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
pub enum Defect {
    /// It holds no byte.
    Empty,
    /// It ends before it starts: its length takes it around the end of the address space, or exactly to it.
    WrapsAround,
    /// It ends beyond [`PHYSICAL_LIMIT`].
    BeyondPhysicalLimit,
}

impl fmt::Display for Defect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("is empty"),
            Self::WrapsAround => f.write_str("wraps around the address space"),
            Self::BeyondPhysicalLimit => {
                write!(f, "ends beyond the {PHYSICAL_LIMIT:#x} bytes that can be addressed")
            }
        }
    }
}

/// An entry of a memory map that cannot be true, and what became of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Fault {
    /// The entry, as it was given.
    pub entry: Region,
    /// What is wrong with it.
    pub defect: Defect,
    /// What the entry is taken for, which is always reserved; `None` if it is ignored.
    pub kept: Option<Region>,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { entry, defect, kept } = self;
        write!(f, "the {} entry {:#x}..{:#x} {defect}: ", entry.kind, entry.start, entry.end)?;
        match kept {
            None => f.write_str("ignored"),
            Some(kept) => write!(f, "taken as {} {:#x}..{:#x}", kept.kind, kept.start, kept.end),
        }
    }
}

impl Region {
    /// What is wrong with the entry, if anything is, and what a [`MemoryMap`](super::MemoryMap) takes it for.
    pub fn fault(&self) -> Option<Fault> {
        let defect = self.defect()?;
        let takes = defect != Defect::Empty && self.kind != RegionKind::Usable && self.start < PHYSICAL_LIMIT;
        // Where it ends is not known, so it takes all that there can be behind its start; of what wraps around, nothing.
        let kept = takes.then_some(Self { end: PHYSICAL_LIMIT, kind: RegionKind::Reserved, ..*self });
        Some(Fault { entry: *self, defect, kept })
    }

    /// The entry as far as a [`MemoryMap`](super::MemoryMap) believes it.
    pub fn believed(&self) -> Option<Self> {
        self.fault().map_or(Some(*self), |fault| fault.kept)
    }

    fn defect(&self) -> Option<Defect> {
        if self.start == self.end {
            Some(Defect::Empty)
        } else if self.end < self.start {
            Some(Defect::WrapsAround)
        } else {
            (self.end > PHYSICAL_LIMIT).then_some(Defect::BeyondPhysicalLimit)
        }
    }
}
