//! Real programs with the heap preloaded: runs `make programs`' program, and takes its figures over.

use crate::results::{Figure, Suite, Unit};
use anyhow::{Context, Result, bail, ensure};
use indicatif::ProgressBar;
use serde::Deserialize;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::{env, fs};

/// A figure as it writes them.
#[derive(Deserialize)]
struct Line {
    workload: String,
    allocator: String,
    unit: String,
    value: f64,
}

/// The file that it takes.
pub struct Programs {
    program: PathBuf,
}

impl Programs {
    /// Finds it where `make bench` builds it: beside this program, in the target directory.
    ///
    /// # Errors
    /// It is missing.
    pub fn find() -> Result<Self> {
        let own = env::current_exe()?;
        let target = own.ancestors().nth(2).context("this program lies in no target directory")?;
        let program = target.join("debug/programs");
        ensure!(
            program.is_file(),
            "{} is not there, and real programs need it.\n`make bench` builds it, or `cargo build -p programs`; --suite \
             host and --suite kernel do without",
            program.display()
        );
        Ok(Self { program })
    }

    /// Runs them, those whose name contains a filter if there are any. A program that does something else with the heap than
    /// without is told of on standard error, and has no figures.
    ///
    /// # Errors
    /// Nothing can be run.
    pub fn run(&self, filters: &[String], is_quick: bool, rounds: usize, bar: &ProgressBar) -> Result<Vec<Figure>> {
        bar.set_message("real programs, with the heap preloaded and without");
        let folder = tempfile::tempdir()?;
        let json = folder.path().join("figures.json");
        let mut command = Command::new(&self.program);
        command.args(["--rounds", &rounds.to_string()]).arg("--json").arg(&json).stdin(Stdio::null());
        command.args(is_quick.then_some("--quick"));
        if !filters.is_empty() {
            command.args(["--only", &filters.join(",")]);
        }
        let output = command.output()?;
        let said = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
        let Ok(text) = fs::read_to_string(&json) else {
            // There may be no program of these names, but a workload.
            ensure!(!filters.is_empty(), "no program was run:\n{said}");
            return Ok(Vec::new());
        };
        if !output.status.success() {
            bar.suspend(|| eprintln!("warning: not every program did with the heap what it does without:\n{said}"));
        }
        let lines: Vec<Line> =
            serde_json::from_str(&text).context("the figures of programs are not as they should be")?;
        lines.into_iter().map(figure).collect()
    }
}

fn figure(line: Line) -> Result<Figure> {
    let unit = match line.unit.as_str() {
        "s" => Unit::Seconds,
        "MiB" => Unit::MiB,
        other => bail!("programs count in {other}, of which nothing is known"),
    };
    Ok(Figure { unit, ..Figure::instructions(Suite::Programs, &line.workload, &line.allocator, line.value, 0) })
}
