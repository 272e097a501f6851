//! What LLVM says of a file: places from which on something was run so often. Lines are made of them as LLVM's own reports make them.

use std::collections::BTreeMap;
use std::ops::AddAssign;

use anyhow::{Context, Result};
use serde_json::Value;

/// How many there are of something, and how many of them were run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// How many there are.
    pub all: usize,
    /// How many of them were run.
    pub run: usize,
}

impl Tally {
    fn of(each: impl Iterator<Item = bool>) -> Self {
        each.fold(Self::default(), |tally, is_run| Self { all: tally.all + 1, run: tally.run + usize::from(is_run) })
    }

    /// How many of a hundred were run; of nothing, all.
    pub fn percent(self) -> f64 {
        if self.all == 0 { 100.0 } else { 100.0 * self.run as f64 / self.all as f64 }
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.all += other.all;
        self.run += other.run;
    }
}

/// What was run of a file.
#[derive(Debug, Default)]
pub struct Coverage {
    /// By number, whether a line that has code was run.
    pub lines: BTreeMap<usize, bool>,
    /// By line and column, whether a piece of code was run, of which all is run or nothing.
    regions: BTreeMap<[u64; 2], bool>,
    /// By the condition's place, whether it was true, and whether it was false.
    branches: BTreeMap<[u64; 4], [bool; 2]>,
}

/// From here on, code was run so often.
struct Segment {
    line: usize,
    column: u64,
    count: u64,
    has_count: bool,
    is_entry: bool,
    is_gap: bool,
}

impl Segment {
    /// Of `[line, column, count, has count, is a region's beginning, is a gap]`.
    fn new(value: &Value) -> Option<Self> {
        let is = |index| value.get(index).and_then(Value::as_bool);
        Some(Self {
            line: value.get(0)?.as_u64()? as usize,
            column: value.get(1)?.as_u64()?,
            count: value.get(2)?.as_u64()?,
            has_count: is(3)?,
            is_entry: is(4)?,
            is_gap: is(5)?,
        })
    }

    fn begins_region(&self) -> bool {
        self.is_entry && self.has_count && !self.is_gap
    }
}

impl Coverage {
    /// That of a file, as `llvm-cov export` has it, but for the lines that `is_left_out` names.
    ///
    /// # Errors
    /// If it has another form than LLVM's format of version 2.
    pub fn new(file: &Value, is_left_out: impl Fn(usize) -> bool) -> Result<Self> {
        let list = |key| file.get(key).and_then(Value::as_array).with_context(|| format!("a file without {key}"));
        let segments = list("segments")?.iter().map(Segment::new).collect::<Option<Vec<_>>>();
        let segments = segments.context("a segment of another form")?;
        let mut coverage = Self::default();
        for segment in segments.iter().filter(|segment| segment.begins_region() && !is_left_out(segment.line)) {
            *coverage.regions.entry([segment.line as u64, segment.column]).or_default() |= segment.count > 0;
        }
        coverage.lines = lines(&segments);
        coverage.lines.retain(|line, _| !is_left_out(*line));
        for branch in list("branches")? {
            let number = |index| branch.get(index).and_then(Value::as_u64).context("a branch of another form");
            let place = [number(0)?, number(1)?, number(2)?, number(3)?];
            if !is_left_out(place[0] as usize) {
                // What is generic has a branch for each type that it was compiled for.
                let ways = coverage.branches.entry(place).or_default();
                *ways = [ways[0] | (number(4)? > 0), ways[1] | (number(5)? > 0)];
            }
        }
        Ok(coverage)
    }

    /// That of a file of which no more is known than its lines.
    #[cfg(test)]
    pub(crate) fn of_lines(lines: impl Iterator<Item = (usize, bool)>) -> Self {
        Self { lines: lines.collect(), ..Self::default() }
    }

    /// Adds what another program ran of the same file.
    pub fn merge(&mut self, other: Self) {
        other.lines.into_iter().for_each(|(line, is_run)| *self.lines.entry(line).or_default() |= is_run);
        other.regions.into_iter().for_each(|(place, is_run)| *self.regions.entry(place).or_default() |= is_run);
        for (place, other) in other.branches {
            let ways = self.branches.entry(place).or_default();
            *ways = [ways[0] | other[0], ways[1] | other[1]];
        }
    }

    /// How many lines, pieces of code, and ways that a condition can turn out there are, and how many of them were run.
    pub fn tallies(&self) -> [Tally; 3] {
        [
            Tally::of(self.lines.values().copied()),
            Tally::of(self.regions.values().copied()),
            Tally::of(self.branches.values().flatten().copied()),
        ]
    }
}

/// The lines that have code: each was run as often as the piece of it that was run most, or what reaches into it from the line before.
fn lines(segments: &[Segment]) -> BTreeMap<usize, bool> {
    let mut lines = BTreeMap::new();
    let (Some(first), Some(last)) = (segments.first(), segments.last()) else { return lines };
    let mut reaching: Option<&Segment> = None;
    let mut rest = segments;
    for line in first.line..=last.line {
        let here = rest.partition_point(|segment| segment.line <= line);
        let (here, behind) = rest.split_at(here);
        rest = behind;
        let begun = here.iter().filter(|segment| segment.begins_region());
        let is_skipped = here.first().is_some_and(|first| !first.has_count && first.is_entry);
        let reaches = reaching.filter(|segment| segment.has_count);
        let counts = reaches.into_iter().chain(begun.clone()).map(|segment| segment.count);
        if (!is_skipped || begun.clone().next().is_some())
            && let Some(count) = counts.max()
        {
            lines.insert(line, count > 0);
        }
        reaching = here.last().or(reaching);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn coverage(segments: &str, branches: &str) -> Coverage {
        let file = format!("{{\"segments\": {segments}, \"branches\": {branches}}}");
        Coverage::new(&serde_json::from_str(&file).unwrap(), |line| line >= 90).unwrap()
    }

    fn tally((all, run): (usize, usize)) -> Tally {
        Tally { all, run }
    }

    #[test]
    fn a_line_is_run_if_any_piece_of_it_is() {
        // A function in lines 1 to 4, of which a piece in line 2 and one in lines 3 and 4 were not run.
        let pieces =
            "[[1,1,5,true,true,false],[2,9,0,true,true,false],[2,12,5,true,false,false],[3,9,0,true,true,false],
            [4,6,5,true,false,false],[4,7,0,false,false,false],[95,1,0,true,true,false],[95,2,0,false,false,false]]";
        let coverage = coverage(pieces, "[]");
        assert_eq!(coverage.lines, BTreeMap::from([(1, true), (2, true), (3, true), (4, false)]));
        assert_eq!(coverage.tallies(), [(4, 3), (3, 1), (0, 0)].map(tally));
    }

    #[test]
    fn a_branch_of_several_types_counts_once() {
        let branches = "[[1,1,1,5,3,0,0,0,4],[1,1,1,5,0,2,0,0,4],[2,1,2,5,7,0,0,0,4],[91,1,91,2,0,0,0,0,4]]";
        assert_eq!(coverage("[]", branches).tallies()[2], tally((4, 3)));
    }

    /// A program that does not call a function may have it all the same, as one that was never run.
    #[test]
    fn what_one_program_runs_is_run() {
        let segments = |counts: [u64; 2]| {
            format!(
                "[[1,1,{},true,true,false],[2,1,{},true,true,false],[2,5,0,false,false,false]]",
                counts[0], counts[1]
            )
        };
        let mut all = coverage(&segments([0, 0]), "[[1,1,1,5,0,0,0,0,4]]");
        all.merge(coverage(&segments([0, 3]), "[[1,1,1,5,0,2,0,0,4]]"));
        all.merge(coverage("[[3,1,1,true,true,false],[3,5,0,false,false,false]]", "[]"));
        all.merge(coverage(&segments([0, 0]), "[[1,1,1,5,0,0,0,0,4]]"));
        assert_eq!(all.lines, BTreeMap::from([(1, false), (2, true), (3, true)]));
        assert_eq!(all.tallies(), [(3, 2), (3, 2), (2, 1)].map(tally));
    }
}
