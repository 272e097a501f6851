//! The command that has all CPUs work the allocator and the heap.

use super::error::Error;
use super::state::Shell;
use crate::cpu::{self, timer};
use crate::host::Ticks;
use crate::machine::Machine;
use crate::println;
use ::stress::Plan;
use core::time::Duration;
use line::{expect, number};

/// The seed unless another is given: the same operations each time, as far as CPUs that work at once do the same.
const SEED: u64 = 1;

pub(super) fn stress<'a>(shell: &mut Shell, words: &[&'a str]) -> Result<(), Error<'a>> {
    let words = expect(words, &["the number of seconds"], 2)?;
    let time = Duration::from_secs(number(words[0])?);
    let cpus = match words.get(1) {
        Some(word) => number(word)?.try_into().unwrap_or(usize::MAX),
        None => cpu::count(),
    };
    let seed = words.get(2).map_or(Ok(SEED), |word| number(word))?;
    let plan = Plan { cpus, time, timers: timer::rate() > 0, seed, cancellable: true };
    plan.check::<Machine>()?;
    if !plan.timers {
        println!("the CPUs have no timers that could interrupt them: it goes without");
    }
    println!("Ctrl-C ends it early; what else is typed waits for the prompt");
    println!("memory is made short now and then: some requests may be refused, and the allocator may say so");
    let summary = ::stress::run::<Machine>(plan)?;
    if summary.was_cancelled {
        println!("ended early, by Ctrl-C");
        shell.is_cancelled = true;
    }
    println!("{summary}");
    match Ticks::in_time(summary.longest) {
        Some(instructions) => {
            println!("longest call: {instructions}, of this CPU and of those whose turn it was meanwhile")
        }
        None => println!("longest call: {:?}", summary.longest),
    }
    println!(
        "{} MiB at most; all is back and checked: every block is free or in use as before (mobilities of pageblocks may \
         differ)",
        summary.bytes >> 20
    );
    Ok(())
}
