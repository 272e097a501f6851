//! Every state of small machines, and every operation in each: breadth first, so that what leads to a failure is as short as it can be.
//!
//! Two states with the same [key](States::key) of 64 bits are taken for one: of ten million states that happens once in three hundred
//! thousand runs.

pub mod frames;
pub mod heap;

use std::collections::{HashSet, VecDeque};
use std::fmt::Debug;
use std::thread;

/// A machine whose states can be visited, in one of them.
pub trait States {
    /// Something that can be done.
    type Step: Copy + Debug;
    /// What it takes to return to a state.
    type State;

    /// A number that two states have in common if they are the same, and hardly otherwise.
    fn key(&self) -> u64;

    /// This state.
    fn state(&mut self) -> Self::State;

    /// Makes it this state, which is one of this machine's.
    fn return_to(&mut self, state: &Self::State);

    /// All that can be done in this state, refused or not.
    fn steps(&self) -> Vec<Self::Step>;

    /// Does it.
    ///
    /// # Panics
    /// If what comes back cannot be right.
    fn go(&mut self, step: Self::Step);

    /// Looks at everything that must hold in every state. That is another one afterwards.
    ///
    /// # Panics
    /// If something does not.
    fn check(&mut self);
}

/// How many states of a machine were visited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Explored {
    /// States, in each of which everything was checked.
    pub states: u64,
    /// Operations, each done in one of them.
    pub steps: u64,
    /// States that were found and are too many to go on from.
    pub left: u64,
}

/// How each state was come to: from which, by what. If a check fails, that is told.
struct Trail<S: Copy + Debug> {
    /// Of each state but the first, which is number 0.
    steps: Vec<(usize, S)>,
    at: usize,
    next: Option<S>,
}

impl<S: Copy + Debug> Trail<S> {
    fn path(&self) -> Vec<S> {
        let mut path: Vec<S> = self.next.into_iter().collect();
        let mut at = self.at;
        while let Some(before) = at.checked_sub(1) {
            let (from, step) = self.steps[before];
            path.push(step);
            at = from;
        }
        path.reverse();
        path
    }
}

impl<S: Copy + Debug> Drop for Trail<S> {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("the steps to it, each with its CPU: {:x?}", self.path());
        }
    }
}

/// Visits every state of a machine, but goes on from so many at most.
///
/// # Panics
/// In the first state in which something does not hold, with the way to it.
pub fn explore<M: States>(mut machine: M, most: usize) -> Explored {
    let mut known = HashSet::from([machine.key()]);
    let mut trail = Trail { steps: Vec::new(), at: 0, next: None };
    let mut queue = VecDeque::from([(0, machine.state())]);
    let mut explored = Explored { states: 1, ..Explored::default() };
    machine.check();
    while let Some((number, state)) = queue.pop_front() {
        machine.return_to(&state);
        for step in machine.steps() {
            (trail.at, trail.next) = (number, Some(step));
            machine.return_to(&state);
            machine.go(step);
            explored.steps += 1;
            if !known.insert(machine.key()) {
                continue;
            }
            explored.states += 1;
            if trail.steps.len() + 1 < most {
                trail.steps.push((number, step));
                queue.push_back((trail.steps.len(), machine.state()));
            } else {
                explored.left += 1;
            }
            machine.check();
        }
    }
    explored
}

/// All small machines, by name: how so many states of each, at most, are gone on from.
pub fn all() -> impl Iterator<Item = (&'static str, Box<dyn Fn(usize) -> Explored>)> {
    let frames = frames::SHAPES.iter().map(|shape| {
        let explore: Box<dyn Fn(usize) -> Explored> = Box::new(move |most| explore(frames::Machine::new(shape), most));
        (shape.name, explore)
    });
    let heaps = heap::SHAPES.iter().map(|shape| {
        let explore: Box<dyn Fn(usize) -> Explored> = Box::new(move |most| explore(heap::Machine::new(shape), most));
        (shape.name, explore)
    });
    frames.chain(heaps)
}
