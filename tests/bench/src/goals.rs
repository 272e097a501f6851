//! What is to be reached, and whether it is.
//!
//! A goal has two bounds: what must be, and what was dreamt of. Each is met or missed, and nothing in between.

use crate::case::{FLOOR, HARNESS, OURS};
use crate::results::{Figure, Suite, Unit};
use Suite::{Host, Kernel};
use Unit::{BytesPerFrame, InstructionsPerOp, LocksPerOp, NsPerOp, Percent};

/// What a goal is about: one of our figures.
type Subject = (Suite, &'static str, usize, Unit);

/// A bound for a figure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bound {
    /// It may be so much.
    Most(f64),
    /// So many blocks there must be, or so much of a region must be live.
    Least(f64),
    /// A time may be so much of the best peer's.
    OfBestPeer(f64),
    /// A time or a count of instructions may be so much of this peer's.
    OfPeer(&'static str, f64),
}
use Bound::{Least, Most, OfBestPeer, OfPeer};

/// The peer that the heap's times are held against, and the one that the kernel's instructions are.
const MIMALLOC: &str = "mimalloc";
const TALC: &str = "talc";

/// What is wanted of one of our figures.
#[derive(Clone, Copy, Debug)]
pub struct Goal {
    subject: Subject,
    /// What it has to be.
    pub must: Bound,
    /// What it would be at its best.
    pub moonshot: Option<Bound>,
}

/// What became of a bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Met,
    Missed,
    /// What it is about was not measured.
    Open,
}

const fn goal(subject: Subject, must: Bound) -> Goal {
    Goal { subject, must, moonshot: None }
}

const fn goals(subject: Subject, must: Bound, moonshot: Bound) -> Goal {
    Goal { subject, must, moonshot: Some(moonshot) }
}

const fn instructions(workload: &'static str, must: f64, moonshot: f64) -> Goal {
    goals((Host, workload, 1, InstructionsPerOp), Most(must), Most(moonshot))
}

/// At most as much time as the best peer takes.
const fn time(workload: &'static str) -> Goal {
    goal((Host, workload, 1, NsPerOp), OfBestPeer(1.0))
}

const fn time_of_two(workload: &'static str) -> Goal {
    goals((Host, workload, 2, NsPerOp), OfBestPeer(1.0), OfBestPeer(1.0 / 3.0))
}

/// A heap's instructions.
const fn heap(workload: &'static str, must: f64) -> Goal {
    goal((Host, workload, 1, InstructionsPerOp), Most(must))
}

/// A heap's time, which may be so much of mimalloc's.
const fn heap_time(workload: &'static str, threads: usize, must: f64) -> Goal {
    goals((Host, workload, threads, NsPerOp), OfPeer(MIMALLOC, must), OfPeer(MIMALLOC, 1.0))
}

/// A heap's instructions for what a program asked of it, which are to be at most mimalloc's.
const fn traced(workload: &'static str) -> Goal {
    goal((Host, workload, 1, InstructionsPerOp), OfPeer(MIMALLOC, 1.0))
}

/// What a heap takes over what is live, in percent.
const fn overhead(workload: &'static str, must: f64) -> Goal {
    goal((Host, workload, 1, Percent), Most(must))
}

/// What a region must hold, in percent.
const fn region(workload: &'static str, must: f64) -> Goal {
    goal((Host, workload, 1, Percent), Least(must))
}

const fn kernel(workload: &'static str, must: f64) -> Goal {
    goal((Kernel, workload, 1, InstructionsPerOp), Most(must))
}

/// A heap's in the kernel, where its instructions are to be fewer than talc's one day.
const fn kernel_heap(workload: &'static str, must: f64) -> Goal {
    goals((Kernel, workload, 1, InstructionsPerOp), Most(must), OfPeer(TALC, 1.0))
}

const fn of_cpus(workload: &'static str, cpus: usize, unit: Unit, must: f64) -> Goal {
    goal((Kernel, workload, cpus, unit), Most(must))
}

/// All goals. Where merges run to the top the same holds as elsewhere.
const GOALS: &[Goal] = &[
    // Page frames, on the host.
    instructions("page-pair", 56.0, 40.0),
    instructions("page-pair-top", 56.0, 40.0),
    instructions("page-batch64", 58.0, 45.0),
    instructions("page-bulk-alloc", 36.0, 30.0),
    time("page-bulk-alloc"),
    instructions("page-bulk-free", 70.0, 30.0),
    time("page-bulk-free"),
    instructions("page-random-free", 70.0, 45.0),
    time("page-random-free"),
    instructions("page-mixed", 200.0, 90.0),
    time("page-mixed"),
    instructions("page-order9-alloc", 70.0, 40.0),
    time("page-order9-alloc"),
    instructions("page-order9-free", 70.0, 40.0),
    time("page-order9-free"),
    time_of_two("page-pair"),
    time_of_two("page-random-free"),
    time_of_two("page-cross-free"),
    time_of_two("page-mixed"),
    time_of_two("page-order9-alloc"),
    time_of_two("page-order9-free"),
    goals((Host, "page-metadata", 1, BytesPerFrame), Most(0.45), Most(0.33)),
    goals((Host, "frag-churn", 1, Percent), Least(254.0), Least(256.0)),
    goals((Host, "frag-unmovable", 1, Percent), Least(488.0), Least(488.0)),
    goals((Host, "frag-mixed", 1, Percent), Least(238.0), Least(244.0)),
    goal((Host, "page-single-median", 1, InstructionsPerOp), Most(240.0)),
    goal((Host, "page-single-p99", 1, InstructionsPerOp), Most(1250.0)),
    goal((Host, "page-worst", 1, InstructionsPerOp), Most(1451.0)),
    // Page frames, in the kernel.
    goals((Kernel, "page-pair", 1, InstructionsPerOp), Most(75.0), Most(60.0)),
    kernel("page-random-free", 110.0),
    kernel("page-mixed", 250.0),
    kernel("page-order9-alloc", 105.0),
    kernel("page-order9-free", 100.0),
    goals((Kernel, "page-worst", 1, InstructionsPerOp), Most(1400.0), Most(800.0)),
    kernel("page-setup-1TiB", 14e6),
    of_cpus("smp-page-pair", 8, LocksPerOp, 0.0),
    of_cpus("smp-page-cross-free", 1, InstructionsPerOp, 120.0),
    of_cpus("smp-page-cross-free", 2, InstructionsPerOp, 120.0),
    of_cpus("smp-page-cross-free", 4, InstructionsPerOp, 120.0),
    of_cpus("smp-page-cross-free", 8, InstructionsPerOp, 120.0),
    // The heap, on the host.
    heap("heap-pair64", 60.0),
    heap_time("heap-pair64", 1, 1.6),
    heap("heap-power", 125.0),
    heap_time("heap-power", 1, 1.5),
    heap("heap-uniform", 162.0),
    heap_time("heap-uniform", 1, 1.0),
    heap("heap-bulk-alloc", 29.0),
    heap_time("heap-bulk-alloc", 1, 1.0),
    heap("heap-bulk-free", 44.0),
    heap_time("heap-bulk-free", 1, 1.0),
    heap("heap-big", 200.0),
    heap_time("heap-big", 1, 1.5),
    heap_time("heap-remote-free", 2, 1.0),
    traced("heap-trace-gcc"),
    heap_time("heap-trace-gcc", 1, 1.0),
    overhead("heap-trace-gcc", 18.0),
    traced("heap-trace-python"),
    heap_time("heap-trace-python", 1, 1.0),
    overhead("heap-trace-python", 26.0),
    traced("heap-trace-sqlite"),
    heap_time("heap-trace-sqlite", 1, 1.0),
    overhead("heap-trace-sqlite", 14.0),
    traced("heap-trace-rustc"),
    heap_time("heap-trace-rustc", 1, 1.0),
    overhead("heap-trace-rustc", 7.0),
    overhead("heap-overhead", 20.0),
    region("heap-region-64k-to-1k", 75.0),
    region("heap-region-256k-to-1k", 76.0),
    region("heap-region-2m-to-74k", 82.0),
    region("heap-region-8m-to-74k", 86.0),
    region("heap-region-64m-of-33000", 98.34),
    // The heap, in the kernel.
    kernel_heap("heap-pair64", 80.0),
    kernel_heap("heap-power", 162.0),
    kernel_heap("heap-uniform", 215.0),
    kernel_heap("heap-bulk-free", 53.0),
    goals((Kernel, "heap-worst", 1, InstructionsPerOp), Most(4000.0), Most(800.0)),
    goals((Kernel, "heap-worst-later", 1, InstructionsPerOp), Most(2000.0), Most(800.0)),
    of_cpus("smp-heap-remote-free", 2, InstructionsPerOp, 225.0),
    of_cpus("smp-heap-remote-free", 4, InstructionsPerOp, 225.0),
    of_cpus("smp-heap-remote-free", 8, InstructionsPerOp, 225.0),
];

impl Goal {
    /// The goal for a figure of ours, if there is one.
    pub fn of(figure: &Figure) -> Option<&'static Goal> {
        GOALS.iter().find(|goal| goal.is_about(figure))
    }

    /// Goals of workloads and places that were measured, but not in the unit or with the threads that the goal is about.
    pub fn unmeasured(figures: &[Figure]) -> Vec<&'static Goal> {
        let is_near = |goal: &Goal, figure: &Figure| {
            figure.allocator == OURS && (goal.subject.0, goal.subject.1) == (figure.suite, figure.workload.as_str())
        };
        let is_open = |goal: &&Goal| {
            figures.iter().any(|figure| is_near(goal, figure)) && !figures.iter().any(|figure| goal.is_about(figure))
        };
        GOALS.iter().filter(is_open).collect()
    }

    fn is_about(&self, figure: &Figure) -> bool {
        let (suite, workload, threads, unit) = self.subject;
        figure.allocator == OURS
            && (suite, workload, threads, unit) == (figure.suite, figure.workload.as_str(), figure.threads, figure.unit)
    }

    /// What it is about, in words.
    pub fn title(&self) -> String {
        let (suite, workload, threads, unit) = self.subject;
        let place = if suite == Kernel { "kernel: " } else { "" };
        let threads = if threads == 1 { String::new() } else { format!(", {threads} at once") };
        format!("{place}{workload}{threads}, {}", unit.name())
    }
}

impl Bound {
    /// Whether the figure keeps it, whose peers these are. What was refused was not served: `page-mixed` must not have any of
    /// that.
    pub fn verdict(self, figure: &Figure, peers: &[&Figure]) -> Verdict {
        let keeps = match self {
            Most(bound) => Some(figure.value <= bound && figure.refused == 0),
            Least(bound) => {
                let reached = figure.blocks.as_ref().map(|blocks| blocks.allocated as f64);
                reached.or(figure.is_of_region().then_some(figure.value)).map(|reached| reached >= bound)
            }
            OfBestPeer(bound) => figure.time_ratio(peers).map(|ratio| ratio <= bound && figure.refused == 0),
            OfPeer(name, bound) => peers.iter().find(|peer| peer.allocator == name).and_then(|peer| {
                let ratio = if figure.unit == NsPerOp {
                    figure.time_ratio(&[*peer])
                } else {
                    (peer.value > 0.0).then(|| figure.value / peer.value)
                };
                ratio.map(|ratio| ratio <= bound && figure.refused == 0)
            }),
        };
        match keeps {
            Some(true) => Verdict::Met,
            Some(false) => Verdict::Missed,
            None => Verdict::Open,
        }
    }
}

/// The peers that a figure of ours is compared with, in the same measurement. One that refuses what others grant is not
/// faster than they are.
pub fn peers<'a>(figures: &'a [Figure], ours: &Figure) -> Vec<&'a Figure> {
    let is_peer = |figure: &&Figure| {
        ![OURS, FLOOR, HARNESS].contains(&figure.allocator.as_str())
            && figure.refused <= ours.refused
            && figure.is_same_measurement(ours)
    };
    figures.iter().filter(is_peer).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meter::Value;
    use crate::results::Blocks;
    use std::time::Duration;

    #[test]
    fn a_goal_is_reached_from_its_own_side() {
        let pair = |value| Figure::instructions(Host, "page-pair", OURS, value, 0);
        let goal = Goal::of(&pair(1.0)).unwrap();
        assert_eq!(goal.must.verdict(&pair(56.0), &[]), Verdict::Met);
        assert_eq!(goal.must.verdict(&pair(56.1), &[]), Verdict::Missed);
        assert_eq!(goal.moonshot.unwrap().verdict(&pair(56.0), &[]), Verdict::Missed);
        assert_eq!(goal.must.verdict(&Figure { refused: 1, ..pair(1.0) }, &[]), Verdict::Missed);
        assert!(Goal::of(&Figure { allocator: "floor".into(), ..pair(1.0) }).is_none());

        let churn = |allocated| Figure {
            unit: Percent,
            workload: "frag-churn".into(),
            blocks: Some(Blocks { allocated, limit: 256, over_time: vec![] }),
            ..pair(0.0)
        };
        let goal = Goal::of(&churn(0)).unwrap();
        assert_eq!(goal.must.verdict(&churn(254), &[]), Verdict::Met);
        assert_eq!(goal.must.verdict(&churn(253), &[]), Verdict::Missed);
        assert_eq!(goal.moonshot.unwrap().verdict(&churn(255), &[]), Verdict::Missed);
    }

    fn times(allocator: &str, ns: &[u64], refused: u64) -> Figure {
        let round = |ns: &u64| Value::Operations { count: 1, time: Duration::from_nanos(*ns), refused };
        Figure::of_rounds("page-mixed", allocator, 2, &ns.iter().map(round).collect::<Vec<_>>())
    }

    #[test]
    fn a_time_is_judged_by_its_ratio_to_the_best_peer() {
        let figures = [
            times(OURS, &[10, 20, 30], 0),
            times("peer", &[30, 60, 90], 0),
            times("refuses", &[1, 1, 1], 1),
            times(FLOOR, &[1, 1, 1], 0),
        ];
        let ours = &figures[0];
        let (goal, peers) = (Goal::of(ours).unwrap(), peers(&figures, ours));
        assert_eq!(peers, [&figures[1]]);
        assert_eq!(goal.must.verdict(ours, &peers), Verdict::Met);
        assert_eq!(goal.moonshot.unwrap().verdict(ours, &peers), Verdict::Met);
        let slower = times(OURS, &[31, 61, 80], 0);
        assert_eq!(goal.must.verdict(&slower, &peers), Verdict::Missed);
        assert_eq!(goal.must.verdict(ours, &[]), Verdict::Open, "nobody to compare with");
    }

    #[test]
    fn a_bound_by_one_peer_asks_that_peer_alone() {
        let named = |workload: &str, figure: Figure| Figure { workload: workload.into(), ..figure };
        let figures = [
            named("heap-power", times(OURS, &[15, 30, 45], 0)),
            named("heap-power", times(MIMALLOC, &[10, 20, 30], 0)),
            named("heap-power", times("faster", &[1, 1, 1], 0)),
        ]
        .map(|figure| Figure { threads: 1, ..figure });
        let goal = Goal::of(&figures[0]).unwrap();
        assert_eq!(goal.must.verdict(&figures[0], &[&figures[1], &figures[2]]), Verdict::Met);
        assert_eq!(goal.moonshot.unwrap().verdict(&figures[0], &[&figures[1], &figures[2]]), Verdict::Missed);
        assert_eq!(goal.must.verdict(&figures[0], &[&figures[2]]), Verdict::Open, "it was not measured");
        let slower = Figure { rounds: vec![16.0, 31.0, 46.0], ..figures[0].clone() };
        assert_eq!(goal.must.verdict(&slower, &[&figures[1]]), Verdict::Missed);

        let counted = |allocator, value| Figure::instructions(Host, "heap-trace-gcc", allocator, value, 0);
        let goal = Goal::of(&counted(OURS, 1.0)).unwrap();
        assert_eq!(goal.must.verdict(&counted(OURS, 106.0), &[&counted(MIMALLOC, 106.0)]), Verdict::Met);
        assert_eq!(goal.must.verdict(&counted(OURS, 106.1), &[&counted(MIMALLOC, 106.0)]), Verdict::Missed);
    }

    #[test]
    fn more_of_a_region_is_better() {
        let held = |allocator, live| {
            Figure::of_rounds("heap-region-2m-to-74k", allocator, 1, &[Value::Held { live, room: 2 << 20 }])
        };
        let goal = Goal::of(&held(OURS, 0)).unwrap();
        assert_eq!(goal.must.verdict(&held(OURS, 1_719_665), &[]), Verdict::Met);
        assert_eq!(goal.must.verdict(&held(OURS, 1_719_664), &[]), Verdict::Missed);
    }

    #[test]
    fn what_was_not_measured_is_told_of() {
        let figures = [times(OURS, &[10], 0)];
        let titles: Vec<String> = Goal::unmeasured(&figures).into_iter().map(Goal::title).collect();
        assert_eq!(titles, ["page-mixed, instructions/op", "page-mixed, ns/op"]);
    }

    #[test]
    fn no_figure_has_two_goals() {
        for (nth, goal) in GOALS.iter().enumerate() {
            assert!(GOALS[..nth].iter().all(|other| other.subject != goal.subject), "{}", goal.title());
        }
    }
}
