//! `make coverage`: what the tests of the crate run of it, file by file, and whether the list of what they do not is true.
#![allow(missing_docs, reason = "a program has no public items")]

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use coverage::{Coverage, List, Source, Tally, measure};
use serde_json::Value;

/// Of a hundred lines, as many must be run.
const LEAST: f64 = 97.0;

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Measures, and prints a table. Whether all is as it should be.
fn run() -> Result<bool> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = own.ancestors().nth(2).context("the crate is not where it was built")?;
    let crate_sources = root.join("kernel/mm/src");
    let list = List::parse(&fs::read_to_string(own.join("uncovered.txt"))?)?;
    let sources = Source::all(&crate_sources)?;
    let mut differences = list.strangers(&sources);
    differences.iter_mut().for_each(|stranger| stranger.insert_str(0, "in the list, and not in the sources: "));
    let files = measure(root, &crate_sources)?;
    let (mut lines, mut regions, mut branches) = (Tally::default(), Tally::default(), Tally::default());
    println!("{:>7} {:>7} {:>8}", "lines", "regions", "branches");
    for source in &sources {
        let path = crate_sources.join(&source.path);
        let named =
            |file: &&Value| file.get("filename").and_then(Value::as_str).is_some_and(|name| path == Path::new(name));
        // A file without code is not mentioned.
        let Some(file) = files.iter().find(named) else { continue };
        let coverage = Coverage::new(file, |line| source.is_test(line))?;
        let percents = [coverage.tally(), coverage.regions, coverage.branches].map(Tally::percent);
        println!("{:>6.1}% {:>6.1}% {:>7.1}%  {}", percents[0], percents[1], percents[2], source.path.display());
        let wrong = list.differences(source, &coverage);
        differences.extend(wrong.iter().map(|wrong| format!("{}: {wrong}", source.path.display())));
        lines += coverage.tally();
        regions += coverage.regions;
        branches += coverage.branches;
    }
    for (what, tally) in [("lines", lines), ("regions", regions), ("branches", branches)] {
        println!("{:.2} % of {} {what} are run", tally.percent(), tally.all);
    }
    differences.iter().for_each(|difference| println!("{difference}"));
    println!("{} lines are explained, {} differences", list.count(), differences.len());
    Ok(differences.is_empty() && lines.percent() >= LEAST)
}
