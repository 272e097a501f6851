//! `make planted`: every mistake of the table, and what catches it.
#![allow(missing_docs, reason = "a program has no public items")]

use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;
use std::{env, fs};

use anyhow::{Context, Result};
use planted::{Copy, PLANTS, in_document};

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

/// Hunts all mistakes. Whether all were caught.
fn run() -> Result<bool> {
    let root =
        Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).context("the crate is not where it was built")?;
    let begin = Instant::now();
    let copy = Copy::build(root)?;
    println!("built ({:.0} s)", begin.elapsed().as_secs_f32());
    copy.try_sound(&PLANTS.iter().collect::<Vec<_>>())?;
    println!("without a mistake all tests pass ({:.0} s)", begin.elapsed().as_secs_f32());
    let mut caught = 0;
    for plant in &PLANTS {
        let outcome = copy.hunt(plant)?;
        caught += usize::from(outcome.is_caught);
        let verdict = if outcome.is_caught { "caught by" } else { "NOT CAUGHT by" };
        println!(
            "{:>3} {}: {verdict} {} ({:.1} s)",
            plant.number(),
            plant.what,
            plant.test,
            outcome.time.as_secs_f32()
        );
        if !outcome.is_caught {
            println!("{}", outcome.output);
        }
    }
    println!("{caught} of {} caught ({:.0} s)", PLANTS.len(), begin.elapsed().as_secs_f32());
    if env::var("BIFOLIO_UPDATE").is_ok_and(|update| update == "1") {
        let path = root.join("docs/assurance.md");
        let document =
            in_document(&fs::read_to_string(&path)?).context("docs/assurance.md has no place for the table")?;
        fs::write(path, document)?;
    }
    Ok(caught == PLANTS.len())
}
