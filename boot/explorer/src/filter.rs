//! Which operations are gone to: all, or those of a CPU or of a kind.

use alloc::vec::Vec;

use bifolio::allocator::Call;
use replay::{Last, World};

use crate::app::App;

/// What kind an operation is of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Frames were asked for.
    Allocation,
    /// Frames were given back.
    Free,
    /// It was about an object on the heap.
    Object,
    /// It was anything else.
    Other,
    /// It was refused, whatever it was.
    Refused,
}

impl Kind {
    /// All, in the order of the page's menu.
    pub const ALL: [Self; 5] = [Self::Allocation, Self::Free, Self::Object, Self::Other, Self::Refused];

    /// Whether an operation is of this kind.
    fn is_of(self, last: &Last) -> bool {
        let kind = match last.call {
            Call::Allocate { .. }
            | Call::AllocateExact { .. }
            | Call::AllocateContiguous { .. }
            | Call::AllocateRun { .. }
            | Call::AllocateRange { .. } => Self::Allocation,
            Call::Free { .. } => Self::Free,
            Call::Heap(_) => Self::Object,
            _ => Self::Other,
        };
        if self == Self::Refused { last.returned.is_none() } else { self == kind }
    }
}

/// What an operation has to be to be gone to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Filter {
    /// Done by this CPU.
    pub cpu: Option<usize>,
    /// Of this kind.
    pub kind: Option<Kind>,
}

/// The moments right behind the operations that a filter lets through, as they were when they were last looked for.
#[derive(Debug, Default)]
pub(crate) struct Moments {
    filter: Filter,
    all: Option<Vec<u64>>,
}

impl Moments {
    /// They are to be looked for again.
    pub(crate) fn forget(&mut self) {
        self.all = None;
    }

    fn of(&mut self, world: &World) -> &[u64] {
        let Filter { cpu, kind } = self.filter;
        self.all.get_or_insert_with(|| {
            let mut all = Vec::new();
            world.for_each_operation_until(world.total(), |number, within, last| {
                let is_it = cpu.is_none_or(|cpu| cpu == last.cpu) && kind.is_none_or(|kind| kind.is_of(&last));
                if within.is_empty() && is_it {
                    all.push(number + 1);
                }
            });
            all
        })
    }
}

impl App {
    /// Lets only such operations be gone to.
    pub fn set_filter(&mut self, filter: Filter) {
        self.moments = Moments { filter, all: None };
    }

    /// How many operations there are to go to.
    pub fn matching(&mut self) -> u64 {
        if self.moments.filter == Filter::default() {
            return self.world.total();
        }
        self.moments.of(&self.world).len() as u64
    }

    /// The moment so many of those operations on, or back; of fewer the last, and `None` if there are none.
    pub fn next(&mut self, steps: i64) -> Option<u64> {
        let now = self.world.operation();
        if self.moments.filter == Filter::default() {
            let next = now.saturating_add_signed(steps).min(self.world.total());
            return (next != now).then_some(next);
        }
        let all = self.moments.of(&self.world);
        if steps >= 0 {
            let left = &all[all.partition_point(|moment| *moment <= now)..];
            left.get((steps.unsigned_abs() as usize).clamp(1, left.len().max(1)) - 1).copied()
        } else {
            let left = &all[..all.partition_point(|moment| *moment < now)];
            left.get(left.len().saturating_sub(steps.unsigned_abs() as usize)).copied()
        }
    }
}
