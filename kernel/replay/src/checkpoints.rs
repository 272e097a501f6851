//! Copies of a world's state, so that any moment is a few steps away.

use alloc::rc::Rc;
use alloc::vec::Vec;

use trace::Place;

use crate::memory::{PIECE, Piece};

/// A moment.
#[derive(Clone, Debug)]
pub(crate) struct Checkpoint {
    /// How many operations were done.
    pub(crate) operation: u64,
    /// How far the trace was followed.
    pub(crate) place: Place,
    /// The state.
    pub(crate) pieces: Vec<Piece>,
}

/// Checkpoints in the order of their moments, within a budget of bytes: if they are too many, every other one goes.
#[derive(Debug)]
pub(crate) struct Checkpoints {
    all: Vec<Checkpoint>,
    /// Operations from one to the next.
    interval: u64,
    budget: usize,
    bytes: usize,
}

impl Checkpoints {
    /// Operations between two checkpoints, as long as the budget lasts.
    const INTERVAL: u64 = 1024;

    pub(crate) fn new(budget: usize) -> Self {
        Self { all: Vec::new(), interval: Self::INTERVAL, budget, bytes: 0 }
    }

    /// Whether the moment is one that there is to be a checkpoint of, and there is none yet.
    pub(crate) fn is_due(&self, operation: u64) -> bool {
        operation.is_multiple_of(self.interval) && self.all.last().is_none_or(|last| last.operation < operation)
    }

    /// Operations from one to the next.
    pub(crate) fn interval(&self) -> u64 {
        self.interval
    }

    /// The last one.
    pub(crate) fn last(&self) -> Option<&Checkpoint> {
        self.all.last()
    }

    /// Adds one of a moment behind all others.
    pub(crate) fn add(&mut self, checkpoint: Checkpoint) {
        self.bytes += own_bytes(self.all.last(), &checkpoint);
        self.all.push(checkpoint);
        while self.bytes > self.budget && self.all.len() > 2 {
            self.thin_out();
        }
    }

    /// Lets every other one go.
    fn thin_out(&mut self) {
        self.interval *= 2;
        let interval = self.interval;
        self.all.retain(|checkpoint| checkpoint.operation.is_multiple_of(interval));
        let before = core::iter::once(None).chain(self.all.iter().map(Some));
        self.bytes = before.zip(&self.all).map(|(before, this)| own_bytes(before, this)).sum();
    }

    /// The last one at or before a moment.
    pub(crate) fn before(&self, operation: u64) -> Option<&Checkpoint> {
        let behind = self.all.partition_point(|checkpoint| checkpoint.operation <= operation);
        self.all.get(behind.checked_sub(1)?)
    }

    /// Forgets those behind a moment: what comes there is to be something else.
    pub(crate) fn forget_behind(&mut self, operation: u64) {
        self.all.retain(|checkpoint| checkpoint.operation <= operation);
    }

    /// Bytes that they take.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

/// Bytes that a checkpoint takes beside the one before it.
fn own_bytes(before: Option<&Checkpoint>, this: &Checkpoint) -> usize {
    let shared = before.map_or(0, |before| {
        before.pieces.iter().zip(&this.pieces).filter(|(before, this)| Rc::ptr_eq(before, this)).count()
    });
    (this.pieces.len() - shared) * PIECE
}
