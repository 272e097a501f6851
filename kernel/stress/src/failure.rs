//! What stress finds, in words.

use crate::contents::{Id, Word};
use crate::snapshot::Difference;
use bifolio::error::{FreeError, RangeError, Violation};
use bifolio::frame::{Order, Pfn};
use bifolio::heap::{HeapError, HeapFrames};
use core::fmt;

/// What was found to be wrong, or why nothing was begun.
#[derive(Clone, Copy, Debug, PartialEq)]
#[expect(missing_docs, reason = "what each means is what it prints")]
pub enum Failure {
    NoTime,
    BadCpus { asked: usize, running: usize },
    NoTimer,
    Busy,
    NoMemory,
    FrameTaken { pfn: Pfn, id: Id },
    Shared { address: usize, id: Id, other: Id },
    Contents { address: usize, id: Id, found: Word },
    NotZero { address: usize, found: Word },
    WrongOrder { pfn: Pfn, order: Order },
    TooSmall { size: usize, wanted: usize },
    Free(FreeError),
    Range(RangeError),
    Heap(HeapError),
    Violation(Violation),
    Frames(Difference),
    HeapFrames { before: HeapFrames, after: HeapFrames },
    Records(usize),
    Locks(usize),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoTime => f.write_str("0 seconds: give at least 1"),
            Self::BadCpus { asked, running: 1 } => write!(f, "{asked} CPUs were asked for: 1 can take part"),
            Self::BadCpus { asked, running } => write!(f, "{asked} CPUs were asked for: 1 to {running} can take part"),
            Self::NoTimer => f.write_str("the CPUs have no timer that could interrupt them"),
            Self::Busy => f.write_str("another stress is going on"),
            Self::NoMemory => f.write_str("too little memory to begin with"),
            Self::FrameTaken { pfn, id } => write!(f, "frame {pfn} was given to {id} while somebody has it"),
            Self::Shared { address, id, other } => {
                write!(f, "{id} was given memory that is somebody's: at {address:#x} is the mark of {other}, in use")
            }
            Self::Contents { address, id, found } => write!(f, "{id} was written to: at {address:#x} is {found}"),
            Self::NotZero { address, found } => {
                write!(f, "frames that were to hold zeros do not: at {address:#x} is {found}")
            }
            Self::WrongOrder { pfn, order } => {
                write!(f, "the block at {pfn} was allocated with order {order}, and now it has another")
            }
            Self::TooSmall { size, wanted } => write!(f, "an object of {wanted} bytes has room for {size}"),
            Self::Free(error) => write!(f, "{error}"),
            Self::Range(error) => write!(f, "{error}"),
            Self::Heap(error) => write!(f, "{error}"),
            Self::Violation(violation) => write!(f, "everything was given back, and {violation}"),
            Self::Frames(difference) => write!(f, "everything was given back, but {difference}"),
            Self::HeapFrames { before, after } => {
                write!(f, "everything was given back, but the heap has {after:?}, and had {before:?}")
            }
            Self::Records(count) => write!(f, "all records were freed, but {count} are left in their cache"),
            Self::Locks(count) => write!(f, "the lock validator has {count} more reports than before"),
        }
    }
}

impl core::error::Error for Failure {}

impl From<FreeError> for Failure {
    fn from(error: FreeError) -> Self {
        Self::Free(error)
    }
}

impl From<RangeError> for Failure {
    fn from(error: RangeError) -> Self {
        Self::Range(error)
    }
}

impl From<HeapError> for Failure {
    fn from(error: HeapError) -> Self {
        Self::Heap(error)
    }
}

impl From<Violation> for Failure {
    fn from(violation: Violation) -> Self {
        Self::Violation(violation)
    }
}
