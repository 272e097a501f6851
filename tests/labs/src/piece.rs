//! The seam: what a learner's piece is given, and what it must do.

use core::fmt;
use core::ops::Range;

/// The number of a frame: its address divided by 4096.
pub type Frame = u64;

/// The order of the largest block there is: 1024 frames.
pub const MAX_ORDER: u8 = 10;

/// The memory that a piece takes charge of. It lies elsewhere itself: nothing of it needs room in the frames.
#[derive(Debug)]
pub struct Memory {
    /// The frames, as ranges in ascending order that do not touch. What lies between two of them is not memory.
    pub ranges: &'static [Range<Frame>],
    /// A word for each frame from the first range's start to the last range's end, the holes included, to write into whatever
    /// helps. It may hold anything at first.
    pub words: &'static mut [u64],
}

impl Memory {
    /// The first frame there is; that with the word number 0.
    pub fn first(&self) -> Frame {
        self.ranges[0].start
    }

    /// The end: the frame behind the last one there is.
    pub fn end(&self) -> Frame {
        self.ranges[self.ranges.len() - 1].end
    }

    /// Whether a frame is in one of the ranges.
    pub fn contains(&self, frame: Frame) -> bool {
        self.ranges.iter().any(|range| range.contains(&frame))
    }
}

/// What is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Request {
    /// So many frames, as a power of two, in a row: a block, which begins at a multiple of its length.
    pub order: u8,
}

impl Request {
    /// For a block of an order.
    pub const fn of(order: u8) -> Self {
        Self { order }
    }
}

/// Why a request is not served.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refused {
    /// No block of that order is free.
    OutOfMemory,
    /// There never is a block of that order here.
    TooLarge,
}

impl Refused {
    /// The same in words.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::OutOfMemory => "out of memory",
            Self::TooLarge => "there are no blocks of that order here",
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason())
    }
}

/// Why a free is not done. Nothing has changed then.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BadFree {
    /// The frame is not in the memory that the allocator has.
    NotMemory,
    /// The frame is free already.
    AlreadyFree,
    /// The frame lies inside an allocated block, behind its first frame.
    Inside,
    /// An allocated block begins there, but it is not of that order.
    WrongOrder,
}

impl BadFree {
    /// The same in words.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::NotMemory => "that frame is not memory of this allocator",
            Self::AlreadyFree => "that frame is free already",
            Self::Inside => "that frame lies inside an allocated block",
            Self::WrongOrder => "the block there is not of that order",
        }
    }
}

impl fmt::Display for BadFree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason())
    }
}

/// An allocator of page frames: what the labs have a learner write.
///
/// It is asked by one CPU at a time. In lab 1 there is only order 0.
pub trait Frames {
    /// Takes charge of memory, all of which is free.
    fn new(memory: Memory) -> Self
    where
        Self: Sized;

    /// Hands out a block that nobody has, and returns its first frame.
    ///
    /// # Errors
    /// There is none.
    fn allocate(&mut self, request: Request) -> Result<Frame, Refused>;

    /// Takes back the block of this order that begins at `frame`.
    ///
    /// # Errors
    /// There is no such block. Then nothing changes.
    fn free(&mut self, frame: Frame, order: u8) -> Result<(), BadFree>;

    /// How many blocks of this order are free, each as large as it can be: what `buddyinfo` prints.
    fn free_blocks(&self, order: u8) -> u64;
}
