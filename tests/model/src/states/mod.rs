//! Every state of small machines, and every operation in each: breadth first, so that what leads to a failure is as short as it can be.
//!
//! A state is all that the allocator does next depends on: every word of its metadata, its zones and its CPUs' pages, as
//! [`hash_of_state`](bifolio::allocator::View::hash_of_state) has it, and which blocks are allocated. Two states with the same 64
//! bits are taken for one: of ten million states that happens once in three hundred thousand runs.

mod machine;
mod memory;
mod shapes;

use std::collections::{HashSet, VecDeque};
use std::thread;

use machine::{Machine, Operation, State, Step};
pub use shapes::{SHAPES, Shape};

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
struct Trail {
    steps: Vec<(usize, Step)>,
    at: usize,
    next: Option<Step>,
}

impl Trail {
    fn path(&self) -> Vec<Step> {
        let mut path: Vec<Step> = self.next.into_iter().collect();
        let mut at = self.at;
        while at > 0 {
            path.push(self.steps[at].1);
            at = self.steps[at].0;
        }
        path.reverse();
        path
    }
}

impl Drop for Trail {
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
pub fn explore(shape: &'static Shape, most: usize) -> Explored {
    let mut machine = Machine::new(shape);
    let mut known = HashSet::from([machine.key()]);
    let mut trail = Trail { steps: vec![(0, (0, Operation::Drain))], at: 0, next: None };
    let mut queue: VecDeque<(usize, State)> = VecDeque::from([(0, machine.state())]);
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
            if trail.steps.len() < most {
                queue.push_back((trail.steps.len(), machine.state()));
                trail.steps.push((number, step));
            } else {
                explored.left += 1;
            }
            machine.check();
        }
    }
    explored
}
