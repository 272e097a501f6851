//! What LLVM says of a file: places from which on something was run so often. Lines are made of them as LLVM's own reports make them.

use std::collections::{BTreeMap, HashMap};
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
    fn count(&mut self, is_run: bool) {
        self.all += 1;
        self.run += usize::from(is_run);
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
    /// Pieces of code of which all is run or nothing.
    pub regions: Tally,
    /// Ways that a condition can turn out.
    pub branches: Tally,
}

/// From here on, code was run so often.
struct Segment {
    line: usize,
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
            coverage.regions.count(segment.count > 0);
        }
        coverage.lines = lines(&segments);
        coverage.lines.retain(|line, _| !is_left_out(*line));
        // What is generic has a branch for each type that it was compiled for.
        let mut branches: HashMap<[u64; 4], [u64; 2]> = HashMap::new();
        for branch in list("branches")? {
            let number = |index| branch.get(index).and_then(Value::as_u64).context("a branch of another form");
            let place = [number(0)?, number(1)?, number(2)?, number(3)?];
            let ways = branches.entry(place).or_default();
            ways[0] += number(4)?;
            ways[1] += number(5)?;
        }
        for (_, ways) in branches.iter().filter(|(place, _)| !is_left_out(place[0] as usize)) {
            ways.iter().for_each(|way| coverage.branches.count(*way > 0));
        }
        Ok(coverage)
    }

    /// The lines of it.
    pub fn tally(&self) -> Tally {
        let mut tally = Tally::default();
        self.lines.values().for_each(|is_run| tally.count(*is_run));
        tally
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

    #[test]
    fn a_line_is_run_if_any_piece_of_it_is() {
        // A function in lines 1 to 4, of which a piece in line 2 and one in lines 3 and 4 were not run.
        let pieces =
            "[[1,1,5,true,true,false],[2,9,0,true,true,false],[2,12,5,true,false,false],[3,9,0,true,true,false],
            [4,6,5,true,false,false],[4,7,0,false,false,false],[95,1,0,true,true,false],[95,2,0,false,false,false]]";
        let coverage = coverage(pieces, "[]");
        assert_eq!(coverage.lines, BTreeMap::from([(1, true), (2, true), (3, true), (4, false)]));
        assert_eq!((coverage.tally(), coverage.regions), (Tally { all: 4, run: 3 }, Tally { all: 3, run: 1 }));
    }

    #[test]
    fn a_branch_of_several_types_counts_once() {
        let branches = "[[1,1,1,5,3,0,0,0,4],[1,1,1,5,0,2,0,0,4],[2,1,2,5,7,0,0,0,4],[91,1,91,2,0,0,0,0,4]]";
        assert_eq!(coverage("[]", branches).branches, Tally { all: 4, run: 3 });
    }
}
