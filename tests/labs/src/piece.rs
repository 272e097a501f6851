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
    /// The zones that the frames are in, from the lowest on. In labs 1, 2 and 6 there is one, and no need to look at it.
    pub zones: &'static [Zone],
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

    /// The zone that a frame is in, by its number.
    pub fn zone_of(&self, frame: Frame) -> usize {
        zone_of(self.zones, frame)
    }

    /// The frames of a zone.
    pub fn of_zone(&self, zone: usize) -> impl Iterator<Item = Range<Frame>> {
        let start = zone.checked_sub(1).map_or(0, |below| self.zones[below].end);
        let end = self.zones[zone].end;
        let within = self.ranges.iter().map(move |range| range.start.max(start)..range.end.min(end));
        within.filter(|range| range.start < range.end)
    }

    /// Whether a frame is in one of the ranges.
    pub fn contains(&self, frame: Frame) -> bool {
        self.ranges.iter().any(|range| range.contains(&frame))
    }
}

/// The number of the zone that a frame is in.
pub(crate) fn zone_of(zones: &[Zone], frame: Frame) -> usize {
    zones.iter().position(|zone| frame < zone.end).unwrap_or(zones.len() - 1)
}

/// A zone, and how much of it is kept for whom. The frames that a request gets count as gone: what is left must be as many as
/// the mark says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Zone {
    /// Where it ends: the first frame that is not in it.
    pub end: Frame,
    /// So many frames stay free for requests that are more than [`Urgency::High`].
    pub min: u64,
    /// So many stay free for requests that are more than [`Urgency::Normal`].
    pub low: u64,
    /// So many more stay free for requests that must have this zone or a lower one, whatever others there are.
    pub reserve: u64,
}

/// How urgent a request is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Urgency {
    /// It leaves a zone's `low` mark, and the reserve if it may have a higher zone.
    Normal,
    /// It leaves a zone's `min` mark, and the reserve if it may have a higher zone.
    High,
    /// It leaves nothing: without it, no memory would ever be free again.
    Emergency,
}

/// What is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Request {
    /// So many frames, as a power of two, in a row: a block, which begins at a multiple of its length.
    pub order: u8,
    /// The highest zone that will do, by its number. Lower ones do as well.
    pub highest: usize,
    /// How urgent it is.
    pub urgency: Urgency,
}

impl Request {
    /// For a block of an order.
    pub const fn of(order: u8) -> Self {
        Self { order, highest: 0, urgency: Urgency::Normal }
    }

    /// The same from this zone or a lower one.
    pub const fn up_to(self, highest: usize, urgency: Urgency) -> Self {
        Self { highest, urgency, ..self }
    }
}

/// Why a request is not served.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refused {
    /// Nothing is free that is large enough.
    OutOfMemory,
    /// There is never anything as large here.
    TooLarge,
}

impl Refused {
    /// The same in words.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::OutOfMemory => "out of memory",
            Self::TooLarge => "there is nothing as large here",
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
    /// The frame or the address is not in the memory that the allocator has.
    NotMemory,
    /// What is there is free already.
    AlreadyFree,
    /// It lies inside an allocated block or object, behind the start of that.
    Inside,
    /// An allocated block begins there, but it is not of that order.
    WrongOrder,
    /// An object begins there, but its size is one of another class.
    WrongSize,
}

impl BadFree {
    /// The same in words.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::NotMemory => "that is not memory of this allocator",
            Self::AlreadyFree => "that is free already",
            Self::Inside => "that lies inside of something allocated",
            Self::WrongOrder => "the block there is not of that order",
            Self::WrongSize => "the object there is not of that size",
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
