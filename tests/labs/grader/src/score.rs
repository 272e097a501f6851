//! Points, as a table for a learner or as a line of CSV for a lecturer.

use std::collections::HashSet;
use std::fmt;

use console::Style;
use lab_host::{Examined, Found};
use labs::lab::{FRAGMENTATION, INSTRUCTIONS, Lab};

/// Columns of what is tried: as many as the longest name has.
const WIDTH: usize = 50;

/// What a file is worth.
#[derive(Debug)]
pub struct Score {
    /// In which lab.
    pub lab: &'static Lab,
    /// Points for building.
    pub builds: u32,
    /// What is wrong with it before anything can be tried.
    pub refused: Option<String>,
    /// What was tried on the host, or in a kernel where there is nothing to keep a stranger's program from the host.
    pub host: Vec<Examined>,
    /// Whether that was in a kernel.
    pub is_all_in_kernel: bool,
    /// What was tried in a kernel.
    pub kernel: Vec<Examined>,
    /// Instructions of an operation, if they could be measured.
    pub instructions: Option<u64>,
}

impl Score {
    pub(crate) fn new(lab: &'static Lab) -> Self {
        Self {
            lab,
            builds: 0,
            refused: None,
            host: Vec::new(),
            is_all_in_kernel: false,
            kernel: Vec::new(),
            instructions: None,
        }
    }

    /// Nothing could be tried of it.
    pub(crate) fn refused(lab: &'static Lab, why: String) -> Self {
        Self { refused: Some(plain(&why)), ..Self::new(lab) }
    }

    /// What a file's own code says in a panic may be anything.
    pub(crate) fn make_plain(&mut self) {
        for found in self.host.iter_mut().chain(&mut self.kernel).filter_map(|result| result.failure.as_mut()) {
            found.what = plain(&found.what);
            found.picture = plain(&found.picture);
        }
    }

    fn examined(&self) -> impl Iterator<Item = &Examined> {
        self.host.iter().chain(&self.kernel)
    }

    /// All its points.
    pub fn total(&self) -> u32 {
        self.builds + self.examined().map(|result| result.points).sum::<u32>()
    }

    /// What went wrong first, in a line.
    pub fn remark(&self) -> String {
        let refused = self.refused.as_deref().and_then(|text| text.lines().next()).map(str::to_owned);
        let failed = || {
            self.examined()
                .filter(|result| result.of > 0)
                .find_map(|result| Some(format!("{}: {}", result.name, result.failure.as_ref()?.what)))
        };
        refused.or_else(failed).unwrap_or_default()
    }

    /// The first that went wrong, if it is drawn, and what was tried then.
    pub fn drawn(&self) -> Option<(&str, &Found)> {
        let mut failed = self.examined().filter_map(|result| Some((result.name.as_str(), result.failure.as_ref()?)));
        failed.find(|(_, found)| !found.picture.is_empty())
    }

    /// The names of the columns of [`row`](Self::row), without that of the file.
    pub fn columns(lab: &Lab) -> Vec<String> {
        let exams = lab.exams.iter().map(|exam| exam.name.to_owned());
        let fragmentation = lab.fragmentation.map(|_| FRAGMENTATION.to_owned());
        let boots = lab.boots.iter().map(|boot| boot.name.to_owned());
        let rest = [INSTRUCTIONS, "total", "instructions", "remark"].map(str::to_owned);
        std::iter::once("it builds".to_owned()).chain(exams).chain(fragmentation).chain(boots).chain(rest).collect()
    }

    /// A row of a table of many.
    pub fn row(&self) -> Vec<String> {
        let points = |name: &str| self.examined().find(|result| result.name == name).map_or(0, |result| result.points);
        let columns = Self::columns(self.lab);
        let named = columns[1..columns.len() - 3].iter().map(|name| points(name).to_string());
        let instructions = self.instructions.map_or_else(String::new, |count| count.to_string());
        let rest = [self.total().to_string(), instructions, self.remark()];
        std::iter::once(self.builds.to_string()).chain(named).chain(rest).collect()
    }
}

/// How many operations a picture shows.
pub(crate) fn operations(found: &Found) -> String {
    match found.operations {
        1 => "with one operation".into(),
        count => format!("in {count} operations, of which none can be left out"),
    }
}

/// Text without what a terminal takes for orders.
pub(crate) fn plain(text: &str) -> String {
    text.replace(|sign: char| sign.is_control() && sign != '\n', "\u{fffd}")
}

/// A line of a score.
fn line(f: &mut fmt::Formatter<'_>, name: &str, points: u32, of: u32, is_right: bool, why: &str) -> fmt::Result {
    let style = if is_right { Style::new().green() } else { Style::new().red() };
    let mark = if is_right { "ok" } else { "--" };
    write!(f, "  {} {name:<WIDTH$}", style.apply_to(mark))?;
    if of > 0 {
        write!(f, " {points:>3} of {of:>3}")?;
    } else {
        write!(f, " {:10}", "")?;
    }
    writeln!(f, "{}{why}", if why.is_empty() { "" } else { "  " })
}

impl fmt::Display for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lab = self.lab;
        writeln!(f, "Lab {}: {}", lab.number, lab.title)?;
        if let Some(why) = &self.refused {
            line(f, "it builds", 0, lab.builds, false, "")?;
            writeln!(f, "\n{}\n", why.trim_end())?;
            return writeln!(f, "Total: 0 of {} points", lab.points());
        }
        line(f, "it builds", self.builds, lab.builds, true, "")?;
        // What one mistake costs in many places is said in the first.
        let mut told = HashSet::new();
        let first = if self.is_all_in_kernel { "one by one, in a kernel too" } else { "on the host" };
        for (title, results) in [(first, &self.host), ("in a kernel", &self.kernel)] {
            writeln!(f, "{title}:")?;
            for Examined { name, points, of, failure } in results {
                let why = failure.as_ref().map_or("", |found| &found.what);
                let why = if why.is_empty() || told.insert(why) { why } else { "(the same)" };
                line(f, name, *points, *of, failure.is_none(), why)?;
            }
        }
        if let Some(count) = self.instructions {
            writeln!(f, "An operation takes {count} instructions.")?;
        }
        if let Some((name, found)) = self.drawn() {
            writeln!(f, "\nThe first that went wrong, \"{name}\", {}:\n", operations(found))?;
            writeln!(f, "{}", found.picture)?;
            writeln!(f, "{}", lab.legend)?;
        }
        writeln!(f, "\nTotal: {} of {} points", self.total(), lab.points())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use labs::lab::LABS;

    #[test]
    fn points_stand_below_each_other() {
        let names = LABS.iter().flat_map(Score::columns).filter(|name| name != "remark");
        assert_eq!(names.map(|name| name.len()).max(), Some(WIDTH));
    }
}
