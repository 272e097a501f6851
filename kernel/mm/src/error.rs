//! What can go wrong with page frames, as values that say what is the matter and where.

use core::error::Error;
use core::fmt;

pub(crate) mod table;

use crate::frame::{Gfp, Order, Pfn, PfnRange};
use table::errors;

errors! {
    /// Why a request for frames was refused. The allocator is unchanged.
    pub enum AllocError {
        /// The flags name two zones, or two mobilities.
        ContradictoryFlags(gfp: Gfp) => "the flags {gfp} contradict each other",
        /// The flags ask for a zone that this [kind of machine](crate::frame::Profile) does not have, nor any below it.
        NoZone(gfp: Gfp) => "the flags {gfp} ask for a zone that this kind of machine does not have",
        /// The request is for no frames at all.
        NoFrames => "a request for no frames",
        /// The request is for more frames than the largest block has.
        TooManyFrames(frames: u64) => ("{frames} frames are more than the largest block, {}", Order::MAX.frames()),
        /// No zone that the request may use has so many free frames in a row, and enough beside them.
        NoFreeRun {
            /// The number of frames that was asked for.
            frames: u64,
            /// The flags of the request.
            gfp: Gfp,
        } => "no {frames} free frames in a row for {gfp}",
        /// [`Gfp::ZERO`], of an allocator that sees no memory, on a machine whose [`Cpu`](crate::allocator::Cpu) cannot zero frames.
        CannotZero => "this machine's frames cannot be zeroed",
        /// No zone that the request may use has a free block of this order above its watermark and reserve.
        OutOfMemory {
            /// The order that was asked for.
            order: Order,
            /// The flags of the request.
            gfp: Gfp,
        } => ("page allocation failure: order:{order}, mode:{:#x}({gfp})", gfp.bits()),
    }

    /// Why a block was not freed. The allocator is unchanged.
    pub enum FreeError {
        /// The range that was to be freed holds no frames.
        NoFrames => "an empty range has no frames to free",
        /// The frame is not RAM that the allocator knows of.
        NotManaged(pfn: Pfn) => "frame {pfn} is not managed memory",
        /// The frame was never for the allocator to give out: firmware's, the kernel's, or the allocator's own.
        Reserved(pfn: Pfn) => "frame {pfn} is reserved",
        /// The frame is free already: a double free, or a frame that nobody allocated.
        AlreadyFree(pfn: Pfn) => "frame {pfn} is free already (double free)",
        /// The frame lies inside an allocated block, not at its start.
        Interior {
            /// The frame that was to be freed.
            pfn: Pfn,
            /// The block's first frame.
            head: Pfn,
            /// The block's order.
            order: Order,
        } => "frame {pfn} is inside the order-{order} block that starts at {head}",
        /// The block at this frame has another order.
        WrongOrder {
            /// The block's first frame.
            pfn: Pfn,
            /// The order that the caller gave.
            given: Order,
            /// The order that the block was allocated with.
            actual: Order,
        } => "the block at frame {pfn} has order {actual}, not {given}",
    }

    /// Why a block was not split. The allocator is unchanged.
    pub enum SplitError {
        /// The pieces would be larger than the block.
        Larger {
            /// The block's order, as the caller gave it.
            order: Order,
            /// The order of the pieces.
            into: Order,
        } => "a block of order {order} has no parts of order {into}",
        /// There is no such block.
        NoBlock(error: FreeError) => from,
    }

    /// Why a range of frames was not isolated or allocated. The allocator is unchanged.
    pub enum RangeError {
        /// The range holds no frames.
        NoFrames => "an empty range has no frames",
        /// The range lies in more than one zone.
        CrossesZones(range: PfnRange) => "frames {range} are in more than one zone",
        /// The flags contradict each other, or do not allow the range's zone.
        ContradictoryFlags(gfp: Gfp) => "the flags {gfp} contradict each other, or the range",
        /// The frame is not RAM that the allocator knows of.
        NotManaged(pfn: Pfn) => ("{}", FreeError::NotManaged(*pfn)),
        /// The frame was never for the allocator to give out.
        Reserved(pfn: Pfn) => ("{}", FreeError::Reserved(*pfn)),
        /// The frame is allocated.
        Busy(pfn: Pfn) => "frame {pfn} is allocated",
        /// The pageblock at this frame is isolated: somebody else is taking its frames.
        Isolated(pfn: Pfn) => "the pageblock at frame {pfn} is isolated already",
        /// The frame is in a pageblock of another mobility than the request's, part of which is allocated.
        OtherMobility(pfn: Pfn) => "frame {pfn} is in a pageblock of another mobility",
        /// [`Gfp::ZERO`], of an allocator that sees no memory, on a machine whose [`Cpu`](crate::allocator::Cpu) cannot zero frames.
        CannotZero => ("{}", AllocError::CannotZero),
    }

    /// Why a range was not resized. The allocator is unchanged.
    pub enum ResizeError {
        /// The range is not allocated, or not as the largest blocks that make it up.
        NoBlock(error: FreeError) => from,
        /// What lies behind the range cannot be taken.
        NoRoom(error: RangeError) => from,
        /// The frames behind the range are free, but so few are that they are kept for others.
        OutOfMemory {
            /// How many more frames were asked for.
            frames: u64,
            /// The flags of the request.
            gfp: Gfp,
        } => "too little is free for {frames} more frames for {gfp}",
    }

    /// Why an allocator could not be set up, or a memory map was refused.
    pub enum SetupError {
        /// The memory map has no whole frame that is usable: the machine cannot be trusted with any of it then.
        NothingUsable => "memory map: no usable frame",
        /// No usable range is large enough for the metadata of this many frames.
        NoRoomForMetadata {
            /// Frames that the metadata needs.
            needed: u64,
            /// Frames in the largest usable range.
            largest: u64,
        } => "the allocator needs {needed} frames in a row for its metadata; the largest range has {largest}",
        /// The metadata that was handed over has another size than was planned, in words of 64 bits.
        WrongMetadataSize {
            /// Words that were planned.
            planned: usize,
            /// Words that were given.
            given: usize,
        } => "the metadata has {given} words instead of the planned {planned}",
        /// The metadata does not begin at a multiple of 8 bytes, which words are aligned to on most machines, and not on all.
        MisalignedMetadata => "the metadata does not begin at a multiple of 8 bytes",
        /// There are as many [shrinkers](crate::allocator::Shrinker) already as the allocator has room for.
        TooManyShrinkers => "there is no room for one more shrinker",
    }

    /// Why frames were not added to a zone. The zone is unchanged.
    pub enum AddError {
        /// The range holds no frames.
        NoFrames => "an empty range has no frames to add",
        /// The range does not lie in memory that the allocator was planned for.
        NotPlanned(range: PfnRange) => "frames {range} are not in the memory that was planned for",
        /// The range holds this frame, which was added before or holds the allocator's metadata.
        Overlaps(pfn: Pfn) => "frame {pfn} is the allocator's already",
        /// The range holds this frame, which the map did not call reclaimable: it is reserved for good, or not RAM.
        NotReclaimable(pfn: Pfn) => "frame {pfn} is not memory that the map called reclaimable",
    }
}

/// What was to be changed, as it was, and why it was not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(clippy::exhaustive_structs, reason = "what was refused, and why")]
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

/// An invariant that does not hold: a defect of the allocator, or a stray write into its metadata.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
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
