//! The list of what is not run, with reasons: `uncovered.txt`.
//!
//! A line that begins without blanks is a file. Below it `| line` is a line of it that is not run, and `? line` one that is run by
//! chance: when two threads meet in time. `= reason` says why, for all lines between it and the reason before.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail, ensure};

use crate::segments::Coverage;
use crate::sources::Source;

/// Whether a line is run at times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chance {
    /// It never is.
    Never,
    /// It is, when two threads meet.
    Sometimes,
}

/// A line that is not run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its text, without the blanks around it.
    pub text: String,
    /// Whether it is run at times.
    pub chance: Chance,
}

/// The lines that are not run, by file.
#[derive(Debug, Default)]
pub struct List(BTreeMap<PathBuf, Vec<Entry>>);

impl List {
    /// Reads the list.
    ///
    /// # Errors
    /// If it has another form, or lines without a reason.
    pub fn parse(text: &str) -> Result<Self> {
        let mut list = Self::default();
        let (mut file, mut unexplained) = (PathBuf::new(), 0_usize);
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let chance = match line.trim_start().split_once(' ') {
                Some(("=", reason)) => {
                    ensure!(unexplained > 0 && !reason.trim().is_empty(), "a reason of nothing, or none: {line}");
                    unexplained = 0;
                    continue;
                }
                Some(("|", text)) => (text, Chance::Never),
                Some(("?", text)) => (text, Chance::Sometimes),
                _ if line.starts_with(' ') => bail!("neither a line nor a reason: {line}"),
                _ => {
                    ensure!(unexplained == 0, "{}: lines without a reason", file.display());
                    file = PathBuf::from(line);
                    ensure!(!list.0.contains_key(&file), "{line} comes twice");
                    list.0.insert(file.clone(), Vec::new());
                    continue;
                }
            };
            let (text, chance) = chance;
            let Some(entries) = list.0.get_mut(&file) else { bail!("a line of no file: {line}") };
            entries.push(Entry { text: text.trim().to_owned(), chance });
            unexplained += 1;
        }
        ensure!(unexplained == 0, "{}: lines without a reason", file.display());
        Ok(list)
    }

    /// How many lines are in it.
    pub fn count(&self) -> usize {
        self.0.values().map(Vec::len).sum()
    }

    /// What in the list is not in the sources as often as there.
    pub fn strangers(&self, sources: &[Source]) -> Vec<String> {
        let mut strangers = Vec::new();
        for (file, entries) in &self.0 {
            let source = sources.iter().find(|source| source.path == *file);
            for entry in entries {
                let in_source = |line: &&String| **line == entry.text;
                let there = source.map_or(0, |source| source.lines.iter().filter(in_source).count());
                if entries.iter().filter(|other| other.text == entry.text).count() > there {
                    strangers.push(format!("{}: {}", file.display(), entry.text));
                }
            }
        }
        strangers
    }

    /// What is wrong with the list for a file of which this was run, in the form of the list.
    pub fn differences(&self, source: &Source, coverage: &Coverage) -> Vec<String> {
        let mut left = self.of(&source.path).to_vec();
        let mut differences = Vec::new();
        for (number, _) in coverage.lines.iter().filter(|(_, is_run)| !**is_run) {
            let text = source.line(*number).unwrap_or_default();
            match left.iter().position(|entry| entry.text == text) {
                Some(index) => _ = left.remove(index),
                None => differences.push(format!("not run, and not in the list: {number}\n  | {text}")),
            }
        }
        let run_all_the_same = left.iter().filter(|entry| entry.chance == Chance::Never);
        differences.extend(run_all_the_same.map(|entry| format!("in the list, and run:\n  | {}", entry.text)));
        differences
    }

    fn of(&self, file: &Path) -> &[Entry] {
        self.0.get(file).map_or(&[], Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "# What it is.\nzone/mod.rs\n  | a();\n  ? b();\n  = never asked for\n  | a();\n  = neither\n";

    #[test]
    fn a_list_is_true_or_says_where_it_is_not() {
        let list = List::parse(LIST).unwrap();
        assert_eq!(list.count(), 3);
        let source = Source::new(Path::new("zone/mod.rs"), "a();\nb();\n a();\nc();\n");
        assert_eq!(list.strangers(&[source]), [""; 0]);
        let source = Source::new(Path::new("zone/mod.rs"), "a();\nb();\nc();\nc();\n");
        assert_eq!(list.strangers(&[source]), ["zone/mod.rs: a();"; 2]);
        let source = Source::new(Path::new("zone/mod.rs"), "a();\nb();\n a();\nc();\n");
        let run = |lines: [bool; 4]| Coverage::of_lines((1..).zip(lines));
        assert_eq!(list.differences(&source, &run([false, true, false, true])), [""; 0]);
        assert_eq!(list.differences(&source, &run([false, false, false, true])), [""; 0]);
        let missing = ["not run, and not in the list: 4\n  | c();"];
        assert_eq!(list.differences(&source, &run([false, false, false, false])), missing);
        assert_eq!(list.differences(&source, &run([false, true, true, true])), ["in the list, and run:\n  | a();"]);
    }

    #[test]
    fn a_line_without_a_reason_is_refused() {
        assert!(List::parse("zone/mod.rs\n  | a();\n").is_err());
        assert!(List::parse("zone/mod.rs\n  | a();\nlib.rs\n").is_err());
        assert!(List::parse("zone/mod.rs\n  = why\n").is_err());
        assert!(List::parse("  | a();\n  = why\n").is_err());
    }
}
