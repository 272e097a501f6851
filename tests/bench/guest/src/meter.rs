//! Counts instructions and tells the host.

use core::hint::black_box;
use kernel::host::{self, Stopwatch};
use protocol::{Event, Selection};
use workloads::singles::Count;

/// Measures the selected workloads.
pub struct Meter<'a> {
    selection: Selection<'a>,
    /// What it takes to measure nothing.
    overhead: u64,
}

impl<'a> Meter<'a> {
    /// For the workloads that the selection takes.
    pub fn new(selection: Selection<'a>) -> Self {
        let overhead = (0..16).map(|_| time(|| ())).min();
        Self { selection, overhead: overhead.unwrap_or_default() }
    }

    /// Whether any of the workloads is wanted. One that takes long to set up asks before.
    pub fn wants(&self, workloads: &[&str]) -> bool {
        workloads.iter().any(|workload| self.selection.takes(workload))
    }

    /// The instructions of `work`, without those of measuring.
    #[inline]
    pub fn instructions(&self, work: impl FnOnce()) -> u64 {
        time(work).saturating_sub(self.overhead)
    }

    /// Measures so many operations; `work` returns how many were refused.
    pub fn measure(&self, workload: &str, allocator: &str, operations: u64, work: impl FnOnce() -> u64) {
        let mut refused = 0;
        let instructions = self.instructions(|| refused = work());
        self.report(workload, allocator, operations, instructions, refused);
    }

    /// Tells the host what so many CPUs did at once, and how many locks that took, if that is wanted.
    pub fn report_of_cpus(
        &self,
        workload: &str,
        allocator: &str,
        cpus: usize,
        operations: u64,
        instructions: u64,
        locks: u64,
    ) {
        if self.selection.takes(workload) {
            let (cpus, locks, refused) = (cpus as u32, Some(locks), 0);
            host::send(&Event::Measured { workload, allocator, cpus, operations, instructions, locks, refused });
        }
    }

    /// Tells the host what was measured, if that is wanted.
    pub fn report(&self, workload: &str, allocator: &str, operations: u64, instructions: u64, refused: u64) {
        if self.selection.takes(workload) {
            let (cpus, locks) = (1, None);
            host::send(&Event::Measured { workload, allocator, cpus, operations, instructions, locks, refused });
        }
    }
}

impl Count for Meter<'_> {
    #[inline]
    fn count(&mut self, work: impl FnOnce()) -> u64 {
        self.instructions(work)
    }
}

/// Measures one piece of work, which stays in one piece.
#[inline]
fn time(work: impl FnOnce()) -> u64 {
    let stopwatch = black_box(Stopwatch::start());
    work();
    stopwatch.elapsed().0
}
