//! `make bench`: the allocator and its peers, side by side.
//!
//! One program runs every allocator on the same operations. A [`case`] is a group of workloads with one allocator; a
//! [`meter`] runs it on pinned threads; [`rounds`] takes times and [`callgrind`] counts instructions; [`results`] is what
//! both say. What the workloads are is in [`page`], who the peers are in [`peers`].
#![allow(missing_docs, reason = "a program has no public items")]

mod callgrind;
mod case;
mod meter;
mod page;
mod peers;
mod results;
mod rounds;
mod tables;
mod thread;

use anyhow::{Result, ensure};
use case::Case;
use clap::{Parser, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use meter::Mode;
use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

/// Measures Bifolio and its peers on the same operations
#[derive(Parser)]
#[command(version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    /// Only workloads whose name contains one of these
    #[arg(long, short, value_name = "FILTER", value_delimiter = ',')]
    workload: Vec<String>,
    /// Only allocators whose name contains one of these
    #[arg(long, short, value_name = "FILTER", value_delimiter = ',')]
    allocator: Vec<String>,
    /// How often each time is taken [default: 5, or 1 with --quick]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    rounds: Option<u16>,
    /// A fast look: fewer operations and rounds
    #[arg(long)]
    quick: bool,
    /// Do not count instructions
    #[arg(long)]
    no_count: bool,
    /// List workloads and allocators instead
    #[arg(long)]
    list: bool,
    /// Where results go
    #[arg(long, value_name = "DIRECTORY", default_value = "target/bench")]
    out: PathBuf,
}

#[derive(Subcommand)]
enum Command {
    /// One run under callgrind
    #[command(hide = true)]
    Count { workload: String, allocator: String },
}

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> Result<()> {
    thread::announce_barriers();
    let all = page::cases();
    if let Some(Command::Count { workload, allocator }) = &cli.command {
        return callgrind::counted_run(&all, workload, allocator);
    }
    let cases: Vec<Case> = all.into_iter().filter(|case| is_selected(case, cli)).collect();
    ensure!(!cases.is_empty(), "no workload and allocator of these names: --list shows all");
    if cli.list {
        list(&cases);
        return Ok(());
    }
    fs::create_dir_all(&cli.out)?;
    let (mode, rounds) = if cli.quick { (Mode::Quick, 1) } else { (Mode::Time, 5) };
    let rounds = cli.rounds.map_or(rounds, usize::from);
    let counted = if cli.no_count { Vec::new() } else { callgrind::countable(&cases) };

    let bar = progress_bar(rounds::count(&cases, rounds) + counted.len());
    let mut figures = rounds::run(&cases, mode, rounds, &bar);
    let can_count = counted.is_empty() || callgrind::is_there();
    if can_count {
        figures.extend(callgrind::run(&counted, thread::cpus(), &bar)?);
    }
    bar.finish_and_clear();
    tables::print(&figures);
    if cli.quick {
        println!("\nThis was a fast look: few operations, {rounds} round(s). It proves nothing.");
    }
    if !can_count {
        eprintln!("\nwarning: {}", callgrind::MISSING);
    }
    let path = cli.out.join("results.json");
    results::write(&figures, &path)?;
    println!("\n{}", path.display());
    Ok(())
}

fn is_selected(case: &Case, cli: &Cli) -> bool {
    let matches = |name: &str, filters: &[String]| {
        filters.is_empty() || filters.iter().any(|filter| name.contains(filter.as_str()))
    };
    let is_harness = case.allocator == case::HARNESS;
    case.workloads.iter().any(|workload| matches(workload, &cli.workload))
        && (is_harness || matches(case.allocator, &cli.allocator))
}

fn list(cases: &[Case]) {
    let workloads: Vec<&str> = {
        let mut seen = BTreeSet::new();
        cases.iter().flat_map(|case| case.workloads).copied().filter(|name| seen.insert(*name)).collect()
    };
    let allocators: BTreeSet<&str> =
        cases.iter().map(|case| case.allocator).filter(|name| *name != case::HARNESS).collect();
    println!("workloads:");
    workloads.iter().for_each(|name| println!("  {name}"));
    println!("allocators:");
    allocators.iter().for_each(|name| println!("  {name}"));
}

fn progress_bar(steps: usize) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len}  {elapsed} (about {eta} left)  {msg}");
    ProgressBar::new(steps as u64).with_style(style.expect("the template is valid"))
}
