//! `make states`: every state of small machines, and every operation in each.
#![allow(missing_docs, reason = "a program has no public items")]

use std::time::Instant;

use clap::Parser;
use model::states::{self, Explored};

/// Visits every state of small machines, does every operation in each, and checks every invariant
#[derive(Parser)]
#[command(version, max_term_width = 100)]
struct Cli {
    /// Goes on from so many states of each machine, at most
    #[arg(long, env = "STATES", default_value_t = 100_000, hide_env_values = true)]
    states: usize,
    /// Only the machines whose names contain this
    #[arg(long, default_value = "")]
    only: String,
}

fn main() {
    let cli = Cli::parse();
    let mut sum = Explored::default();
    for (name, explore) in states::all().filter(|(name, _)| name.contains(&cli.only)) {
        let begin = Instant::now();
        let explored = explore(cli.states);
        let rest = match explored.left {
            0 => "all that there are".to_owned(),
            left => format!("{left} of them not gone on from"),
        };
        let (Explored { states, steps, .. }, seconds) = (explored, begin.elapsed().as_secs_f32());
        println!("{name}: {states} states, {rest}; {steps} steps between them ({seconds:.0} s)");
        sum.states += states;
        sum.steps += steps;
    }
    println!("{} states and {} steps, every invariant holds in each", sum.states, sum.steps);
}
