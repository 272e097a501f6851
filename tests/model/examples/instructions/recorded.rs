//! What it costs to record operations on page frames and on the heap, beyond the operations: as far as a recorder is told, and with what it
//! takes to write a trace into memory then. Where that goes from there is not counted.

use super::linux::{Figure, count, in_use};
use bifolio::allocator::{Event, Recorder, Recording};
use bifolio::kernel::Kernel;
use model::machine::Turns;
use std::alloc::Layout;
use std::cell::UnsafeCell;
use trace::{Encoder, Sink};
use workloads::page;

/// As many events as a recorder is told of at a time, twice.
const PAIRS: u64 = 128;

pub fn figures() -> Vec<Figure> {
    vec![
        pair("recorded: pair", &Nothing),
        pair("recorded: pair, as bytes", Box::leak(Box::new(Bytes::new()))),
        heap_pair("recorded: heap: pair of 64 bytes"),
    ]
}

fn pair(name: &'static str, recorder: &'static dyn Recorder) -> Figure {
    let mut frames = in_use();
    frames.record(recorder);
    page::pairs(&frames, PAIRS);
    (name, count(|| _ = page::pairs(&frames, PAIRS)), PAIRS)
}

fn heap_pair(name: &'static str) -> Figure {
    let (kernel, layout): (&'static Kernel<Turns, 2>, _) = (super::hardening::kernel(), Layout::new::<[u64; 8]>());
    let heap = kernel.heap();
    heap.record(Box::leak(Box::new(Recording::new(&Nothing))));
    let pairs = || {
        for _ in 0..PAIRS {
            let object = heap.allocate(layout).expect("there is memory");
            // SAFETY: it was allocated just now, and nobody else knows of it.
            unsafe { heap.free(object, layout) }.expect("it was allocated just now");
        }
    };
    pairs();
    (name, count(pairs), PAIRS)
}

/// Takes down nothing.
struct Nothing;

impl Recorder for Nothing {
    fn take(&self, _: &[Event]) {}
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
}

impl Recorder for Bytes {
    fn take(&self, events: &[Event]) {
        // SAFETY: a recorder is called by one CPU at a time, and this calls nobody that could come here again.
        let (encoder, ring) = unsafe { &mut *self.0.get() };
        events.iter().for_each(|event| encoder.event(ring, event, |_| (0, false)));
    }
}
