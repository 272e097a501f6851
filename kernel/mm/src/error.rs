//! What can go wrong with page frames, as values that say what is the matter and where.

use core::error::Error;
use core::fmt;

use crate::frame::{Gfp, Order, Pfn, PfnRange};

/// Why a request for frames was refused. The allocator is unchanged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AllocError {
    /// The flags name two zones, or two mobilities.
    ContradictoryFlags(Gfp),
    /// The request is for no frames at all.
    NoFrames,
    /// The request is for more frames than the largest block has.
    TooManyFrames(u64),
    /// No zone that the request may use has so many free frames in a row, and enough beside them.
    NoFreeRun {
        /// The number of frames that was asked for.
        frames: u64,
        /// The flags of the request.
        gfp: Gfp,
    },
    /// [`Gfp::ZERO`], on a machine whose [`Cpu`](crate::allocator::Cpu) cannot zero frames.
    CannotZero,
    /// No zone that the request may use has a free block of this order above its watermark and reserve.
    OutOfMemory {
        /// The order that was asked for.
        order: Order,
        /// The flags of the request.
        gfp: Gfp,
    },
}

impl fmt::Display for AllocError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ContradictoryFlags(gfp) => {
                write!(f, "the flags {gfp} contradict each other")
            }
            Self::NoFrames => f.write_str("a request for no frames"),
            Self::TooManyFrames(frames) => {
                write!(f, "{frames} frames are more than the largest block, {}", Order::MAX.frames())
            }
            Self::NoFreeRun { frames, gfp } => write!(f, "no {frames} free frames in a row for {gfp}"),
            Self::CannotZero => f.write_str("this machine's frames cannot be zeroed"),
            Self::OutOfMemory { order, gfp } => {
                write!(f, "page allocation failure: order:{order}, mode:{:#x}({gfp})", gfp.bits())
            }
        }
    }
}

impl Error for AllocError {}

/// Why a block was not freed. The allocator is unchanged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FreeError {
    /// The range that was to be freed holds no frames.
    NoFrames,
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
            Self::NoFrames => f.write_str("an empty range has no frames to free"),
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

/// Why a block was not split. The allocator is unchanged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SplitError {
    /// The pieces would be larger than the block.
    Larger {
        /// The block's order, as the caller gave it.
        order: Order,
        /// The order of the pieces.
        into: Order,
    },
    /// There is no such block.
    NoBlock(FreeError),
}

impl fmt::Display for SplitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Larger { order, into } => write!(f, "a block of order {order} has no parts of order {into}"),
            Self::NoBlock(error) => error.fmt(f),
        }
    }
}

impl Error for SplitError {}

impl From<FreeError> for SplitError {
    fn from(error: FreeError) -> Self {
        Self::NoBlock(error)
    }
}

/// What was to be changed, as it was, and why it was not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Refused<T, E> {
    /// What was given, back again.
    pub given: T,
    /// Why.
    pub error: E,
}

impl<T, E: fmt::Display> fmt::Display for Refused<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl<T: fmt::Debug, E: Error> Error for Refused<T, E> {}

/// Why a range of frames was not isolated or allocated. The allocator is unchanged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RangeError {
    /// The range holds no frames.
    NoFrames,
    /// The range lies in more than one zone.
    CrossesZones(PfnRange),
    /// The flags contradict each other, or do not allow the range's zone.
    ContradictoryFlags(Gfp),
    /// The frame is not RAM that the allocator knows of.
    NotManaged(Pfn),
    /// The frame was never for the allocator to give out.
    Reserved(Pfn),
    /// The frame is allocated.
    Busy(Pfn),
    /// The pageblock at this frame is isolated: somebody else is taking its frames.
    Isolated(Pfn),
    /// The frame is in a pageblock of another mobility than the request's, part of which is allocated.
    OtherMobility(Pfn),
    /// [`Gfp::ZERO`], on a machine whose [`Cpu`](crate::allocator::Cpu) cannot zero frames.
    CannotZero,
}

impl fmt::Display for RangeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoFrames => f.write_str("an empty range has no frames"),
            Self::CrossesZones(range) => write!(f, "frames {range} are in more than one zone"),
            Self::ContradictoryFlags(gfp) => write!(f, "the flags {gfp} contradict each other, or the range"),
            Self::NotManaged(pfn) => write!(f, "frame {pfn} is not managed memory"),
            Self::Reserved(pfn) => write!(f, "frame {pfn} is reserved"),
            Self::Busy(pfn) => write!(f, "frame {pfn} is allocated"),
            Self::Isolated(pfn) => write!(f, "the pageblock at frame {pfn} is isolated already"),
            Self::OtherMobility(pfn) => write!(f, "frame {pfn} is in a pageblock of another mobility"),
            Self::CannotZero => AllocError::CannotZero.fmt(f),
        }
    }
}

impl Error for RangeError {}

/// Why a range was not resized. The allocator is unchanged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ResizeError {
    /// The range is not allocated, or not as the largest blocks that make it up.
    NoBlock(FreeError),
    /// What lies behind the range cannot be taken.
    NoRoom(RangeError),
    /// The frames behind the range are free, but so few are that they are kept for others.
    OutOfMemory {
        /// How many more frames were asked for.
        frames: u64,
        /// The flags of the request.
        gfp: Gfp,
    },
}

impl fmt::Display for ResizeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoBlock(error) => error.fmt(f),
            Self::NoRoom(error) => error.fmt(f),
            Self::OutOfMemory { frames, gfp } => write!(f, "too little is free for {frames} more frames for {gfp}"),
        }
    }
}

impl Error for ResizeError {}

impl From<FreeError> for ResizeError {
    fn from(error: FreeError) -> Self {
        Self::NoBlock(error)
    }
}

impl From<RangeError> for ResizeError {
    fn from(error: RangeError) -> Self {
        Self::NoRoom(error)
    }
}

/// Why frames were not added to a zone. The zone is unchanged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AddError {
    /// The range holds no frames.
    NoFrames,
    /// The range does not lie in memory that the allocator was planned for.
    NotPlanned(PfnRange),
    /// The range holds this frame, which was added before or holds the allocator's metadata.
    Overlaps(Pfn),
    /// The range holds this frame, which the map did not call reclaimable: it is reserved for good, or not RAM.
    NotReclaimable(Pfn),
}

impl fmt::Display for AddError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoFrames => f.write_str("an empty range has no frames to add"),
            Self::NotPlanned(range) => write!(f, "frames {range} are not in the memory that was planned for"),
            Self::Overlaps(pfn) => write!(f, "frame {pfn} is the allocator's already"),
            Self::NotReclaimable(pfn) => write!(f, "frame {pfn} is not memory that the map called reclaimable"),
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
