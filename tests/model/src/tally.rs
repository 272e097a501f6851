//! What was done, counted: a run that has seen no refusal, or no bad free of a kind, has shown nothing about it.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::AddAssign;

/// Counts by name, in groups.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Tally {
    counts: BTreeMap<(&'static str, &'static str), u64>,
}

impl Tally {
    /// Counts one more.
    pub fn count(&mut self, group: &'static str, name: &'static str) {
        *self.counts.entry((group, name)).or_default() += 1;
    }

    /// How many there were.
    pub fn of(&self, group: &'static str, name: &'static str) -> u64 {
        self.counts.get(&(group, name)).copied().unwrap_or(0)
    }

    /// How many there were of all names of a group.
    pub fn all(&self, group: &'static str) -> u64 {
        self.counts.iter().filter(|((of, _), _)| *of == group).map(|(_, count)| count).sum()
    }
}

impl AddAssign<&Tally> for Tally {
    fn add_assign(&mut self, other: &Tally) {
        for (name, count) in &other.counts {
            *self.counts.entry(*name).or_default() += count;
        }
    }
}

/// A line for each group.
impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut group = "";
        for ((of, name), count) in &self.counts {
            if *of != group {
                write!(f, "{}{of}: {} in all", if group.is_empty() { "" } else { "\n" }, self.all(of))?;
                group = of;
            }
            write!(f, ", {count} {name}")?;
        }
        Ok(())
    }
}
