//! `make fuzz`: lets libFuzzer put together so many inputs for each target, and goes on where it was the last time.
#![allow(missing_docs, reason = "a program has no public items")]

mod campaign;
mod corpus;
mod fuzzer;

use std::env;
use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use fuzz::{TARGETS, Target};

use campaign::Campaign;
use fuzzer::Fuzzer;

/// For each target, unless `EXECUTIONS` says another number.
const EXECUTIONS: u64 = 10_000_000;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words[..] {
        [] => fuzz(),
        ["replay", target, ref files @ ..] => replay(target, files),
        ["keep", target] => keep(target),
        _ => Err(anyhow::anyhow!("fuzz [replay TARGET FILE... | keep TARGET]")),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn named(name: &str) -> Result<Target> {
    let names = TARGETS.map(|target| target.name).join(", ");
    Target::named(name).with_context(|| format!("there is no target `{name}`; there are {names}"))
}

/// What the environment says, if it says anything.
fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

/// Fuzzes. Whether nothing was found.
fn fuzz() -> Result<bool> {
    let wanted = match variable("EXECUTIONS") {
        Some(number) => number.parse().with_context(|| format!("EXECUTIONS={number}"))?,
        None => EXECUTIONS,
    };
    let targets = match variable("TARGET") {
        Some(name) => vec![named(&name)?],
        None => TARGETS.to_vec(),
    };
    let fuzzer = match Fuzzer::build()? {
        Ok(fuzzer) => fuzzer,
        Err(lacking) => {
            println!("not run: {lacking}");
            return Ok(true);
        }
    };
    let mut is_clean = true;
    for target in targets {
        is_clean &= Campaign::of(&fuzzer, target)?.run(wanted)?;
    }
    Ok(is_clean)
}

/// Does with inputs what a campaign does, and no more.
fn replay(name: &str, files: &[&str]) -> Result<bool> {
    let target = named(name)?;
    for file in files {
        (target.run)(&fs::read(file).with_context(|| format!("cannot read {file}"))?);
        println!("{file}: ok");
    }
    Ok(true)
}

/// Keeps those inputs of a campaign that reach most in fewest bytes.
fn keep(name: &str) -> Result<bool> {
    let fuzzer = match Fuzzer::build()? {
        Ok(fuzzer) => fuzzer,
        Err(lacking) => bail!("not run: {lacking}"),
    };
    let campaign = Campaign::of(&fuzzer, named(name)?)?;
    let kept = corpus::keep(&campaign, &kept_in(name))?;
    println!("{name}: {} inputs, {} bytes", kept.len(), kept.iter().map(Vec::len).sum::<usize>());
    Ok(true)
}

/// Where the inputs are that are worth keeping.
fn kept_in(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name)
}
