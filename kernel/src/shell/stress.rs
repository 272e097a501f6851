//! The command that has all CPUs work the allocator and the heap.

use super::commands::{expect, number};
use super::{Error, Shell};
use crate::cpu;
use crate::println;
use crate::stress::{self, Plan};
use core::time::Duration;

/// The seed unless another is given: the same operations each time, as far as CPUs that work at once do the same.
const SEED: u64 = 1;

pub(super) fn stress<'a>(_: &mut Shell, words: &[&'a str]) -> Result<(), Error<'a>> {
    let words = expect(words, &["the number of seconds"], 2)?;
    let time = Duration::from_secs(number(words[0])?);
    let cpus = match words.get(1) {
        Some(word) => number(word)?.try_into().unwrap_or(usize::MAX),
        None => cpu::count(),
    };
    let seed = words.get(2).map_or(Ok(SEED), |word| number(word))?;
    println!("memory is made short now and then: some requests are refused, and the allocator may say so");
    let summary = stress::run(Plan { cpus, time, timers: true, seed })?;
    println!("{summary}");
    println!("{} MiB at most; all is back, checked, and each frame as it was", summary.bytes >> 20);
    Ok(())
}
