//! `make planted`: every mistake of the table, and what catches it; or those alone whose numbers are its arguments.
#![allow(missing_docs, reason = "a program has no public items")]

use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;
use std::{env, fs};

use anyhow::{Context, Result};
use planted::{Copy, Home, Plant, in_document, plants_of};

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
    let wanted = env::args().skip(1).map(|number| number.parse().context("an argument is a mistake's number"));
    let wanted = wanted.collect::<Result<Vec<usize>>>()?;
    let is_wanted = |plant: &&Plant| wanted.is_empty() || wanted.contains(&plant.number());
    let begin = Instant::now();
    let (mut caught, mut count) = (0, 0);
    for home in [Home::Crate, Home::Kernel] {
        let plants: Vec<_> = plants_of(home).filter(is_wanted).collect();
        if plants.is_empty() {
            continue;
        }
        let copy = Copy::build(root, home, &plants)?;
        println!("built a copy of {} ({:.0} s)", home.sources(), begin.elapsed().as_secs_f32());
        copy.try_sound(&plants)?;
        println!("without a mistake all tests pass ({:.0} s)", begin.elapsed().as_secs_f32());
        count += plants.len();
        for plant in plants {
            caught += usize::from(is_caught(&copy, plant)?);
        }
    }
    println!("{caught} of {count} caught ({:.0} s)", begin.elapsed().as_secs_f32());
    if env::var("BIFOLIO_UPDATE").is_ok_and(|update| update == "1") {
        let path = root.join("docs/assurance.md");
        let document =
            in_document(&fs::read_to_string(&path)?).context("docs/assurance.md has no place for the table")?;
        fs::write(path, document)?;
    }
    Ok(caught == count)
}

/// Hunts a mistake, and says what became of it.
fn is_caught(copy: &Copy, plant: &Plant) -> Result<bool> {
    let outcome = copy.hunt(plant)?;
    let verdict = if outcome.is_caught { "caught by" } else { "NOT CAUGHT by" };
    let (number, time) = (plant.number(), outcome.time.as_secs_f32());
    println!("{number:>3} {}: {verdict} {} ({time:.1} s)", plant.what, plant.test);
    if !outcome.is_caught {
        println!("{}", outcome.output);
    }
    Ok(outcome.is_caught)
}
