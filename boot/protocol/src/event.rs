//! Events: what a guest reports to the host program, so that nobody has to read results out of text.
//!
//! A frame is a zero byte, the [`Event`] in postcard's encoding made free of zeros by COBS, and a zero byte. The zero in
//! front ends whatever came before: UEFI firmware takes every serial port for a terminal and writes escape sequences to
//! it until the kernel takes over. So the host drops everything before [`Event::Started`], and from there on takes a
//! frame that it cannot decode for the failure that it is.
//!
//! Text and events travel by different ports, but which came first matters: a test's output stands between its start
//! and its end. So the guest writes a [`SYNC`] to COM1 right before each frame, and the host puts the n-th event where
//! the n-th of them stands in the text. What precedes the first is the firmware's and is not shown.

use serde::{Deserialize, Serialize};

/// The port at which COM2, the events' serial port, starts on every PC.
pub const COM2: u16 = 0x2f8;

/// ASCII's "synchronous idle", which terminals ignore: the place of an event in COM1's text.
pub const SYNC: u8 = 0x16;

/// Bytes that hold any encoded event: [`encode`] shortens texts to fit.
pub const MAX_FRAME: usize = 1024;

/// The longest text in an event, in bytes. Two of them, every other field and COBS's overhead fit into [`MAX_FRAME`].
pub const MAX_TEXT: usize = 480;

/// Something that the host program wants to know about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event<'a> {
    /// The kernel runs: its first act once it has COM2. The host measures the time to [`Event::Ready`] from here.
    Started,
    /// The kernel has set itself up: next comes the prompt, the first command of `CMD=` or the first test.
    Ready,
    /// How many tests there are altogether, and how many of them the [`Selection`](crate::Selection) names.
    ///
    /// Sent in every boot of a test kernel, before any other event about tests. Indices count *all* tests, from 0.
    Plan {
        /// Number of tests in this kernel.
        total: u32,
        /// Number of tests that the selection takes, wherever this boot begins.
        selected: u32,
    },
    /// One selected test, in place of running it: sent for each when [`input::LIST`](crate::input::LIST) is set.
    Listed {
        /// The test's place among all tests.
        index: u32,
        /// Its full path.
        name: &'a str,
    },
    /// A test begins.
    TestStarted {
        /// The test's place among all tests.
        index: u32,
        /// Its full path.
        name: &'a str,
        /// The test passes exactly if it panics.
        should_panic: bool,
    },
    /// A test has returned.
    TestFinished {
        /// The same as in [`Event::TestStarted`].
        index: u32,
        /// What the test itself says. That a `should_panic` test returned is for the host to judge.
        result: TestResult,
        /// Guest instructions from start to end; where [`input::CLOCK_SHIFT`](crate::input::CLOCK_SHIFT) is missing,
        /// ticks of whatever clock there is.
        instructions: u64,
    },
    /// A benchmark has measured something.
    Measured {
        /// The workload's name.
        workload: &'a str,
        /// The allocator's name.
        allocator: &'a str,
        /// How many CPUs did it at once.
        cpus: u32,
        /// How many operations it was.
        operations: u64,
        /// How many guest instructions they took together.
        instructions: u64,
        /// How many locks they took, if that was counted.
        locks: Option<u64>,
        /// How many of the operations were refused.
        refused: u64,
    },
    /// The kernel panics. The panic handler sends this, prints its report to COM1 and ends the machine with
    /// [`ExitCode::Panic`](crate::ExitCode::Panic).
    Panicked {
        /// The formatted message.
        message: &'a str,
        /// `file:line:column`.
        location: &'a str,
    },
}

/// What a test that returned says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TestResult {
    /// It found what it expected.
    Passed,
    /// It returned an error, which it has printed to COM1.
    Failed,
}

/// Writes `event` into `buffer` as a frame ready for COM2, and returns the frame.
///
/// Texts longer than [`MAX_TEXT`] are cut at a character: a panic message must get through however long it is, and from
/// a kernel that may not be able to allocate.
pub fn encode<'b>(event: &Event<'_>, buffer: &'b mut [u8; MAX_FRAME]) -> &'b [u8] {
    let event = match *event {
        Event::Listed { index, name } => Event::Listed { index, name: shorten(name) },
        Event::TestStarted { index, name, should_panic } => {
            Event::TestStarted { index, name: shorten(name), should_panic }
        }
        Event::Panicked { message, location } => {
            Event::Panicked { message: shorten(message), location: shorten(location) }
        }
        Event::Measured { workload, allocator, cpus, operations, instructions, locks, refused } => Event::Measured {
            workload: shorten(workload),
            allocator: shorten(allocator),
            cpus,
            operations,
            instructions,
            locks,
            refused,
        },
        event => event,
    };
    buffer[0] = 0;
    let encoded = postcard::to_slice_cobs(&event, &mut buffer[1..]).expect("MAX_FRAME holds every event").len();
    &buffer[..1 + encoded]
}

/// Reads one frame, without its zero bytes, and scrambles it on the way.
///
/// # Errors
/// Those of postcard: the frame is not an event of this version of the protocol.
pub fn decode(frame: &mut [u8]) -> Result<Event<'_>, postcard::Error> {
    postcard::from_bytes_cobs(frame)
}

/// The longest beginning of `text` that is at most [`MAX_TEXT`] bytes and ends with a whole character.
fn shorten(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_TEXT)]
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::{string::String, vec::Vec};

    /// The frame of `event` without its delimiters, which must be its only zeros.
    fn body(event: &Event<'_>) -> Vec<u8> {
        let mut buffer = [0xaa; MAX_FRAME];
        let frame = encode(event, &mut buffer);
        assert_eq!((frame[0], frame[frame.len() - 1]), (0, 0));
        let body = frame[1..frame.len() - 1].to_vec();
        assert!(!body.contains(&0));
        body
    }

    #[test]
    fn every_event_survives_the_wire() {
        for event in [
            Event::Started,
            Event::Ready,
            Event::Plan { total: 5, selected: 0 },
            Event::Listed { index: 0, name: "a::b" },
            Event::TestStarted { index: u32::MAX, name: "", should_panic: true },
            Event::TestFinished { index: 0, result: TestResult::Failed, instructions: u64::MAX },
            Event::TestFinished { index: 256, result: TestResult::Passed, instructions: 0 },
            Event::Measured {
                workload: "page-pair",
                allocator: "floor",
                cpus: u32::MAX,
                operations: u64::MAX,
                instructions: u64::MAX,
                locks: Some(u64::MAX),
                refused: u64::MAX,
            },
            Event::Panicked { message: "with a \0 in it", location: "src/main.rs:1:2" },
        ] {
            assert_eq!(decode(&mut body(&event)), Ok(event));
        }
    }

    #[test]
    fn long_texts_are_cut_at_a_character() {
        let long: String = core::iter::repeat_n('ß', MAX_FRAME).chain(['x']).collect();
        let odd = std::format!("x{long}");
        let mut frame = body(&Event::Panicked { message: &odd, location: &long });
        let Ok(Event::Panicked { message, location }) = decode(&mut frame) else { panic!("not decoded") };
        assert_eq!((message.len(), location.len()), (MAX_TEXT - 1, MAX_TEXT));
        assert!(odd.starts_with(message) && long.starts_with(location));
        let (cpus, operations, instructions, locks, refused) = (u32::MAX, u64::MAX, u64::MAX, Some(u64::MAX), u64::MAX);
        let (workload, allocator) = (long.as_str(), odd.as_str());
        let measured = Event::Measured { workload, allocator, cpus, operations, instructions, locks, refused };
        let mut frame = body(&measured);
        let Ok(Event::Measured { allocator, .. }) = decode(&mut frame) else { panic!("not decoded") };
        assert_eq!(allocator.len(), MAX_TEXT - 1);
    }

    #[test]
    fn noise_is_not_an_event() {
        assert!(decode(&mut b"\x1b[2J\x1b[01;01H".to_vec()).is_err());
        assert!(decode(&mut []).is_err());
    }
}
