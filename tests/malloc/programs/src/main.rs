//! `make programs`: programs that know nothing of the heap, with it preloaded, next to what they do without.
#![allow(missing_docs, reason = "a program has no public items")]

use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use comfy_table::{CellAlignment, Table, presets::ASCII_MARKDOWN};
use programs::preload;
use programs::program::{PROGRAMS, Program, Scale};
use programs::run::{Allocator, MEASURE, Outcome, difference, meter, obstacle, run};
use serde::Serialize;

/// Runs programs with the heap preloaded, compares what they do, and measures time and memory
#[derive(Parser)]
#[command(version, max_term_width = 100)]
struct Cli {
    /// Only programs whose name contains one of these
    #[arg(long, short, value_name = "FILTER", value_delimiter = ',')]
    only: Vec<String>,
    /// How often each is run
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// Give them less to do
    #[arg(long)]
    quick: bool,
    /// Write the figures to this file, as those of `make bench`
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// A figure as it stands in the results of `make bench`.
#[derive(Debug, Serialize)]
struct Figure {
    suite: &'static str,
    workload: &'static str,
    allocator: &'static str,
    threads: usize,
    unit: &'static str,
    value: f64,
}

/// What became of a program.
#[derive(Default)]
struct Count {
    passed: usize,
    failed: usize,
    skipped: usize,
}

fn main() -> ExitCode {
    let mut arguments = env::args_os().skip(1);
    let result = if arguments.next().is_some_and(|first| first == MEASURE) {
        meter(arguments).map(|status| status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX))
    } else {
        run_all(&Cli::parse()).map(|all_passed| u8::from(!all_passed))
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run_all(cli: &Cli) -> Result<bool> {
    let scale = if cli.quick { Scale::Quick } else { Scale::Full };
    let mut allocators = vec![Allocator::GLIBC, preload::bifolio()?];
    match preload::mimalloc() {
        Ok(mimalloc) => allocators.push(mimalloc),
        Err(error) => println!("without mimalloc: {error:#}"),
    }
    let chosen = |program: &&Program| cli.only.is_empty() || cli.only.iter().any(|only| program.name.contains(only));
    let programs: Vec<&Program> = PROGRAMS.iter().filter(chosen).collect();
    ensure!(!programs.is_empty(), "there are no programs of these names, only {}", names());
    let folder = tempfile::tempdir().context("there is no place for the programs' files")?;
    let own = env::current_exe().context("this program does not know where it is")?;
    let (mut count, mut figures) = (Count::default(), Vec::new());
    for program in programs {
        if let Some(obstacle) = obstacle(program) {
            println!("{:<15} skipped: {obstacle}", program.name);
            count.skipped += 1;
            continue;
        }
        let mut outcomes: Vec<Vec<Outcome>> = vec![Vec::new(); allocators.len()];
        for round in 0..usize::from(cli.rounds) {
            for turn in 0..allocators.len() {
                // Nobody is always first. The folder has one name: some programs write it down.
                let nth = (turn + round) % allocators.len();
                outcomes[nth].push(run(program, scale, &allocators[nth], &folder.path().join("run"), Some(&own))?);
            }
        }
        let mut problems = Vec::new();
        let reference = outcomes[0][0].clone();
        for (allocator, outcomes) in allocators.iter().zip(&outcomes) {
            match wrong(&reference, outcomes) {
                None => figures.extend(summed_up(program.name, allocator.name, outcomes)),
                // What another allocator does to a program is no failure of ours, but is no figure either.
                Some(wrong) if allocator.name == "mimalloc" => println!("{:<15} with mimalloc: {wrong}", program.name),
                Some(wrong) => problems.push(format!("with {}: {wrong}", allocator.name)),
            }
        }
        if problems.is_empty() {
            println!("{:<15} ok", program.name);
            count.passed += 1;
        } else {
            println!("{:<15} FAILED {}", program.name, problems.join("; "));
            count.failed += 1;
        }
    }
    println!("\n{}", table(&figures, &allocators));
    if let Some(file) = &cli.json {
        let text = serde_json::to_string_pretty(&figures)?;
        fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))?;
    }
    println!("{} passed, {} failed, {} skipped", count.passed, count.failed, count.skipped);
    Ok(count.failed == 0)
}

/// What is wrong with the outcomes of some rounds: they must be as the reference, and that must be a success.
fn wrong(reference: &Outcome, outcomes: &[Outcome]) -> Option<String> {
    let different =
        outcomes.iter().find_map(|outcome| Some((difference(&reference.output, &outcome.output)?, outcome)));
    let failed = || (reference.output.status != "status 0").then(|| (reference.output.status.clone(), reference));
    let (what, outcome) = different.or_else(failed)?;
    let last = outcome.errors.lines().last().unwrap_or("nothing");
    Some(format!("{what} (it said {last:?})"))
}

/// The median of time, and of memory, of some rounds.
fn summed_up(workload: &'static str, allocator: &'static str, outcomes: &[Outcome]) -> [Figure; 2] {
    let figure = |unit, value: fn(&Outcome) -> f64| {
        let mut values: Vec<f64> = outcomes.iter().map(value).collect();
        values.sort_by(f64::total_cmp);
        Figure { suite: "programs", workload, allocator, threads: 1, unit, value: values[values.len() / 2] }
    };
    [figure("s", |outcome| outcome.time), figure("MiB", |outcome| outcome.peak)]
}

/// Time and memory, a program in each row.
fn table(figures: &[Figure], allocators: &[Allocator]) -> Table {
    let mut table = Table::new();
    table.load_preset(ASCII_MARKDOWN);
    let head = allocators.iter().map(|allocator| allocator.name.to_owned());
    table.set_header(["program: s, MiB at most".to_owned()].into_iter().chain(head));
    for program in PROGRAMS {
        let value = |allocator: &Allocator, unit| {
            let mut of_program = figures.iter().filter(|figure| figure.workload == program.name);
            of_program
                .find(|figure| figure.allocator == allocator.name && figure.unit == unit)
                .map(|figure| figure.value)
        };
        let cell = |allocator| match (value(allocator, "s"), value(allocator, "MiB")) {
            (Some(time), Some(peak)) => format!("{time:.2}, {peak:.1}"),
            _ => "-".to_owned(),
        };
        if figures.iter().any(|figure| figure.workload == program.name) {
            table.add_row([program.name.to_owned()].into_iter().chain(allocators.iter().map(cell)));
        }
    }
    table.column_iter_mut().skip(1).for_each(|column| column.set_cell_alignment(CellAlignment::Right));
    table
}

fn names() -> String {
    PROGRAMS.iter().map(|program| program.name).collect::<Vec<_>>().join(", ")
}
