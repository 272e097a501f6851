//! What is to be reached, and whether it is.

use crate::case::OURS;
use crate::results::{Figure, Suite, Unit};
use Suite::{Host, Kernel};
use Unit::{BytesPerFrame, InstructionsPerOp, LocksPerOp, NsPerOp, Percent};

/// A bound for one of our figures.
#[derive(Clone, Copy, Debug)]
pub struct Goal {
    suite: Suite,
    workload: &'static str,
    threads: usize,
    unit: Unit,
    /// The most that it may be; for blocks the least.
    pub bound: f64,
}

const fn goal(suite: Suite, workload: &'static str, threads: usize, unit: Unit, bound: f64) -> Goal {
    Goal { suite, workload, threads, unit, bound }
}

/// All goals, for page frames and for the heap. Where merges run to the top the same holds as elsewhere.
const GOALS: &[Goal] = &[
    goal(Host, "page-pair", 1, NsPerOp, 6.0),
    goal(Host, "page-pair", 1, InstructionsPerOp, 40.0),
    goal(Host, "page-pair", 2, NsPerOp, 7.0),
    goal(Host, "page-pair-top", 1, NsPerOp, 6.0),
    goal(Host, "page-pair-top", 1, InstructionsPerOp, 40.0),
    goal(Host, "page-batch64", 1, NsPerOp, 10.0),
    goal(Host, "page-batch64", 1, InstructionsPerOp, 50.0),
    goal(Host, "page-bulk-alloc", 1, NsPerOp, 5.0),
    goal(Host, "page-bulk-alloc", 1, InstructionsPerOp, 30.0),
    goal(Host, "page-bulk-free", 1, NsPerOp, 5.0),
    goal(Host, "page-bulk-free", 1, InstructionsPerOp, 30.0),
    goal(Host, "page-random-free", 1, NsPerOp, 10.0),
    goal(Host, "page-random-free", 1, InstructionsPerOp, 45.0),
    goal(Host, "page-random-alloc", 2, NsPerOp, 10.0),
    goal(Host, "page-cross-free", 2, NsPerOp, 25.0),
    goal(Host, "page-mixed", 1, NsPerOp, 12.0),
    goal(Host, "page-mixed", 1, InstructionsPerOp, 90.0),
    goal(Host, "page-order9-alloc", 1, NsPerOp, 8.0),
    goal(Host, "page-order9-alloc", 1, InstructionsPerOp, 60.0),
    goal(Host, "page-order9-free", 1, NsPerOp, 8.0),
    goal(Host, "page-order9-free", 1, InstructionsPerOp, 50.0),
    goal(Host, "page-metadata", 1, BytesPerFrame, 0.5),
    goal(Host, "frag-churn", 1, Percent, 252.0),
    goal(Host, "frag-unmovable", 1, Percent, 480.0),
    goal(Host, "frag-mixed", 1, Percent, 235.0),
    goal(Host, "heap-pair64", 1, NsPerOp, 4.0),
    goal(Host, "heap-pair64", 1, InstructionsPerOp, 40.0),
    goal(Host, "heap-pair64", 2, NsPerOp, 5.0),
    goal(Host, "heap-power", 1, NsPerOp, 9.0),
    goal(Host, "heap-power", 1, InstructionsPerOp, 80.0),
    goal(Host, "heap-power", 2, NsPerOp, 14.0),
    goal(Host, "heap-uniform", 1, NsPerOp, 20.0),
    goal(Host, "heap-uniform", 1, InstructionsPerOp, 85.0),
    goal(Host, "heap-bulk-alloc", 1, NsPerOp, 5.0),
    goal(Host, "heap-bulk-alloc", 1, InstructionsPerOp, 40.0),
    goal(Host, "heap-bulk-free", 1, NsPerOp, 5.0),
    goal(Host, "heap-bulk-free", 1, InstructionsPerOp, 27.0),
    goal(Host, "heap-remote-free", 2, NsPerOp, 35.0),
    goal(Host, "heap-overhead", 1, Percent, 12.0),
    goal(Kernel, "heap-pair64", 1, InstructionsPerOp, 60.0),
    goal(Kernel, "page-pair", 1, InstructionsPerOp, 60.0),
    goal(Kernel, "page-worst", 1, InstructionsPerOp, 800.0),
    goal(Kernel, "page-setup-1TiB", 1, InstructionsPerOp, 60e6),
    goal(Kernel, "smp-page-pair", 8, LocksPerOp, 0.0),
    goal(Kernel, "smp-page-alloc", 8, LocksPerOp, 1.0 / 32.0),
    goal(Kernel, "smp-page-free", 1, LocksPerOp, 1.0 / 32.0),
    goal(Kernel, "smp-page-free", 8, LocksPerOp, 1.0 / 32.0),
    goal(Kernel, "smp-page-bulk-alloc", 8, LocksPerOp, 1.0 / 32.0),
    goal(Kernel, "smp-page-bulk-free", 8, LocksPerOp, 1.0 / 32.0),
    goal(Kernel, "smp-heap-pair64", 8, LocksPerOp, 0.0),
];

impl Goal {
    /// The goal for a figure of ours, if there is one.
    pub fn of(figure: &Figure) -> Option<&'static Goal> {
        GOALS.iter().find(|goal| {
            figure.allocator == OURS
                && (goal.suite, goal.workload, goal.threads, goal.unit)
                    == (figure.suite, figure.workload.as_str(), figure.threads, figure.unit)
        })
    }

    /// Whether the figure reaches it. What was refused was not served: `page-mixed` must not have any of that.
    pub fn is_reached(&self, figure: &Figure) -> bool {
        match &figure.blocks {
            Some(blocks) => blocks.allocated as f64 >= self.bound,
            None => figure.value <= self.bound && figure.refused == 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::Blocks;

    #[test]
    fn a_goal_is_reached_from_its_own_side() {
        let pair = |value| Figure::instructions(Host, "page-pair", OURS, value, 0);
        let goal = Goal::of(&pair(1.0)).unwrap();
        assert!(goal.is_reached(&pair(40.0)) && !goal.is_reached(&pair(40.1)));
        assert!(!goal.is_reached(&Figure { refused: 1, ..pair(1.0) }));
        assert!(Goal::of(&Figure { allocator: "floor".into(), ..pair(1.0) }).is_none());

        let churn = |allocated| Figure {
            unit: Percent,
            workload: "frag-churn".into(),
            blocks: Some(Blocks { allocated, limit: 256, over_time: vec![] }),
            ..pair(0.0)
        };
        let goal = Goal::of(&churn(0)).unwrap();
        assert!(goal.is_reached(&churn(252)) && !goal.is_reached(&churn(251)));
    }
}
