//! What was measured, and the file that says so.

use crate::meter::Value;
use anyhow::{Context, Result};
use serde::{Serialize, Serializer};
use std::fs;
use std::path::Path;

/// What a figure counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unit {
    /// Time, on each thread.
    NsPerOp,
    /// Instructions; with several CPUs, of all together.
    InstructionsPerOp,
    /// Locks taken, by all CPUs together.
    LocksPerOp,
    /// Metadata.
    BytesPerFrame,
    /// For blocks, of what a perfect allocator would have given; for a region, how much of it is live; for memory, how much more
    /// than what is live.
    Percent,
    /// Time of a whole program.
    Seconds,
    /// Memory of a whole program, at its peak.
    MiB,
}

impl Unit {
    /// As in the results' file.
    pub fn name(self) -> &'static str {
        match self {
            Self::NsPerOp => "ns/op",
            Self::InstructionsPerOp => "instructions/op",
            Self::LocksPerOp => "locks/op",
            Self::BytesPerFrame => "bytes/frame",
            Self::Percent => "percent",
            Self::Seconds => "s",
            Self::MiB => "MiB",
        }
    }
}

impl Serialize for Unit {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// Where a figure was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Suite {
    /// In a process.
    Host,
    /// In a booted kernel.
    Kernel,
    /// As the C library's heap of programs that know nothing of it.
    Programs,
}

/// One figure, as it stands in the file; what the file has no field for is for the tables and plots.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Figure {
    /// Where it was measured.
    pub suite: Suite,
    /// The workload's name.
    pub workload: String,
    /// The allocator's name.
    pub allocator: String,
    /// How many threads, or CPUs of the kernel's, did it.
    pub threads: usize,
    /// What `value` counts.
    pub unit: Unit,
    /// The median of all rounds.
    pub value: f64,
    /// The lowest and the highest round.
    #[serde(skip)]
    pub spread: (f64, f64),
    /// How many requests were refused, in all rounds.
    #[serde(skip)]
    pub refused: u64,
    /// For blocks of 2 MiB: how many there were, of how many, and how many over time.
    #[serde(skip)]
    pub blocks: Option<Blocks>,
    /// For instructions of ours: in which functions they are.
    #[serde(skip)]
    pub profile: Profile,
    /// For times: what each round came to, in the order of rounds.
    #[serde(skip)]
    pub rounds: Vec<f64>,
}

/// Functions and how many instructions of an operation are theirs, most first.
pub type Profile = Vec<(String, f64)>;

/// How many blocks of 2 MiB there were.
#[derive(Clone, Debug, PartialEq)]
pub struct Blocks {
    /// Allocated in the end.
    pub allocated: u64,
    /// What a perfect allocator would have given.
    pub limit: u64,
    /// Without an allocated frame, at equal distances in time.
    pub over_time: Vec<u64>,
}

impl Figure {
    /// Sums the rounds of one case up. There is at least one.
    pub fn of_rounds(workload: &str, allocator: &str, threads: usize, rounds: &[Value]) -> Self {
        let (mut values, mut refused_in_all, mut seen) = (Vec::new(), 0, None);
        let mut unit = Unit::NsPerOp;
        for round in rounds {
            values.push(match round {
                Value::Operations { count, time, refused } => {
                    refused_in_all += refused;
                    time.as_nanos() as f64 / (*count).max(1) as f64
                }
                Value::BytesPerFrame(bytes) => {
                    unit = Unit::BytesPerFrame;
                    *bytes
                }
                Value::Overhead { live, taken, refused } => {
                    unit = Unit::Percent;
                    refused_in_all += refused;
                    100.0 * (*taken as f64 / *live as f64 - 1.0)
                }
                Value::Held { live, room } => {
                    unit = Unit::Percent;
                    100.0 * *live as f64 / *room as f64
                }
                Value::Blocks { allocated, limit, over_time } => {
                    unit = Unit::Percent;
                    seen = Some(Blocks { allocated: *allocated, limit: *limit, over_time: over_time.clone() });
                    100.0 * *allocated as f64 / *limit as f64
                }
            });
        }
        let rounds = if unit == Unit::NsPerOp { values.clone() } else { Vec::new() };
        values.sort_by(f64::total_cmp);
        let (workload, allocator) = (workload.to_owned(), allocator.to_owned());
        Self {
            suite: Suite::Host,
            workload,
            allocator,
            threads,
            unit,
            value: median(&values),
            spread: (values[0], values[values.len() - 1]),
            refused: refused_in_all,
            blocks: seen,
            profile: Vec::new(),
            rounds,
        }
    }

    /// Whether it says how much of a region is live: the more, the better.
    pub fn is_of_region(&self) -> bool {
        self.workload.starts_with("heap-region-")
    }

    /// Whether both are of one workload, in the same place, with as many threads and in the same unit.
    pub fn is_same_measurement(&self, other: &Self) -> bool {
        let key = |figure: &Self| (figure.suite, figure.threads, figure.unit);
        key(self) == key(other) && self.workload == other.workload
    }

    /// How long it takes in proportion to the fastest of the peers: the median of what it is in each round, each with the peer
    /// that was the fastest in it. What ran in one round met the same machine.
    pub fn time_ratio(&self, peers: &[&Figure]) -> Option<f64> {
        let fastest =
            |round: usize| peers.iter().filter_map(|peer| peer.rounds.get(round)).copied().min_by(f64::total_cmp);
        let rounds = self.rounds.iter().enumerate();
        let mut ratios: Vec<f64> = rounds.filter_map(|(round, own)| Some(own / fastest(round)?)).collect();
        ratios.sort_by(f64::total_cmp);
        (!ratios.is_empty()).then(|| median(&ratios))
    }

    /// A count of what so many CPUs did at once, in the kernel.
    pub fn of_cpus(workload: &str, allocator: &str, cpus: usize, unit: Unit, value: f64) -> Self {
        Self { threads: cpus, unit, ..Self::instructions(Suite::Kernel, workload, allocator, value, 0) }
    }

    /// A count of instructions, which is the same each time.
    pub fn instructions(suite: Suite, workload: &str, allocator: &str, value: f64, refused: u64) -> Self {
        let (workload, allocator) = (workload.to_owned(), allocator.to_owned());
        let unit = Unit::InstructionsPerOp;
        Self {
            suite,
            workload,
            allocator,
            threads: 1,
            unit,
            value,
            spread: (value, value),
            refused,
            blocks: None,
            profile: Vec::new(),
            rounds: Vec::new(),
        }
    }
}

/// The middle of sorted values.
fn median(sorted: &[f64]) -> f64 {
    let half = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[half] } else { (sorted[half - 1] + sorted[half]) / 2.0 }
}

/// Writes the figures as JSON.
///
/// # Errors
/// The file cannot be written.
pub fn write(figures: &[Figure], path: &Path) -> Result<()> {
    let text = serde_json::to_string_pretty(figures)? + "\n";
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn round(ns: u64) -> Value {
        Value::Operations { count: 10, time: Duration::from_nanos(ns), refused: 1 }
    }

    #[test]
    fn the_median_stands_for_the_rounds() {
        let figure = Figure::of_rounds("page-pair", "bifolio", 1, &[round(50), round(10), round(20)]);
        assert_eq!((figure.value, figure.spread, figure.refused), (2.0, (1.0, 5.0), 3));
        let figure = Figure::of_rounds("page-pair", "bifolio", 1, &[round(50), round(10), round(20), round(40)]);
        assert_eq!(figure.value, 3.0);
    }

    #[test]
    fn a_ratio_is_the_median_of_those_to_the_fastest_in_each_round() {
        let times = |allocator, ns: [u64; 3]| Figure::of_rounds("page-pair", allocator, 1, &ns.map(round));
        let ours = times("bifolio", [100, 200, 300]);
        let peers = [times("one", [100, 400, 100]), times("other", [400, 100, 400])];
        assert_eq!(ours.time_ratio(&peers.each_ref()), Some(2.0));
        assert_eq!(ours.time_ratio(&[&peers[0]]), Some(1.0));
        assert_eq!(ours.time_ratio(&[]), None);
    }

    #[test]
    fn a_figure_has_the_fields_that_the_format_names() {
        let figure = Figure::instructions(Suite::Host, "page-pair", "bifolio", 1.25, 0);
        let json = serde_json::to_value(&figure).unwrap();
        let expected = serde_json::json!({
            "suite": "host", "workload": "page-pair", "allocator": "bifolio", "threads": 1,
            "unit": "instructions/op", "value": 1.25
        });
        assert_eq!(json, expected);
    }
}
