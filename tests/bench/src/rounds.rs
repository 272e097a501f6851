//! Times: every allocator in turn, round after round, so that a busy moment of the machine meets them all.

use crate::case::{Case, HARNESS, Repeat};
use crate::meter::{Mode, Run, Value};
use crate::results::Figure;
use crate::thread::cpus;
use indicatif::ProgressBar;

/// Runs all cases. Those of one group of workloads stand next to each other.
pub fn run(cases: &[Case], mode: Mode, rounds: usize, bar: &ProgressBar) -> Vec<Figure> {
    let mut figures = Vec::new();
    for group in cases.chunk_by(|one, other| (one.workloads, one.repeat) == (other.workloads, other.repeat)) {
        let group: Vec<&Case> = group.iter().filter(|case| case.allocator != HARNESS).collect();
        let Some(first) = group.first() else { continue };
        for &threads in first.threads.iter().filter(|&&threads| threads <= cpus()) {
            let rounds = if first.repeat == Repeat::Once { 1 } else { rounds };
            figures.extend(run_group(&group, Run { mode, threads }, rounds, bar));
        }
    }
    figures
}

/// How many runs [`run`] will do.
pub fn count(cases: &[Case], rounds: usize) -> usize {
    let runs = |case: &Case| {
        let threads = case.threads.iter().filter(|&&threads| threads <= cpus()).count();
        threads * if case.repeat == Repeat::Once { 1 } else { rounds }
    };
    cases.iter().filter(|case| case.allocator != HARNESS).map(runs).sum()
}

fn run_group(group: &[&Case], run: Run, rounds: usize, bar: &ProgressBar) -> Vec<Figure> {
    let mut values: Vec<Vec<(&'static str, Value)>> = vec![Vec::new(); group.len()];
    for round in 0..rounds {
        for turn in 0..group.len() {
            // Nobody is always first, nor always behind the same one.
            let place = (turn + round) % group.len();
            let case = group[if round % 2 == 0 { place } else { group.len() - 1 - place }];
            let threads = if run.threads == 1 { "1 thread".to_owned() } else { format!("{} threads", run.threads) };
            bar.set_message(format!("{}, {threads}: {}", case.workloads[0], case.allocator));
            let nth = group.iter().position(|other| other.allocator == case.allocator).expect("it is one of them");
            values[nth].extend((case.run)(run).into_iter().map(|measured| (measured.workload, measured.value)));
            bar.inc(1);
        }
    }
    let mut figures = Vec::new();
    for (case, values) in group.iter().zip(values) {
        for workload in case.workloads {
            let rounds: Vec<Value> =
                values.iter().filter(|(name, _)| name == workload).map(|(_, value)| value.clone()).collect();
            if !rounds.is_empty() {
                figures.push(Figure::of_rounds(workload, case.allocator, run.threads, &rounds));
            }
        }
    }
    figures
}
