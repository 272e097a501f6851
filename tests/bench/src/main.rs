//! `make bench`: the allocator and its peers, side by side.
//!
//! One program runs every allocator on the same operations. A [`case`] is a group of workloads with one allocator; a
//! [`meter`] runs it on pinned threads; [`rounds`] takes times and [`callgrind`] counts instructions; [`results`] is what
//! both say. What the workloads are is in [`page`] and [`heap`]; who the peers are in [`peers`] and beside the heap's.
#![allow(missing_docs, reason = "a program has no public items")]

mod callgrind;
mod case;
mod goals;
mod guest;
mod heap;
mod meter;
mod page;
mod peers;
mod plots;
mod programs;
mod report;
mod results;
mod rounds;
mod tables;
mod thread;

use anyhow::{Result, ensure};
use case::{Case, is_named};
use clap::{Parser, Subcommand, ValueEnum};
use guest::Guest;
use indicatif::{ProgressBar, ProgressStyle};
use meter::Mode;
use programs::Programs;
use results::Figure;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;

/// How often a time is taken by which goals are judged.
const ROUNDS: usize = 9;
const ROUNDS_OF_PROGRAMS: usize = 5;

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
    /// Only one of the suites
    #[arg(long, short)]
    suite: Option<OneSuite>,
    /// How often each time is taken [default: 9, of whole programs 5; 1 with --quick]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    rounds: Option<u16>,
    /// A fast look: fewer operations and rounds
    #[arg(long)]
    quick: bool,
    /// Do not count instructions on the host
    #[arg(long)]
    no_count: bool,
    /// List workloads and allocators instead
    #[arg(long)]
    list: bool,
    /// Where results go
    #[arg(long, value_name = "DIRECTORY", default_value = "target/bench")]
    out: PathBuf,
    /// Put the tables between the markers of this page, and the plots into its folder
    #[arg(long, value_name = "PAGE")]
    update: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum OneSuite {
    /// In this process
    Host,
    /// In a booted kernel
    Kernel,
    /// In programs that know nothing of it
    Programs,
}

#[derive(Subcommand)]
enum Command {
    /// One run under callgrind
    #[command(hide = true)]
    Count { workload: String, allocator: String },
    /// One run of single operations under callgrind
    #[command(hide = true)]
    Singles { allocator: String, before: usize, operations: usize },
    /// One run whose memory counts
    #[command(hide = true)]
    Footprint { workload: String, allocator: String },
    /// Record what a program asks its heap for, as a trace that can be replayed
    Record {
        /// The trace's file
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// How many events to keep
        #[arg(long, value_name = "N", default_value_t = 250_000)]
        events: usize,
        /// The program and its arguments
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
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
    let all: Vec<Case> = page::cases().into_iter().chain(heap::cases()).collect();
    match &cli.command {
        Some(Command::Count { workload, allocator }) => return callgrind::counted_run(&all, workload, allocator),
        Some(Command::Singles { allocator, before, operations }) => {
            return page::singles::counted_run(allocator, *before, *operations);
        }
        Some(Command::Footprint { workload, allocator }) => return heap::footprint::print(&all, workload, allocator),
        Some(Command::Record { out, events, command }) => return heap::trace::record(command, *events, out),
        None => {}
    }
    let cases: Vec<Case> = all.into_iter().filter(|case| is_selected(case, cli)).collect();
    if cli.list {
        list(&cases);
        return Ok(());
    }
    let is_all = cli.suite.is_none() && cli.workload.is_empty() && cli.allocator.is_empty();
    ensure!(cli.update.is_none() || (is_all && !cli.quick), "a page is for all figures, and not for a fast look");
    let wants = |suite| cli.suite.is_none_or(|only| only == suite);
    // What is missing is said before anything is measured.
    let guest = wants(OneSuite::Kernel).then(Guest::find).transpose()?;
    let programs = wants(OneSuite::Programs).then(Programs::find).transpose()?;
    let mode = if cli.quick { Mode::Quick } else { Mode::Time };
    let rounds = |usual| cli.rounds.map_or(if cli.quick { 1 } else { usual }, usize::from);
    let mut figures = Vec::new();
    if wants(OneSuite::Host) {
        figures.extend(measure_host(cli, &cases, mode, rounds(ROUNDS))?);
    }
    if let Some(guest) = guest {
        let bar = ProgressBar::new_spinner();
        figures.extend(guest.run(&cli.workload, &bar)?);
        bar.finish_and_clear();
    }
    if let Some(programs) = programs {
        let bar = ProgressBar::new_spinner();
        figures.extend(programs.run(&cli.workload, cli.quick, rounds(ROUNDS_OF_PROGRAMS), &bar)?);
        bar.finish_and_clear();
    }
    figures.retain(|figure| figure.allocator == case::HARNESS || is_named(&figure.allocator, &cli.allocator));
    ensure!(!figures.is_empty(), "no workload and allocator of these names: --list shows those of the host");
    report::write(&figures, cli.quick, &cli.out)?;
    if let Some(page) = &cli.update {
        report::update(&figures, page)?;
    }
    if !cli.no_count && wants(OneSuite::Host) && !callgrind::is_there() {
        eprintln!("\nwarning: {}", callgrind::MISSING);
    }
    Ok(())
}

fn measure_host(cli: &Cli, cases: &[Case], mode: Mode, rounds: usize) -> Result<Vec<Figure>> {
    let can_count = !cli.no_count && callgrind::is_there();
    let counted = if can_count { callgrind::countable(cases) } else { Vec::new() };
    let bar = progress_bar(rounds::count(cases, rounds) + counted.len());
    let mut figures = rounds::run(cases, mode, rounds, &bar);
    figures.extend(callgrind::run(&counted, thread::cpus(), &bar)?);
    if can_count {
        figures.extend(page::singles::run(&cli.workload, &cli.allocator, cli.quick, &bar)?);
    }
    bar.finish_and_clear();
    if thread::cpus() < 2 {
        eprintln!("warning: this process may run on one CPU only, so nothing was measured with two threads");
    }
    Ok(figures)
}

fn is_selected(case: &Case, cli: &Cli) -> bool {
    case.workloads.iter().any(|workload| is_named(workload, &cli.workload))
        && (case.allocator == case::HARNESS || is_named(case.allocator, &cli.allocator))
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
    workloads::singles::RANKS.iter().for_each(|name| println!("  {name}"));
    println!("workloads that run in the kernel only:\n  page-setup-1TiB\n  heap-worst\n  heap-worst-later");
    guest::OF_CPUS.iter().for_each(|name| println!("  {name}"));
    println!("allocators:");
    allocators.iter().for_each(|name| println!("  {name}"));
    println!("{}", peers::ABSENT);
}

fn progress_bar(steps: usize) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len}  {elapsed} (about {eta} left)  {msg}");
    ProgressBar::new(steps as u64).with_style(style.expect("the template is valid"))
}
