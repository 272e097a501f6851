//! Traces of real programs: what they asked their heap for, in that order.
//!
//! [`record`] makes one, [`replay`] puts it to every allocator. A trace names objects by numbers, each the one that became free last:
//! whoever replays it needs a table as long as most objects were live at once.

mod record;
mod replay;

pub use record::record;
pub use replay::{Nth, TRACES, memory, time};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

/// What a program did.
#[derive(Serialize, Deserialize)]
pub struct Trace {
    /// The program's command line.
    pub program: String,
    /// How many events there were; those behind the last one here are cut off.
    pub recorded: u64,
    /// What happened.
    pub events: Vec<Event>,
}

/// One call of the program's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// An object that gets the next number of [`Numbers`].
    Allocate {
        /// In bytes, at least 1.
        size: u32,
        /// The alignment's logarithm.
        align: u8,
        /// Whether it has to be zeroed.
        is_zeroed: bool,
    },
    /// An object gets another size, and keeps its number.
    Reallocate {
        /// Its number.
        object: u32,
        /// In bytes, at least 1.
        size: u32,
    },
    /// An object ends, and its number is free.
    Free {
        /// Its number.
        object: u32,
    },
}

/// Numbers for objects: the last one that became free first, and a new one where there is none.
#[derive(Default)]
pub struct Numbers {
    free: Vec<u32>,
    used: u32,
}

impl Numbers {
    /// Takes one.
    pub fn take(&mut self) -> u32 {
        self.free.pop().unwrap_or_else(|| {
            self.used += 1;
            self.used - 1
        })
    }

    /// Gives one back.
    pub fn give(&mut self, number: u32) {
        self.free.push(number);
    }

    /// How many there are, taken or not.
    pub fn count(&self) -> usize {
        self.used as usize
    }
}

impl Trace {
    const LEVEL: i32 = 19;

    /// As it is kept in a file: postcard's encoding, compressed by Zstandard.
    ///
    /// # Errors
    /// Encoding fails.
    pub fn encode(&self) -> Result<Vec<u8>> {
        Ok(zstd::encode_all(postcard::to_allocvec(self)?.as_slice(), Self::LEVEL)?)
    }

    /// The reverse.
    ///
    /// # Errors
    /// It is no trace.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let trace: Self = postcard::from_bytes(&zstd::decode_all(bytes)?).context("it is no trace")?;
        ensure!(!trace.events.is_empty(), "the trace is empty");
        Ok(trace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_comes_back_as_it_was() {
        let events = vec![
            Event::Allocate { size: 24, align: 4, is_zeroed: true },
            Event::Reallocate { object: 0, size: 100_000 },
            Event::Free { object: 0 },
        ];
        let trace = Trace { program: "true".into(), recorded: 9, events: events.clone() };
        let back = Trace::decode(&trace.encode().unwrap()).unwrap();
        assert_eq!((back.program.as_str(), back.recorded, back.events), ("true", 9, events));
        assert!(Trace::decode(b"something else").is_err());
    }

    #[test]
    fn numbers_are_used_again() {
        let mut numbers = Numbers::default();
        assert_eq!([numbers.take(), numbers.take()], [0, 1]);
        numbers.give(0);
        assert_eq!([numbers.take(), numbers.take()], [0, 2]);
        assert_eq!(numbers.count(), 3);
    }
}
