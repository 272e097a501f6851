//! A machine whose CPUs one thread is in turn, and whoever writes down what they do.

use std::cell::{Cell, OnceCell};
use std::sync::Mutex;

use bifolio::allocator::{Event, Recorder};
use bifolio::cpu::{Cpu, Hooks};
use bifolio::frame::PfnRange;
use bifolio::memory_map::{Region, RegionKind};
use trace::Encoder;

pub const CPUS: usize = 3;
const MIB: u64 = 1 << 20;

pub fn machine() -> [Region; 4] {
    let usable = |start, end| Region { start: start * MIB, end: end * MIB, kind: RegionKind::Usable };
    [
        usable(0, 48),
        Region { start: 48 * MIB, end: 52 * MIB, kind: RegionKind::AcpiReclaimable },
        usable(4096, 4128),
        Region { start: 4128 * MIB, end: 4129 * MIB, kind: RegionKind::Reserved },
    ]
}

thread_local! {
    static CURRENT: Cell<usize> = const { Cell::new(0) };
}

/// Makes what follows on this thread the doing of a CPU.
pub fn be(cpu: usize) {
    CURRENT.set(cpu);
}

/// A CPU that a thread is.
pub struct Thread;
// SAFETY: each thread has an allocator of its own here, and is one of its CPUs at a time.
unsafe impl Cpu for Thread {
    fn current() -> usize {
        CURRENT.get()
    }

    fn synchronize() {}

    fn mask_interrupts() -> bool {
        false
    }

    fn restore_interrupts(_: bool) {}

    unsafe fn zero(_: PfnRange) -> bool {
        true
    }
}
impl Hooks for Thread {}

/// Writes a trace with a hash behind every so-many-th operation that is not within another, or the first behind that of which it is told
/// alone.
pub struct Scribe {
    /// With how many operations there were at the last hash.
    written: Mutex<(Vec<u8>, Encoder, u64)>,
    interval: u64,
    hash: OnceCell<Box<dyn Fn() -> u64>>,
}
// SAFETY: it is used by the thread that made it.
unsafe impl Sync for Scribe {}

impl Scribe {
    pub fn new(interval: u64) -> Self {
        let mut bytes = Vec::new();
        trace::write_header(&mut bytes, CPUS, machine().into_iter());
        Self { written: Mutex::new((bytes, Encoder::new(), 0)), interval, hash: OnceCell::new() }
    }

    /// Before the first operation.
    pub fn hash_of(&self, hash: impl Fn() -> u64 + 'static) {
        assert!(self.hash.set(Box::new(hash)).is_ok());
    }

    /// The trace, with the hash at its end.
    pub fn finish(&self) -> Vec<u8> {
        let (bytes, encoder, _) = &mut *self.written.lock().unwrap();
        assert!(!encoder.is_open());
        encoder.hash(bytes, self.hash.get().unwrap()());
        bytes.clone()
    }
}

impl Recorder for Scribe {
    fn take(&self, events: &[Event]) {
        let (bytes, encoder, hashed) = &mut *self.written.lock().unwrap();
        events.iter().for_each(|event| encoder.event(bytes, event, |_| (0, false)));
        if !encoder.is_open() && encoder.operations() >= *hashed + self.interval {
            *hashed = encoder.operations();
            encoder.hash(bytes, self.hash.get().unwrap()());
        }
    }
}
