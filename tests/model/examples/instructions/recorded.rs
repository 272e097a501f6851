//! What it costs to record operations on page frames, beyond the operations: by a recorder that does nothing, and by one that writes
//! a trace into memory. Where that goes from there is not counted.

use super::linux::{Figure, PAIRS, count, in_use};
use bifolio::allocator::{Call, Recorder};
use std::cell::UnsafeCell;
use trace::{Encoder, Sink};
use workloads::page;

pub fn figures() -> Vec<Figure> {
    vec![pair("recorded: pair", &Nothing), pair("recorded: pair, as bytes", Box::leak(Box::new(Bytes::new())))]
}

fn pair(name: &'static str, recorder: &'static dyn Recorder) -> Figure {
    let mut frames = in_use();
    frames.record(recorder);
    page::pairs(&frames, PAIRS);
    (name, count(|| _ = page::pairs(&frames, PAIRS)), PAIRS)
}

/// Takes down nothing.
struct Nothing;

impl Recorder for Nothing {
    fn begin(&self, _: usize, _: Call) {}

    fn end(&self, _: Option<u64>) {}
}

/// Takes down a trace, as far as there is room, from the beginning again and again.
struct Bytes(UnsafeCell<(Encoder, Ring)>);

// SAFETY: it is called by one CPU at a time, as a recorder is.
unsafe impl Sync for Bytes {}

struct Ring {
    bytes: [u8; 4096],
    length: usize,
}

impl Sink for Ring {
    fn put(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.bytes[self.length % 4096] = *byte;
            self.length += 1;
        }
    }
}

impl Bytes {
    fn new() -> Self {
        Self(UnsafeCell::new((Encoder::new(), Ring { bytes: [0; 4096], length: 0 })))
    }

    fn with(&self, act: impl FnOnce(&mut Encoder, &mut Ring)) {
        // SAFETY: a recorder is called by one CPU at a time, and this calls nobody that could come here again.
        let (encoder, ring) = unsafe { &mut *self.0.get() };
        act(encoder, ring);
    }
}

impl Recorder for Bytes {
    fn begin(&self, cpu: usize, call: Call) {
        self.with(|encoder, ring| encoder.begin(ring, cpu, call));
    }

    fn end(&self, returned: Option<u64>) {
        self.with(|encoder, ring| _ = encoder.end(ring, returned));
    }
}
