//! Runs a piece of work on pinned threads, and takes its time or marks it for callgrind.
//!
//! A run does everything that a workload needs, in time and in instruction counts alike: what it sets up is not
//! measured, what it hands to [`Clock::measure`] is. The measured code is the same in both modes.

use crate::thread::{allowed_cpus, become_cpu, processor_time};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// How long one run of a workload is measured on a thread, where it can be cut short.
const ENOUGH: Duration = Duration::from_millis(500);

/// What is wanted of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Times.
    Time,
    /// Times of few operations: a fast look.
    Quick,
    /// Few operations under callgrind, which counts the instructions of this workload alone.
    Count(&'static str),
    /// Memory, in a process that does nothing else.
    Footprint,
}

/// One run of one group of workloads with one allocator.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    /// What is wanted.
    pub mode: Mode,
    /// How many threads do the work, each on a CPU of its own.
    pub threads: usize,
}

/// What became of one workload in one run.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    /// The workload's name.
    pub workload: &'static str,
    /// What came out.
    pub value: Value,
}

/// What a workload gives.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// So many operations took so long, summed over threads, and so many requests were refused.
    Operations {
        /// How many operations.
        count: u64,
        /// How long they took.
        time: Duration,
        /// How many of them were refused.
        refused: u64,
    },
    /// Metadata, in bytes for each frame.
    BytesPerFrame(f64),
    /// So many bytes were taken for so many that are live.
    Overhead {
        /// Asked for and not freed.
        live: u64,
        /// What the system gave.
        taken: u64,
        /// Requests that were refused.
        refused: u64,
    },
    /// So many bytes of a region were live when it was full.
    Held {
        /// Asked for and not freed.
        live: u64,
        /// What the region has.
        room: u64,
    },
    /// Blocks of 2 MiB that could be allocated in the end.
    Blocks {
        /// How many.
        allocated: u64,
        /// How many a perfect allocator would have given.
        limit: u64,
        /// Blocks without an allocated frame, at equal distances in time.
        over_time: Vec<u64>,
    },
}

impl Run {
    /// How many operations to do: `full` when times are taken, and fewer when a look is enough or instructions are
    /// counted, which does not take many.
    pub fn operations(self, full: u64, counted: u64) -> u64 {
        match self.mode {
            Mode::Time => full,
            Mode::Quick => (full / 8).max(counted),
            Mode::Count(_) | Mode::Footprint => counted,
        }
    }

    /// Runs `work` on every thread at once, each with its own clock, and puts together what they measured.
    pub fn on_threads(self, work: &(dyn Fn(&mut Clock<'_>) + Sync)) -> Vec<Measured> {
        let (barrier, enough) = (Barrier::new(self.threads), AtomicBool::new(false));
        let cpus = allowed_cpus();
        let all: Vec<Vec<Measured>> = thread::scope(|scope| {
            let threads: Vec<_> = (0..self.threads)
                .map(|cpu| {
                    let (barrier, enough, place) = (&barrier, &enough, cpus[cpu % cpus.len()]);
                    scope.spawn(move || {
                        become_cpu(cpu, place);
                        let mut clock = Clock { cpu, mode: self.mode, barrier, enough, measured: Vec::new() };
                        work(&mut clock);
                        clock.measured
                    })
                })
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
                .collect()
        });
        let mut sum: Vec<Measured> = Vec::new();
        for part in all.into_iter().flatten() {
            add(&mut sum, part);
        }
        sum
    }
}

/// Adds operations to those of the same workload.
fn add(sum: &mut Vec<Measured>, part: Measured) {
    let same = sum.iter_mut().find(|whole| whole.workload == part.workload);
    match (same.map(|whole| &mut whole.value), &part.value) {
        (
            Some(Value::Operations { count, time, refused }),
            Value::Operations { count: more, time: longer, refused: others },
        ) => {
            *count += more;
            *time += *longer;
            *refused += others;
        }
        _ => sum.push(part),
    }
}

/// A thread's own measurements.
pub struct Clock<'a> {
    /// The thread's number, which is its CPU's.
    pub cpu: usize,
    mode: Mode,
    barrier: &'a Barrier,
    enough: &'a AtomicBool,
    measured: Vec<Measured>,
}

impl Clock<'_> {
    /// Measures `count` operations once all threads have come this far. `work`, which is called once, returns how many
    /// were refused.
    pub fn measure(&mut self, workload: &'static str, count: u64, work: &mut dyn FnMut() -> u64) {
        self.barrier.wait();
        if let Mode::Count(wanted) = self.mode
            && wanted != workload
        {
            work();
            return;
        }
        let start = processor_time();
        let refused = counted_by_callgrind(work);
        let time = processor_time().saturating_sub(start);
        add(&mut self.measured, Measured { workload, value: Value::Operations { count, time, refused } });
    }

    /// Whether a workload has been measured long enough on any thread: its operations are then as many as they came to, since
    /// there are peers that take thousands of times as long for one as others. All threads ask together, and are told the same.
    pub fn is_enough(&self, workload: &str) -> bool {
        let of_it = self.measured.iter().find(|measured| measured.workload == workload);
        if matches!(of_it, Some(Measured { value: Value::Operations { time, .. }, .. }) if *time >= ENOUGH) {
            self.enough.store(true, Ordering::Relaxed);
        }
        // Nobody comes here again before all have read it, since each is to measure something first, or to wait.
        self.barrier.wait();
        self.enough.load(Ordering::Relaxed)
    }

    /// Waits for all threads.
    pub fn wait(&self) {
        self.barrier.wait();
    }
}

/// The name that callgrind is told to count inside of.
pub const COUNTED: &str = "counted_by_callgrind";
/// The module that it is in.
pub const PATH: &str = module_path!();

/// Where it counts.
#[inline(never)]
pub fn counted_by_callgrind(work: &mut dyn FnMut() -> u64) -> u64 {
    work()
}
