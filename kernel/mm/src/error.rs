//! What can go wrong with page frames, as values that say what is the matter and where.

use core::error::Error;
use core::fmt;

use crate::frame::{Order, Pfn, PfnRange};

/// Why a block was not freed. The allocator is unchanged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FreeError {
    /// The frame is not RAM that the allocator knows of.
    NotManaged(Pfn),
    /// The frame was never for the allocator to give out: firmware's, the kernel's, or the allocator's own.
    Reserved(Pfn),
    /// The frame is free already: a double free, or a frame that nobody allocated.
    AlreadyFree(Pfn),
    /// The frame lies inside an allocated block, not at its start.
    Interior {
        /// The frame that was to be freed.
        pfn: Pfn,
        /// The block's first frame.
        head: Pfn,
        /// The block's order.
        order: Order,
    },
    /// The block at this frame has another order.
    WrongOrder {
        /// The block's first frame.
        pfn: Pfn,
        /// The order that the caller gave.
        given: Order,
        /// The order that the block was allocated with.
        actual: Order,
    },
}

impl fmt::Display for FreeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotManaged(pfn) => write!(f, "frame {pfn} is not managed memory"),
            Self::Reserved(pfn) => write!(f, "frame {pfn} is reserved"),
            Self::AlreadyFree(pfn) => write!(f, "frame {pfn} is free already (double free)"),
            Self::Interior { pfn, head, order } => {
                write!(f, "frame {pfn} is inside the order-{order} block that starts at {head}")
            }
            Self::WrongOrder { pfn, given, actual } => {
                write!(f, "the block at frame {pfn} has order {actual}, not {given}")
            }
        }
    }
}

impl Error for FreeError {}

/// Why frames were not added to a zone. The zone is unchanged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AddError {
    /// The range does not lie in memory that the allocator was planned for.
    NotPlanned(PfnRange),
    /// The range holds this frame, which was added before or holds the allocator's metadata.
    Overlaps(Pfn),
}

impl fmt::Display for AddError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotPlanned(range) => write!(f, "frames {range} are not in the memory that was planned for"),
            Self::Overlaps(pfn) => write!(f, "frame {pfn} is the allocator's already"),
        }
    }
}

impl Error for AddError {}

/// An invariant that does not hold: a defect of the allocator, or a stray write into its metadata.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Violation {
    /// The invariant, as a sentence.
    pub rule: &'static str,
    /// Where it fails: the physical or, in the heap, the virtual address.
    pub address: u64,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at address {:#x} it does not hold that {}", self.address, self.rule)
    }
}

impl Error for Violation {}
