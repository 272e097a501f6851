//! Where the time of the suite went, so that whoever wants it shorter sees where to begin.

use crate::machine::Machine;
use std::fmt::{self, Write};
use std::time::Duration;

/// A part of the suite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// What is built before anything runs.
    Building,
    /// The host's tests.
    Tests,
    /// Whether the sources are formatted.
    Format,
    /// Lints.
    Lints,
    /// The documentation of all crates.
    Documentation,
    /// The crate as others build it.
    Elsewhere,
    /// Booted tests on this machine.
    Booted(Machine),
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Part::Building => f.write_str("building"),
            Part::Tests => f.write_str("tests on the host"),
            Part::Format => f.write_str("format"),
            Part::Lints => f.write_str("lints"),
            Part::Documentation => f.write_str("documentation"),
            Part::Elsewhere => f.write_str("the crate elsewhere"),
            Part::Booted(machine) => write!(f, "booted: {machine}"),
        }
    }
}

/// How long something took.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Time {
    pub(super) part: Part,
    pub(super) title: String,
    pub(super) time: Duration,
}

/// How many of a part are named, those that took longest.
const NAMED: usize = 3;

/// The parts, longest first, each with its share and with what took longest in it.
pub(super) fn table(times: &[Time]) -> String {
    let all: Duration = times.iter().map(|time| time.time).sum();
    let mut parts: Vec<(Part, Duration)> = Vec::new();
    for time in times {
        match parts.iter_mut().find(|(part, _)| *part == time.part) {
            Some((_, sum)) => *sum += time.time,
            None => parts.push((time.part, time.time)),
        }
    }
    parts.sort_by_key(|(_, sum)| std::cmp::Reverse(*sum));
    let mut text = String::new();
    for (part, sum) in parts {
        let share = 100.0 * sum.as_secs_f32() / all.as_secs_f32().max(f32::EPSILON);
        let (part, longest) = (part.to_string(), longest(times, part));
        let _ = writeln!(text, "{:6.0} s {share:4.0} %  {part:<34}{longest}", sum.as_secs_f32());
    }
    text
}

fn longest(times: &[Time], part: Part) -> String {
    let mut own: Vec<&Time> = times.iter().filter(|time| time.part == part).collect();
    own.sort_by_key(|time| std::cmp::Reverse(time.time));
    let names = own.iter().take(NAMED).map(|time| format!("{} {:.0} s", time.title, time.time.as_secs_f32()));
    names.collect::<Vec<_>>().join(", ")
}

/// What each program of a `cargo test` took by its own account, and the rest, which is cargo's.
pub(super) fn of_programs(output: &str, whole: Duration) -> Vec<(String, Duration)> {
    let mut name = String::new();
    let mut programs = Vec::new();
    for line in output.lines() {
        if let Some((_, path)) = line.trim_start().strip_prefix("Running ").and_then(|line| line.rsplit_once('(')) {
            name = super::subject(path.trim_end_matches(')').as_ref());
        } else if let Some(of) = line.trim_start().strip_prefix("Doc-tests ") {
            name = format!("examples of {of}");
        } else if let Some((_, seconds)) = line.rsplit_once("; finished in ") {
            let seconds = seconds.trim_end_matches('s').parse().unwrap_or(0.0);
            programs.push((name.clone(), Duration::try_from_secs_f32(seconds).unwrap_or_default()));
        }
    }
    let sum: Duration = programs.iter().map(|(_, time)| *time).sum();
    programs.push(("cargo".to_owned(), whole.saturating_sub(sum)));
    programs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::{Firmware, Memory};

    fn time(part: Part, title: &str, seconds: u64) -> Time {
        Time { part, title: title.into(), time: Duration::from_secs(seconds) }
    }

    #[test]
    fn the_longest_part_is_first_and_names_what_took_longest() {
        let booted = Part::Booted(Machine::new(Firmware::Bios, Memory::from_mib(64), 1));
        let times = [
            time(Part::Format, "format", 10),
            time(booted, "frames", 20),
            time(booted, "heap", 30),
            time(booted, "shell", 25),
            time(booted, "atomic", 15),
        ];
        let table = table(&times);
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(
            lines,
            [
                "    90 s   90 %  booted: bios, 64M, 1 CPU          heap 30 s, shell 25 s, frames 20 s",
                "    10 s   10 %  format                            format 10 s",
            ]
        );
    }

    #[test]
    fn the_time_of_each_test_program_is_found() {
        let output = "   Compiling boot v0.1.0\n     Running unittests src/lib.rs (target/debug/deps/boot-01ab)\n\
             test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.50s\n\
             \x20  Doc-tests bifolio\n\
             test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 2.00s\n";
        let programs = of_programs(output, Duration::from_secs(10));
        let expected = [("boot", 1.5), ("examples of bifolio", 2.0), ("cargo", 6.5)];
        assert_eq!(programs, expected.map(|(name, time)| (name.to_owned(), Duration::from_secs_f32(time))));
    }
}
