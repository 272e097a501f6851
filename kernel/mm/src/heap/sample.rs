//! Single objects that somebody else has memory for, to watch what becomes of them (Linux: KFENCE).
//!
//! While samples are taken every cache counts as debugged, so that whatever finds nothing in hand goes the slow way, and is asked for
//! there. So no fast path knows of samples; and a free of one leads to no slab, and ends where it would be refused.

use crate::sync::atomic::{AtomicU16, Ordering::Relaxed};
use core::ptr::NonNull;

use super::diagnose::Wanted;
use super::slow::Kind;
use super::{Heap, HeapError};
use crate::cpu::Cpu;
use crate::hardening::Hardening;
use crate::slab::debug::Site;
use crate::slab::sample::Sample;
use crate::slab::source::PageSource;

/// When samples are taken.
pub(super) struct Sampling {
    /// Of so many requests that find nothing in hand, one is a sample; of none, if this is 0.
    interval: AtomicU16,
    /// So many are not before the next.
    left: AtomicU16,
}

impl Sampling {
    pub(super) const fn new() -> Self {
        Self { interval: AtomicU16::new(0), left: AtomicU16::new(0) }
    }

    /// Whether it is the next one's turn.
    fn is_due(&self) -> bool {
        let interval = self.interval.load(Relaxed);
        let turn = |left: u16| Some(left.checked_sub(1).unwrap_or(interval.saturating_sub(1)));
        interval != 0 && self.left.fetch_update(Relaxed, Relaxed, turn) == Ok(0)
    }
}

impl<S: PageSource, C: Cpu, const CPUS: usize> Heap<S, C, CPUS> {
    /// Has one of `interval` requests for an object of up to 8 KiB that find nothing in the CPU's hand served by its source's
    /// [sampler](PageSource::sampler), from now on; 0 for none. (A CPU has up to 64 slots of a cache in hand, so of small objects that is up
    /// to 64 times rarer.)
    ///
    /// Objects that the sampler has stay with it, whatever is chosen later.
    pub fn sample(&self, interval: u16) {
        self.sampling.left.store(interval.saturating_sub(1), Relaxed);
        self.sampling.interval.store(interval, Relaxed);
        self.debugging.watch_all(interval != 0 || self.registry.recording.is_completed());
    }

    /// Allocates an object as a sample, or in a cache that is debugged. `None` if it is neither its turn nor debugged, `Some(None)` if
    /// there is no memory, or should be none.
    pub(super) fn allocate_watched(&self, kind: Kind<'_>, size: usize, site: Site) -> Option<Option<NonNull<u8>>> {
        if let Some(sample) = self.allocate_sample(kind, size) {
            return Some(Some(sample));
        }
        let debugged = self.allocate_debugged(kind, size, site)?;
        // What its last user left of it has been poisoned.
        debugged.into_iter().for_each(|object| kind.construct.into_iter().for_each(|construct| construct(object)));
        Some(debugged)
    }

    /// Serves a request for `size` bytes by a sample, if it is its turn and there is room.
    fn allocate_sample(&self, kind: Kind<'_>, size: usize) -> Option<NonNull<u8>> {
        if !self.sampling.is_due() {
            return None;
        }
        let sample = Sample { cache: kind.geometry.name, number: kind.number, size: size.max(1) };
        let object = self.registry.source.sampler()?.allocate(sample, 1 << kind.geometry.size.trailing_zeros())?;
        match kind.construct {
            Some(construct) => construct(object),
            // SAFETY: the object is as long, and was given to this call a moment ago.
            None => unsafe { self.init(kind.number, object.as_ptr(), size, Hardening::INIT_ON_ALLOC) },
        }
        Some(object)
    }

    /// The sample that starts here, or what is wrong with freeing it; `None` if it is none.
    pub(super) fn judge_sample(
        &self,
        object: NonNull<u8>,
        wanted: Option<Wanted>,
    ) -> Option<Result<Sample, HeapError>> {
        let found = self.registry.source.sampler()?.look(object)?;
        Some(found.and_then(|sample| match wanted {
            Some(wanted) if !wanted.is_of(sample.number) => Err(HeapError::WrongLayout {
                address: object.as_ptr().addr(),
                cache: sample.cache,
                slot: 0,
                given: wanted.given(),
                actual: sample.size,
            }),
            _ => Ok(sample),
        }))
    }

    /// Frees a sample, or an object that is debugged; `None` if it is neither.
    pub(super) fn free_watched(
        &self,
        object: NonNull<u8>,
        wanted: Option<Wanted>,
        site: Site,
    ) -> Option<Result<(), HeapError>> {
        self.free_sample(object, wanted).or_else(|| self.free_debugged(object, wanted, site))
    }

    /// Frees a sample; `None` if it is none.
    fn free_sample(&self, object: NonNull<u8>, wanted: Option<Wanted>) -> Option<Result<(), HeapError>> {
        let judged = self.judge_sample(object, wanted)?;
        // SAFETY: by the promise of whoever frees it, nobody uses the object.
        Some(
            judged
                .and_then(|_| unsafe { self.registry.source.sampler().map_or(Ok(()), |sampler| sampler.free(object)) }),
        )
    }
}
