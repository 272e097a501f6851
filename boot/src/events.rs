//! Events out of the bytes of COM2.
//!
//! What arrives before the first [`Event::Started`] is the firmware's, which takes any serial port for a terminal. From
//! there on each frame must be an event: a kernel and a host program of different versions, or a kernel that writes
//! over its own memory, shall not look like a kernel that merely says little.

use protocol::{Event, TestResult, decode};

/// Bytes that are kept of a frame that does not end: more than any event takes.
const LONGEST: usize = 2 * protocol::event::MAX_FRAME;

/// What a guest reported; [`Event`] with texts of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "fields and variants are those of Event")]
pub enum Report {
    Started,
    Ready,
    Plan {
        total: u32,
        selected: u32,
    },
    Listed {
        index: u32,
        name: String,
    },
    TestStarted {
        index: u32,
        name: String,
        should_panic: bool,
    },
    TestFinished {
        index: u32,
        result: TestResult,
        instructions: u64,
    },
    Measured {
        workload: String,
        allocator: String,
        cpus: u32,
        operations: u64,
        instructions: u64,
        locks: Option<u64>,
        refused: u64,
    },
    Panicked {
        message: String,
        location: String,
    },
    /// A frame that is not an event of this version of the protocol.
    Garbage(Vec<u8>),
}

impl From<Event<'_>> for Report {
    fn from(event: Event<'_>) -> Report {
        match event {
            Event::Started => Report::Started,
            Event::Ready => Report::Ready,
            Event::Plan { total, selected } => Report::Plan { total, selected },
            Event::Listed { index, name } => Report::Listed { index, name: name.into() },
            Event::TestStarted { index, name, should_panic } => {
                Report::TestStarted { index, name: name.into(), should_panic }
            }
            Event::TestFinished { index, result, instructions } => Report::TestFinished { index, result, instructions },
            Event::Measured { workload, allocator, cpus, operations, instructions, locks, refused } => {
                Report::Measured {
                    workload: workload.into(),
                    allocator: allocator.into(),
                    cpus,
                    operations,
                    instructions,
                    locks,
                    refused,
                }
            }
            Event::Panicked { message, location } => {
                Report::Panicked { message: message.into(), location: location.into() }
            }
        }
    }
}

/// Cuts a stream of bytes into frames and reads them.
#[derive(Debug, Default)]
pub struct Decoder {
    frame: Vec<u8>,
    started: bool,
}

impl Decoder {
    /// Takes the next bytes and gives `each` what is complete with them.
    pub fn push(&mut self, bytes: &[u8], mut each: impl FnMut(Report)) {
        for &byte in bytes {
            if byte != 0 {
                if self.frame.len() < LONGEST {
                    self.frame.push(byte);
                }
                continue;
            }
            let mut frame = std::mem::take(&mut self.frame);
            if frame.is_empty() {
                continue;
            }
            let raw = frame.clone();
            let report = decode(&mut frame).map_or(Report::Garbage(raw), Report::from);
            self.started |= report == Report::Started;
            if self.started {
                each(report);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::{encode, event::MAX_FRAME};

    fn reports(bytes: &[u8], chunk: usize) -> Vec<Report> {
        let (mut decoder, mut all) = (Decoder::default(), Vec::new());
        bytes.chunks(chunk).for_each(|part| decoder.push(part, |report| all.push(report)));
        all
    }

    fn stream(events: &[Event<'_>]) -> Vec<u8> {
        events.iter().flat_map(|event| encode(event, &mut [0; MAX_FRAME]).to_vec()).collect()
    }

    #[test]
    fn firmware_noise_is_dropped_and_events_come_out_however_they_arrive() {
        let mut bytes = b"\x1b[2J\0\0\x1b[01;01HBdsDxe: loading".to_vec();
        let plan = Event::Plan { total: 2, selected: 1 };
        bytes.extend(stream(&[Event::Started, Event::Ready, plan]));
        for chunk in [1, 2, 3, 7, bytes.len()] {
            assert_eq!(reports(&bytes, chunk), [Report::Started, Report::Ready, plan.into()], "in chunks of {chunk}");
        }
    }

    #[test]
    fn garbage_after_the_start_is_reported_and_the_next_event_still_read() {
        let mut bytes = stream(&[Event::Started]);
        bytes.extend(b"junk\0");
        bytes.extend(stream(&[Event::Ready]));
        assert_eq!(reports(&bytes, 5), [Report::Started, Report::Garbage(b"junk".into()), Report::Ready]);
    }

    #[test]
    fn a_frame_without_end_takes_bounded_memory() {
        let mut decoder = Decoder::default();
        decoder.push(&vec![1; 100 * LONGEST], |_| panic!("no frame ended"));
        assert!(decoder.frame.len() <= LONGEST);
    }
}
