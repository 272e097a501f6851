//! What there was before a run, and whether it is so again once everything has been given back.

use super::Failure;
use crate::cpu::{self, MAX_CPUS};
use crate::memory::heap::HEAP;
use crate::memory::{Snapshot, frames, vmalloc};
use crate::sync::lockdep;
use bifolio::heap::HeapFrames;

/// What there was.
#[derive(Debug)]
pub struct Before {
    /// Reports of the lock validator.
    reports: usize,
    heap: HeapFrames,
    frames: Snapshot,
}

impl Before {
    /// What there is now.
    pub fn take() -> Self {
        settle();
        Self { reports: lockdep::count(), heap: HEAP.frames(), frames: Snapshot::take() }
    }

    /// Checks that every invariant holds, and that the state of every frame is what it was.
    ///
    /// # Errors
    /// What is wrong, the worst first.
    pub fn compare(&self) -> Result<(), Failure> {
        settle();
        frames().validate()?;
        HEAP.validate()?;
        if let Some(difference) = Snapshot::take().difference(&self.frames) {
            return Err(Failure::Frames(difference));
        }
        let (before, after) = (self.heap, HEAP.frames());
        if before != after {
            return Err(Failure::HeapFrames { before, after });
        }
        match lockdep::count() - self.reports {
            0 => Ok(()),
            more => Err(Failure::Locks(more)),
        }
    }
}

/// Gives back what only caches hold. Slabs that have objects of the kernel's own go to the arena that all CPUs share: whose they
/// are is chance, and a CPU that has none needs no arena.
fn settle() {
    cpu::on_cpus(MAX_CPUS, &|_| HEAP.retire_cpu());
    vmalloc::free_deferred();
    HEAP.shrink();
    frames().drain();
    frames().unreserve_highatomic();
}
