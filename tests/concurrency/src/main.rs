//! `make concurrency`: loom, shuttle and ThreadSanitizer at the crate, and then at copies of it, in each of which a mistake is
//! planted that one of them must find.
#![allow(missing_docs, reason = "a program has no public items")]

mod plants;
mod tools;

use std::env;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result};
// Under ThreadSanitizer it is linked with this too, and needs what that defines.
use concurrency as _;
use plants::{Copy, PLANTS};
use tools::Tool;

fn main() -> ExitCode {
    match run(&env::args().skip(1).collect::<Vec<_>>()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Lets those tools do their work that are named, or all. Whether everything is as it should be.
fn run(names: &[String]) -> Result<bool> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = own.ancestors().nth(2).context("the crate is not where it was built")?;
    let target = root.join("target/concurrency");
    let chosen = |tool: Tool| names.is_empty() || names.iter().any(|name| name == tool.name());
    for name in names {
        anyhow::ensure!(Tool::ALL.iter().any(|tool| tool.name() == name), "there is no tool `{name}`");
    }
    let mut failures = 0;
    let mut report = |is_good: bool, what: &str, since: Instant| {
        failures += u32::from(!is_good);
        println!("{} {what} ({:.0} s)", if is_good { "ok    " } else { "FAILED" }, since.elapsed().as_secs_f64());
    };
    for tool in Tool::ALL.into_iter().filter(|tool| chosen(*tool)) {
        println!("{}:", tool.title());
        let begin = Instant::now();
        // Cargo takes the crate and its copy for the same, so what is built from both in turn must always be the copy.
        let copy = Copy::new(root, &target)?;
        copy.plant(None)?;
        tool.build(copy.path(), &target, None)?;
        let built = Instant::now();
        let outcome = tool.run(copy.path(), &target, None)?;
        outcome.explored().for_each(|line| println!("       {line}"));
        if !outcome.passed() {
            println!("{}", outcome.output);
        }
        let what = format!("finds nothing; the build took {:.0} s, the tests", (built - begin).as_secs_f64());
        report(outcome.passed(), &what, built);
        for plant in PLANTS.iter().filter(|plant| plant.tool == tool) {
            let begin = Instant::now();
            copy.plant(Some(plant))?;
            tool.build(copy.path(), &target, Some(plant.test))?;
            let mut outcome = tool.run(copy.path(), &target, Some(plant.test))?;
            for _ in 1..tool.tries() {
                if !outcome.passed() {
                    break;
                }
                outcome = tool.run(copy.path(), &target, Some(plant.test))?;
            }
            let finds = outcome.passed == Some(false) && outcome.output.contains(tool.cry());
            let what = match outcome.passed {
                Some(false) if finds => "finds",
                Some(false) => "fails, and not for having found",
                Some(true) => "does not find",
                None => "comes to no end with",
            };
            if outcome.passed == Some(false) && !finds {
                println!("{}", outcome.output);
            }
            report(finds, &format!("{what} {}", plant.what), begin);
        }
    }
    println!("{failures} failed");
    Ok(failures == 0)
}
