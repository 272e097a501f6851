//! Recording: every operation on page frames and heap, told to the host program as a trace.
//!
//! What happens waits in memory until there is no room for more, a CPU has nothing else to do, or the machine ends, by a panic too. Then it
//! goes out of a port whose bytes QEMU writes into a file one by one, so nothing is lost that has come so far.

mod sites;

use super::frames::{Frames, try_frames};
use super::heap::HEAP;
use super::map;
use crate::host;
use crate::sync::{Mutex, Processor};
use bifolio::allocator::{Event, Recorder, Recording};
use bifolio::frame::{PfnRange, ZoneKind};
use bifolio::memory_map::Region;
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};
use log::warn;
use protocol::{ExitCode, input};
use sites::Sites;
use trace::{Encoder, Sink};

static WRITER: Mutex<Writer> = Mutex::new("trace", Writer { encoder: Encoder::new(), sites: Sites::new(), hashed: 0 });
static RECORDING: Recording<'static> = Recording::new(&ToHost);
/// A hash of the state is wanted, if one can be taken, however few operations there were since the last.
static IS_HASH_WANTED: AtomicBool = AtomicBool::new(false);
/// The kernel has panicked, and takes no hash any more.
static IS_BROKEN: AtomicBool = AtomicBool::new(false);

/// What has been written, as far as the next record depends on it.
struct Writer {
    encoder: Encoder,
    sites: Sites,
    /// Operations before the last hash.
    hashed: u64,
}

struct ToHost;

impl Sink for ToHost {
    fn put(&mut self, bytes: &[u8]) {
        host::write_trace(bytes);
    }
}

impl Recorder for ToHost {
    fn take(&self, events: &[Event]) {
        let mut writer = WRITER.lock();
        let Writer { encoder, sites, hashed } = &mut *writer;
        events.iter().for_each(|event| encoder.event(&mut Self, event, |addresses| sites.number_of(addresses)));
        let is_due = encoder.operations() >= *hashed + Encoder::INTERVAL || IS_HASH_WANTED.load(Relaxed);
        if is_due && !encoder.is_open() && !IS_BROKEN.load(Relaxed) {
            *hashed = encoder.operations();
            // What comes before the allocator has its place is less than what comes between two hashes.
            let frames = try_frames().map_or(0, |frames| frames.hash());
            encoder.hash(&mut Self, frames ^ HEAP.hash());
        }
    }
}

/// Whether the host program wants a trace.
pub(super) fn is_wanted() -> bool {
    host::Input::read(input::TRACE).is_given()
}

/// Begins the trace of a machine with so many CPUs, whose page frames have just been set up.
pub(super) fn begin(cpus: usize, frames: &mut Frames) {
    let region = |(range, kind): (PfnRange, _)| Region { start: range.start.address(), end: range.end.address(), kind };
    trace::write_header(&mut ToHost, cpus, map::map().iter().map(region));
    frames.record(&RECORDING);
    HEAP.record(&RECORDING);
    host::before_exit(end);
}

/// Sends the host program what has happened, if there is a trace.
pub(super) fn flush() {
    RECORDING.flush::<Processor>();
}

/// Sends the host program the last of the trace, since the machine ends.
fn end(code: ExitCode) {
    if code != ExitCode::Panic {
        return flush();
    }
    IS_BROKEN.store(true, Relaxed);
    // SAFETY: a kernel that panics stops all other CPUs first, and goes back to nothing that it was at.
    unsafe {
        WRITER.seize();
        RECORDING.flush_last();
    }
    // What the panic is in the middle of is most wanted.
    WRITER.lock().encoder.open(&mut ToHost);
}

/// Ends the trace, if there is one, with the hash of the state.
pub fn finish() {
    IS_HASH_WANTED.store(true, Relaxed);
    super::frames().zone(ZoneKind::Normal);
    flush();
    let lost = WRITER.lock().sites.lost();
    if lost > 0 {
        warn!("trace: {lost} operations were asked for at more sites than there is room for, and are without one");
    }
}
