//! A case: one group of workloads that are measured in one run, with one allocator.

use crate::meter::{Measured, Run};

/// What the harness measures of itself, in place of an allocator.
pub const HARNESS: &str = "(harness)";
/// The limit: no allocator, and no peer.
pub const FLOOR: &str = "floor";
/// Ours.
pub const OURS: &str = "bifolio";

/// See the module.
#[derive(Clone, Debug)]
pub struct Case {
    /// The workloads that a run measures.
    pub workloads: &'static [&'static str],
    /// With how many threads it can be run.
    pub threads: &'static [usize],
    /// How often it is run.
    pub repeat: Repeat,
    /// Whether its instructions can be counted.
    pub is_countable: bool,
    /// The allocator's name.
    pub allocator: &'static str,
    /// Does it.
    pub run: fn(Run) -> Vec<Measured>,
}

/// How often a case is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    /// Once in each round: it takes time, which differs.
    EveryRound,
    /// Once: what comes out is the same each time.
    Once,
}

/// Whether a name contains one of the filters, or there is none.
pub fn is_named(name: &str, filters: &[String]) -> bool {
    filters.is_empty() || filters.iter().any(|filter| name.contains(filter.as_str()))
}
