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
    let mut all = [Tally::default(); 3];
    println!("{:>7} {:>7} {:>8}", "lines", "regions", "branches");
    for source in &sources {
        let coverage = coverage_of(source, &crate_sources.join(&source.path), &files)?;
        let tallies = coverage.tallies();
        if tallies[0].all == 0 {
            // It has no code.
            continue;
        }
        let percents = tallies.map(Tally::percent);
        println!("{:>6.1}% {:>6.1}% {:>7.1}%  {}", percents[0], percents[1], percents[2], source.path.display());
        let wrong = list.differences(source, &coverage);
        differences.extend(wrong.iter().map(|wrong| format!("{}: {wrong}", source.path.display())));
        all.iter_mut().zip(tallies).for_each(|(all, tally)| *all += tally);
    }
    for (what, tally) in ["lines", "regions", "branches"].into_iter().zip(all) {
        println!("{:.2} % of {} {what} are run", tally.percent(), tally.all);
    }
    differences.iter().for_each(|difference| println!("{difference}"));
    println!("{} lines are explained, {} differences", list.count(), differences.len());
    let are_enough = all[0].percent() >= LEAST;
    if !are_enough {
        println!("fewer lines are run than {LEAST} % of them");
    }
    Ok(differences.is_empty() && are_enough)
}

/// What all programs together have run of a file.
fn coverage_of(source: &Source, path: &Path, files: &[Value]) -> Result<Coverage> {
    let named =
        |file: &&Value| file.get("filename").and_then(Value::as_str).is_some_and(|name| path == Path::new(name));
    let mut coverage = Coverage::default();
    for file in files.iter().filter(named) {
        coverage.merge(Coverage::new(file, |line| source.is_test(line))?);
    }
    Ok(coverage)
}
