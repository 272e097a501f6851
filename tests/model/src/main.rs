//! `make soak`: random operations without end, or nearly.

use std::panic::AssertUnwindSafe;
use std::process::ExitCode;
use std::time::Instant;

use clap::{Parser, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use model::tally::Tally;
use model::{heap, soak};

/// What is soaked.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Subject {
    /// The page-frame allocator
    Frames,
    /// The heap on top of it, its objects' contents checked
    Heap,
}

/// Does random operations on the page-frame allocator, and on the heap, and on oracles, and fails at the first difference
#[derive(Parser)]
#[command(version, max_term_width = 100)]
struct Cli {
    /// On what; without it, on both, one behind the other
    subject: Option<Subject>,
    /// How many operations
    #[arg(long, env = "OPERATIONS", default_value_t = 100_000_000, hide_env_values = true)]
    operations: u64,
    /// Which ones: the same seed gives the same
    #[arg(long, env = "SEED", default_value_t = 1, hide_env_values = true)]
    seed: u64,
    /// How many of them on one machine, until everything is freed
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    round: u64,
    /// Only the round with this number
    #[arg(long)]
    only: Option<u64>,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let subjects = [Subject::Frames, Subject::Heap].into_iter();
    for subject in subjects.filter(|subject| cli.subject.is_none_or(|only| only == *subject)) {
        if soak(&cli, subject).is_err() {
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

/// Soaks one of them, and prints what was done.
fn soak(cli: &Cli, subject: Subject) -> Result<(), ()> {
    let style = "{wide_bar} {human_pos} of {human_len} operations, {eta} left";
    let bar = ProgressBar::new(if cli.only.is_some() { cli.round } else { cli.operations });
    bar.set_style(ProgressStyle::with_template(style).expect("the template is valid"));
    let start = Instant::now();
    let rounds = cli.operations.div_ceil(cli.round);
    let mut tally = Tally::default();
    for number in (0..rounds).filter(|number| cli.only.is_none_or(|only| only == *number)) {
        let operations = cli.round.min(cli.operations - number * cli.round);
        let round = AssertUnwindSafe(|| {
            let progress = |done| bar.inc(done);
            match subject {
                Subject::Frames => soak::run(cli.seed, number, operations, progress),
                Subject::Heap => heap::run(cli.seed, number, operations, progress),
            }
        });
        let Ok(done) = std::panic::catch_unwind(round) else {
            bar.abandon();
            let subject = subject.to_possible_value().expect("both have names");
            eprintln!(
                "error: round {number} failed. To see it again: {} --seed {} --round {} --only {number}",
                subject.get_name(),
                cli.seed,
                cli.round
            );
            return Err(());
        };
        tally += &done;
    }
    bar.finish_and_clear();
    println!("{tally}");
    let (what, refusals, bad_frees) = match subject {
        Subject::Frames => ("operations on", soak::group::REFUSALS, soak::group::BAD_FREES),
        Subject::Heap => ("heap operations with contents checked on", heap::group::REFUSALS, heap::group::BAD_FREES),
    };
    println!(
        "{} random {what} {rounds} machines with seed {}: {} refusals justified, {} bad frees named, all freed: as at first ({:.0} s)",
        bar.position(),
        cli.seed,
        tally.all(refusals),
        tally.all(bad_frees),
        start.elapsed().as_secs_f32()
    );
    Ok(())
}
