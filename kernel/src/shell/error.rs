//! What can be wrong with a command, said so that the next try can be right.

use crate::memory::frames;
use crate::memory::heap::HEAP;
use bifolio::allocator::AllocError;
use bifolio::error::{FreeError, RangeError, SplitError, Violation};
use bifolio::frame::{Gfp, Order, Pfn};
use bifolio::heap::HeapError;
use bifolio::report::History;
use core::fmt;
use line::WordError;
use stress::Failure;

/// Why a command failed. Nothing has changed then, unless it says so.
#[derive(Clone, Copy, Debug)]
pub enum Error<'a> {
    /// No command has this name.
    UnknownCommand(&'a str),
    /// Ctrl-C has ended it. What it had done by then stays done.
    Cancelled,
    /// The words are too many or too few, or one is no number.
    Word(WordError<'a>),
    /// The word is a number, but not of an order.
    NotAnOrder(&'a str),
    /// A free block was to be split.
    SplitOfFree(Pfn),
    /// The word is a number, but no part of a hundred.
    NotAPercentage(&'a str),
    /// The frame is none that the allocator knows of.
    NotRam(Pfn),
    /// No flag has this name.
    UnknownFlag(&'a str),
    /// The block was allocated, but not by the shell.
    NotTheShells(Pfn, Order),
    /// The object is live, but not the shell's.
    NotTheShellsObject(usize),
    /// The shell cannot note the block, for lack of heap.
    NoRoomToNote,
    /// The heap has no room for an object of so many bytes.
    NoHeap(usize),
    /// The heap does not take the object back.
    Heap(HeapError),
    /// The allocator has no such block.
    Alloc(AllocError),
    /// The allocator does not take the block back.
    Free(FreeError),
    /// The allocator does not split the block.
    Split(SplitError),
    /// The allocator does not give or isolate these frames.
    Range(RangeError),
    /// An invariant does not hold.
    Violation(Violation),
    /// Stress has found something, or could not begin.
    Stress(Failure),
    /// Whatever a command of somebody else's has to say.
    Said(&'static str),
}

impl Error<'_> {
    /// Whether the command was put wrongly, so that showing its usage helps.
    pub fn is_about_usage(&self) -> bool {
        matches!(
            self,
            Self::Word(_)
                | Self::NotAnOrder(_)
                | Self::NotAPercentage(_)
                | Self::Stress(Failure::NoTime | Failure::BadCpus { .. })
        )
    }
}

impl fmt::Display for Error<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownCommand(name) => write!(f, "unknown command '{name}'; 'help' lists the commands"),
            Self::Cancelled => f.write_str("ended by Ctrl-C"),
            Self::Word(error) => write!(f, "{error}"),
            Self::NotAnOrder(word) => write!(f, "'{word}' is not an order: orders are 0 to {}", Order::MAX),
            Self::SplitOfFree(pfn) => write!(f, "frame {pfn} is free: only an allocated block can be split"),
            Self::NotAPercentage(word) => write!(f, "'{word}' is not a percentage: those are 0 to 100"),
            Self::NotRam(pfn) => {
                write!(f, "frame {pfn} is not RAM that the allocator knows of; 'memmap' lists what there is")
            }
            Self::UnknownFlag(word) => {
                write!(f, "unknown flag '{word}'; flags are")?;
                <Gfp as bitflags::Flags>::FLAGS.iter().try_for_each(|flag| write!(f, " {}", flag.name()))
            }
            Self::NotTheShells(pfn, order) => {
                write!(f, "the order-{order} block at {pfn} is the kernel's own; the shell frees what 'alloc' gave")
            }
            Self::NotTheShellsObject(address) => {
                write!(f, "the object at {address:#x} is the kernel's own; the shell frees what 'kmalloc' gave")
            }
            Self::NoHeap(bytes) => write!(f, "out of memory: the heap has no room for {bytes} bytes"),
            Self::Heap(error) => write!(f, "{error}"),
            Self::NoRoomToNote => {
                f.write_str("out of memory: the heap has no room to note the block; it was freed again")
            }
            Self::Alloc(error) => write!(f, "{error}"),
            Self::Free(error) => write!(f, "{error}"),
            Self::Split(error) => write!(f, "{error}"),
            Self::Range(error) => write!(f, "{error}"),
            Self::Violation(violation) => write!(f, "{violation}"),
            Self::Stress(failure) => write!(f, "{failure}"),
            Self::Said(what) => f.write_str(what),
        }
    }
}

impl core::error::Error for Error<'_> {}

impl Error<'_> {
    /// The last operations on what is said not to be there, where they are recorded.
    pub(super) fn history(&self) -> History {
        match self {
            Self::Free(error) => frames().report(error).last,
            Self::Heap(error) => HEAP.report(error).last,
            _ => History::default(),
        }
    }
}

impl<'a> From<WordError<'a>> for Error<'a> {
    fn from(error: WordError<'a>) -> Self {
        Self::Word(error)
    }
}

impl From<AllocError> for Error<'_> {
    fn from(error: AllocError) -> Self {
        Self::Alloc(error)
    }
}

impl From<FreeError> for Error<'_> {
    fn from(error: FreeError) -> Self {
        Self::Free(error)
    }
}

impl From<HeapError> for Error<'_> {
    fn from(error: HeapError) -> Self {
        Self::Heap(error)
    }
}

impl From<SplitError> for Error<'_> {
    fn from(error: SplitError) -> Self {
        Self::Split(error)
    }
}

impl From<RangeError> for Error<'_> {
    fn from(error: RangeError) -> Self {
        Self::Range(error)
    }
}

impl From<Violation> for Error<'_> {
    fn from(violation: Violation) -> Self {
        Self::Violation(violation)
    }
}

impl From<Failure> for Error<'_> {
    fn from(failure: Failure) -> Self {
        Self::Stress(failure)
    }
}
