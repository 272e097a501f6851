//! What there was before a run, and whether it is so again once everything has been given back.

use crate::failure::Failure;
use crate::machine::Machine;
use crate::snapshot::Snapshot;
use bifolio::heap::HeapFrames;
use core::marker::PhantomData;

/// What there was.
#[derive(Debug)]
pub struct Before<M> {
    /// Reports of the lock validator.
    reports: usize,
    heap: HeapFrames,
    frames: Snapshot,
    machine: PhantomData<M>,
}

impl<M: Machine> Before<M> {
    /// What there is now.
    pub fn take() -> Self {
        settle::<M>();
        let (reports, heap, frames) = (M::lock_reports(), M::heap().frames(), Snapshot::take::<M>());
        Self { reports, heap, frames, machine: PhantomData }
    }

    /// Checks that every invariant holds, and that the state of every frame is what it was.
    ///
    /// # Errors
    /// What is wrong, the worst first.
    pub fn compare(&self) -> Result<(), Failure> {
        settle::<M>();
        M::frames().validate()?;
        M::heap().validate()?;
        if let Some(difference) = Snapshot::take::<M>().difference(&self.frames) {
            return Err(Failure::Frames(difference));
        }
        let (before, after) = (self.heap, M::heap().frames());
        if before != after {
            return Err(Failure::HeapFrames { before, after });
        }
        match M::lock_reports() - self.reports {
            0 => Ok(()),
            more => Err(Failure::Locks(more)),
        }
    }
}

/// Gives back what only caches hold. Slabs that have objects of the kernel's own go to the arena that all CPUs share: whose they
/// are is chance, and a CPU that has none needs no arena.
fn settle<M: Machine>() {
    M::on_cpus(usize::MAX, &|_| M::heap().retire_cpu());
    M::finish_unmapping();
    M::heap().shrink();
    M::frames().drain();
    M::frames().unreserve_highatomic();
}
