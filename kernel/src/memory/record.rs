//! Recording: every operation on page frames and heap, told to the host program as a trace.
//!
//! It goes out of a port whose bytes QEMU writes into a file one by one, so nothing is lost, whatever the kernel does next, and
//! nothing waits to be sent when it ends.

mod sites;

use super::frames::{Frames, try_frames};
use super::heap::HEAP;
use super::map;
use crate::arch::backtrace;
use crate::host;
use crate::sync::Mutex;
use bifolio::allocator::{Call, Recorder, Recording};
use bifolio::frame::{PfnRange, ZoneKind};
use bifolio::memory_map::Region;
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};
use log::warn;
use protocol::input;
use sites::Sites;
use trace::{Encoder, Sink};

static WRITER: Mutex<Writer> = Mutex::new("trace", Writer { encoder: Encoder::new(), sites: Sites::new() });
static RECORDING: Recording<'static> = Recording::new(&ToHost);
/// The trace ends with the hash of the state that the next operation leads to.
static IS_LAST: AtomicBool = AtomicBool::new(false);

/// What has been written, as far as the next record depends on it.
struct Writer {
    encoder: Encoder,
    sites: Sites,
}

struct ToHost;

impl Sink for ToHost {
    fn put(&mut self, bytes: &[u8]) {
        host::write_trace(bytes);
    }
}

impl Recorder for ToHost {
    fn begin(&self, cpu: usize, call: Call) {
        let mut writer = WRITER.lock();
        let Writer { encoder, sites } = &mut *writer;
        if encoder.is_within() {
            return encoder.begin(&mut Self, cpu, call);
        }
        let mut addresses = [0; trace::SITE_DEPTH];
        let count = backtrace::callers(&mut addresses);
        let (site, is_new) = sites.number_of(&addresses[..count]);
        encoder.begin_at(&mut Self, cpu, call, site, if is_new { &addresses[..count] } else { &[] });
    }

    fn end(&self, returned: Option<u64>) {
        let mut writer = WRITER.lock();
        let encoder = &mut writer.encoder;
        let is_due = encoder.end(&mut Self, returned);
        if is_due || IS_LAST.load(Relaxed) && !encoder.is_open() {
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
}

/// Ends the trace, if there is one, with the hash of the state.
pub fn finish() {
    IS_LAST.store(true, Relaxed);
    super::frames().zone(ZoneKind::Normal);
    let lost = WRITER.lock().sites.lost();
    if lost > 0 {
        warn!("trace: {lost} operations were asked for at more sites than there is room for, and are without one");
    }
}
