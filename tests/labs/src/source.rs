//! Where pieces of labs 4 and 5 have their frames from.

use alloc::vec::Vec;
use core::ops::Range;
use core::sync::atomic::{AtomicUsize, Ordering};

use crate::Frame;

/// In place of a holder: the run is to be had.
const NOBODY: usize = usize::MAX;

/// Runs of frames, of one length, that may be taken and given back by any CPU at any time.
#[derive(Debug)]
pub struct Source {
    /// Where each run begins, in ascending order.
    starts: Vec<Frame>,
    /// Frames in a run.
    length: u64,
    /// The number of the holder of each.
    holders: Vec<AtomicUsize>,
}

impl Source {
    /// All runs of a length that lie in these frames, each at a multiple of its length.
    pub fn new(ranges: &[Range<Frame>], length: u64) -> Self {
        let runs = |range: &Range<Frame>| {
            let first = range.start.next_multiple_of(length);
            (first..range.end).step_by(length as usize).take_while({
                let end = range.end;
                move |start| start + length <= end
            })
        };
        let starts: Vec<Frame> = ranges.iter().flat_map(runs).collect();
        let holders = starts.iter().map(|_| AtomicUsize::new(NOBODY)).collect();
        Self { starts, length, holders }
    }

    /// Takes the lowest run that nobody has, for the holder with this number: which one it is.
    pub(crate) fn take(&self, holder: usize) -> Option<usize> {
        self.holders
            .iter()
            .position(|place| place.compare_exchange(NOBODY, holder, Ordering::AcqRel, Ordering::Relaxed).is_ok())
    }

    /// Takes a run back, and all that is in it.
    ///
    /// # Panics
    /// Nobody has it.
    pub(crate) fn give_back(&self, run: usize) {
        let before = self.holders.get(run).map(|place| place.swap(NOBODY, Ordering::AcqRel));
        assert!(before.is_some_and(|holder| holder != NOBODY), "run {run} was given back, and nobody had taken it");
    }

    /// How many runs there are.
    pub(crate) fn count(&self) -> usize {
        self.starts.len()
    }

    /// The run that a frame lies in.
    pub(crate) fn run_of(&self, frame: Frame) -> Option<usize> {
        let behind = self.starts.partition_point(|start| *start <= frame);
        let run = behind.checked_sub(1)?;
        (frame - self.starts[run] < self.length).then_some(run)
    }

    /// Where a run begins.
    pub(crate) fn start(&self, run: usize) -> Frame {
        self.starts[run]
    }

    /// The number of the holder of a run.
    pub fn holder(&self, run: usize) -> Option<usize> {
        Some(self.holders[run].load(Ordering::Acquire)).filter(|holder| *holder != NOBODY)
    }

    /// The runs that somebody has.
    pub fn held(&self) -> impl Iterator<Item = usize> {
        (0..self.count()).filter(|run| self.holder(*run).is_some())
    }
}
