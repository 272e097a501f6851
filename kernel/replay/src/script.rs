//! The trace of a world, and how far it has been followed: by the world, and by the shrinker that stands for all there were.

use alloc::vec::Vec;
use core::cell::RefCell;
use core::fmt;

use bifolio::allocator::{Call, Shrinker};
use trace::{Broken, Place, Record};

use crate::memory::Frames;
use crate::perform::perform;

/// The first thing that was not as the trace says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Difference {
    /// How many operations were the same before.
    pub operation: u64,
    /// The place of the record in the trace.
    pub offset: usize,
    /// What was found.
    pub found: Found,
}

/// What was not as the trace says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Found {
    /// An operation returned something else.
    Returned {
        /// The CPU that did it.
        cpu: usize,
        /// The operation.
        call: Call,
        /// What the trace says.
        expected: Option<u64>,
        /// What it returned.
        actual: Option<u64>,
    },
    /// The state is another.
    State {
        /// The hash in the trace.
        expected: u64,
        /// The state's.
        actual: u64,
    },
    /// A shrinker was asked for so many frames, where the trace has no such thing.
    Asked(u64),
    /// A shrinker was not asked, where the trace says so.
    NotAsked,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let returned = |value: Option<u64>| match value {
            Some(value) => alloc::format!("{value:#x}"),
            None => "a refusal".into(),
        };
        let Self { operation, offset, found } = self;
        write!(f, "operation {operation} (byte {offset:#x} of the trace): ")?;
        match *found {
            Found::Returned { cpu, call, expected, actual } => {
                write!(f, "{call:?} on CPU {cpu} gave {}, not {}", returned(actual), returned(expected))
            }
            Found::State { expected, actual } => {
                write!(f, "the state before it has the hash {actual:#018x}, not {expected:#018x}")
            }
            Found::Asked(frames) => {
                write!(f, "a shrinker was asked for {frames} frames, of which the trace knows nothing")
            }
            Found::NotAsked => write!(f, "no shrinker was asked, as the trace has it"),
        }
    }
}

/// A trace, and how far it has been followed.
#[derive(Debug, Default)]
pub(crate) struct Script(RefCell<Option<Inner>>);

#[derive(Debug)]
struct Inner {
    trace: Vec<u8>,
    place: Place,
    /// What a shrinker met, which cannot tell whoever asked it.
    met: Option<(usize, Found)>,
    frames: *const Frames,
}

// SAFETY: a script is its world's alone, and a world is neither `Send` nor `Sync`: one thread has both. (A shrinker has to be
// `Sync` for allocators that many threads use.)
unsafe impl Sync for Script {}

impl Script {
    /// Begins to follow a trace at `place`.
    pub(crate) fn begin(&self, trace: Vec<u8>, place: Place, frames: &Frames) {
        *self.0.borrow_mut() = Some(Inner { trace, place, met: None, frames });
    }

    fn with<R>(&self, inside: impl FnOnce(&mut Inner) -> R) -> R {
        inside(self.0.borrow_mut().as_mut().expect("a world's script has begun"))
    }

    /// Where it is.
    pub(crate) fn place(&self) -> Place {
        self.with(|inner| inner.place)
    }

    /// Goes to another place.
    pub(crate) fn go_to(&self, place: Place) {
        self.with(|inner| {
            inner.place = place;
            inner.met = None;
        });
    }

    /// Reads the next record.
    pub(crate) fn next(&self) -> Result<Option<Record>, Broken> {
        self.with(|inner| inner.place.next(&inner.trace))
    }

    /// What a shrinker met since this was last asked.
    pub(crate) fn take_met(&self) -> Option<(usize, Found)> {
        self.with(|inner| inner.met.take())
    }

    /// Shows the trace.
    pub(crate) fn with_trace<R>(&self, show: impl FnOnce(&[u8]) -> R) -> R {
        self.with(|inner| show(&inner.trace))
    }

    /// Puts something in place of all that comes, which is then behind.
    pub(crate) fn write(&self, write: impl FnOnce(&mut Vec<u8>)) {
        self.with(|inner| {
            inner.trace.truncate(inner.place.offset());
            write(&mut inner.trace);
        });
    }
}

/// Does what the trace says that a shrinker did.
impl Shrinker for Script {
    fn shrink(&self, frames: u64) -> u64 {
        let met = |offset, found| self.with(|inner| inner.met = inner.met.or(Some((offset, found))));
        let before = self.place();
        match self.next() {
            Ok(Some(Record::Shrinker(asked))) if asked == frames => {}
            _ => {
                self.with(|inner| inner.place = before);
                met(before.offset(), Found::Asked(frames));
                return 0;
            }
        }
        loop {
            let offset = self.place().offset();
            match self.next() {
                Ok(Some(Record::Operation { cpu, call, returned })) => {
                    let allocator = self.with(|inner| inner.frames);
                    // SAFETY: the allocator is the world's, which called this; it is there for as long as the world.
                    let (allocator, script) = unsafe { (&*allocator, &*core::ptr::from_ref(self)) };
                    let actual = perform(allocator, script, call);
                    if actual != returned {
                        met(offset, Found::Returned { cpu, call, expected: returned, actual });
                    }
                }
                Ok(Some(Record::Shrunk(given))) => return given,
                _ => {
                    met(offset, Found::Asked(frames));
                    return 0;
                }
            }
        }
    }
}
