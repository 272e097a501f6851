//! `make soak`: random operations without end, or nearly.

use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use model::soak::{Round, group};
use model::tally::Tally;

/// Does random operations on the page-frame allocator and on an oracle, and fails at the first difference
#[derive(Parser)]
#[command(version, max_term_width = 100)]
struct Cli {
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
    let style = "{wide_bar} {human_pos} of {human_len} operations, {eta} left";
    let bar = ProgressBar::new(if cli.only.is_some() { cli.round } else { cli.operations });
    bar.set_style(ProgressStyle::with_template(style).expect("the template is valid"));
    let start = Instant::now();
    let rounds = cli.operations.div_ceil(cli.round);
    let mut tally = Tally::default();
    for number in (0..rounds).filter(|number| cli.only.is_none_or(|only| only == *number)) {
        let operations = cli.round.min(cli.operations - number * cli.round);
        let mut round = Round::new(cli.seed, number);
        let result =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| round.run(operations, |done| bar.inc(done))));
        if result.is_err() {
            bar.abandon();
            eprintln!(
                "error: round {number} failed. To see it again: --seed {} --round {} --only {number}",
                cli.seed, cli.round
            );
            return ExitCode::FAILURE;
        }
        tally += &round.tally;
    }
    bar.finish_and_clear();
    println!("{tally}");
    println!(
        "{} random operations on {rounds} machines with seed {}: {} refusals justified, {} bad frees named, all freed: as at first ({:.0} s)",
        bar.position(),
        cli.seed,
        tally.all(group::REFUSALS),
        tally.all(group::BAD_FREES),
        start.elapsed().as_secs_f32()
    );
    ExitCode::SUCCESS
}
