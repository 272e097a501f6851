//! Copies of a world's state, so that any moment is a few steps away.
//!
//! Most of a state is as it was at the checkpoint before. So most checkpoints have the words that are not, and a few have all: as seldom
//! as what lies between takes no more room than one of those, so that no moment is further away than two states' worth of words.

use alloc::vec::Vec;
use core::mem;

use trace::Place;

use crate::memory::Memory;

/// A moment.
#[derive(Clone, Debug)]
pub(crate) struct Checkpoint {
    /// How many operations were done.
    pub(crate) operation: u64,
    /// How far the trace was followed.
    pub(crate) place: Place,
    state: State,
}

/// The state at a checkpoint.
#[derive(Clone, Debug)]
enum State {
    /// All of it.
    Whole(Vec<u64>),
    /// That of the checkpoint before, but for these words.
    Changed(Changes),
}

/// Words of a state, each with its place, in ascending order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Changes {
    places: Vec<u32>,
    words: Vec<u64>,
}

impl Changes {
    /// One more, behind all others.
    pub(crate) fn push(&mut self, place: usize, word: u64) {
        self.places.push(place as u32);
        self.words.push(word);
    }

    fn iter(&self) -> impl Iterator<Item = (usize, u64)> {
        self.places.iter().map(|place| *place as usize).zip(self.words.iter().copied())
    }

    fn apply(&self, state: &mut [u64]) {
        self.iter().for_each(|(place, word)| state[place] = word);
    }

    /// These and then others.
    fn then(&self, later: &Self) -> Self {
        let (mut merged, mut earlier) = (Self::default(), self.iter().peekable());
        for (place, word) in later.iter() {
            while let Some((place, word)) = earlier.next_if(|(before, _)| *before < place) {
                merged.push(place, word);
            }
            earlier.next_if(|(before, _)| *before == place);
            merged.push(place, word);
        }
        earlier.for_each(|(place, word)| merged.push(place, word));
        merged
    }
}

impl State {
    fn bytes(&self) -> usize {
        match self {
            Self::Whole(words) => size_of_val(&words[..]),
            Self::Changed(changes) => size_of_val(&changes.places[..]) + size_of_val(&changes.words[..]),
        }
    }

    /// The state at the checkpoint behind, which is to follow where this one did.
    fn then(self, later: Self) -> Self {
        match (self, later) {
            (_, whole @ Self::Whole(_)) => whole,
            (Self::Whole(mut words), Self::Changed(changes)) => {
                changes.apply(&mut words);
                Self::Whole(words)
            }
            (Self::Changed(changes), Self::Changed(later)) => Self::Changed(changes.then(&later)),
        }
    }
}

/// Checkpoints in the order of their moments, within a budget of bytes: if they are too many, every other one goes.
#[derive(Debug)]
pub(crate) struct Checkpoints {
    all: Vec<Checkpoint>,
    /// The state at the last one.
    latest: Vec<u64>,
    /// Operations from one to the next.
    interval: u64,
    budget: usize,
    bytes: usize,
}

impl Checkpoints {
    /// Operations between two checkpoints, as long as the budget lasts.
    const INTERVAL: u64 = 512;

    pub(crate) fn new(budget: usize) -> Self {
        Self { all: Vec::new(), latest: Vec::new(), interval: Self::INTERVAL, budget, bytes: 0 }
    }

    /// Whether the moment is one that there is to be a checkpoint of, and there is none yet.
    pub(crate) fn is_due(&self, operation: u64) -> bool {
        operation.is_multiple_of(self.interval) && self.all.last().is_none_or(|last| last.operation < operation)
    }

    /// Operations from one to the next.
    pub(crate) fn interval(&self) -> u64 {
        self.interval
    }

    /// Adds one of a moment behind all others.
    pub(crate) fn add(&mut self, operation: u64, place: Place, memory: &Memory) {
        let changed = memory.changes(&mut self.latest).map(State::Changed);
        let state = changed.filter(|changed| self.since_whole() + changed.bytes() <= size_of_val(&self.latest[..]));
        let state = state.unwrap_or_else(|| State::Whole(self.latest.clone()));
        self.bytes += state.bytes();
        self.all.push(Checkpoint { operation, place, state });
        while self.bytes > self.budget && self.all.len() > 2 {
            self.thin_out();
        }
    }

    /// Bytes of all behind the last that has a whole state.
    fn since_whole(&self) -> usize {
        let states = self.all.iter().rev().map(|checkpoint| &checkpoint.state);
        states.take_while(|state| matches!(state, State::Changed(_))).map(State::bytes).sum()
    }

    /// Lets every other one go.
    fn thin_out(&mut self) {
        self.interval *= 2;
        let mut gone: Option<State> = None;
        for Checkpoint { operation, place, state } in mem::take(&mut self.all) {
            let state = match gone.take() {
                Some(before) => before.then(state),
                None => state,
            };
            if operation.is_multiple_of(self.interval) {
                self.all.push(Checkpoint { operation, place, state });
            } else {
                gone = Some(state);
            }
        }
        self.settle();
    }

    /// Forgets those behind a moment: what comes there is to be something else.
    pub(crate) fn forget_behind(&mut self, operation: u64) {
        let kept = self.all.partition_point(|checkpoint| checkpoint.operation <= operation);
        if kept < self.all.len() {
            self.all.truncate(kept);
            self.settle();
        }
    }

    /// Some have gone.
    fn settle(&mut self) {
        self.bytes = self.all.iter().map(|checkpoint| checkpoint.state.bytes()).sum();
        self.latest = self.all.len().checked_sub(1).map_or_else(Vec::new, |last| self.state(last));
    }

    /// The number of the last one at or before a moment.
    pub(crate) fn before(&self, operation: u64) -> Option<usize> {
        self.all.partition_point(|checkpoint| checkpoint.operation <= operation).checked_sub(1)
    }

    /// The one of a number.
    pub(crate) fn at(&self, nth: usize) -> &Checkpoint {
        &self.all[nth]
    }

    /// The whole state at the one of a number.
    pub(crate) fn state(&self, nth: usize) -> Vec<u64> {
        let (mut words, mut changes) = (Vec::new(), Vec::new());
        for checkpoint in self.all[..=nth].iter().rev() {
            match &checkpoint.state {
                State::Changed(changed) => changes.push(changed),
                State::Whole(whole) => {
                    words.clone_from(whole);
                    break;
                }
            }
        }
        changes.iter().rev().for_each(|changed| changed.apply(&mut words));
        words
    }

    /// Bytes that they take.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes + size_of_val(&self.latest[..])
    }
}
