//! How much memory an allocator takes for what is live: asked of the system, in a process of its own for each figure.
//!
//! Every byte of every object is written to, so that what is left over is the allocator's doing: rounding, free space that it
//! keeps, and its own data. Pages that it never touched do not count, whatever it reserved.

use crate::case::{Case, Repeat};
use crate::meter::{Measured, Mode, Run, Value};
use anyhow::{Context, Result, bail, ensure};
use std::process::{Command, Stdio};
use std::{env, fs, io};
use workloads::heap::{Objects, Sizes, Window};

/// Live objects of `heap-overhead`.
const LIVE: usize = 200_000;
/// How many of them are replaced.
const CHURN: u64 = 1_000_000;

/// What a process found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Footprint {
    /// Bytes that were asked for and not freed.
    pub live: u64,
    /// Bytes that the system gave for that.
    pub taken: u64,
    /// Requests that were refused.
    pub refused: u64,
}

/// `heap-overhead`: sizes by a power law, each object replaced five times on average.
pub fn overhead<A: Objects>(run: Run) -> Vec<Measured> {
    measure(run, "heap-overhead", A::NAME, &|| {
        let mut window = Window::new(23, Sizes::PowerLaw, LIVE);
        let before = before();
        let heap = A::new();
        let refused = window.fill(&heap) + window.churn(&heap, CHURN);
        let live = window.use_all();
        Footprint { live, taken: resident().saturating_sub(before), refused }
    })
}

/// Starts a process for a workload's case, in which `work` is done.
pub fn measure(
    run: Run,
    workload: &'static str,
    allocator: &'static str,
    work: &dyn Fn() -> Footprint,
) -> Vec<Measured> {
    let found = match run.mode {
        Mode::Footprint => work(),
        _ => in_process(workload, allocator).unwrap_or_else(|error| panic!("{workload} with {allocator}: {error:#}")),
    };
    let Footprint { live, taken, refused } = found;
    vec![Measured { workload, value: Value::Overhead { live, taken, refused } }]
}

fn in_process(workload: &str, allocator: &str) -> Result<Footprint> {
    let output = Command::new(env::current_exe()?)
        .args(["footprint", workload, allocator])
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()?;
    ensure!(output.status.success(), "the process ended with {}", output.status);
    let text = String::from_utf8_lossy(&output.stdout);
    let numbers = text.split_whitespace().map(str::parse).collect::<Result<Vec<u64>, _>>()?;
    let [live, taken, refused] = numbers[..] else { bail!("the process said {text:?}") };
    Ok(Footprint { live, taken, refused })
}

/// What happens in that process: prints what the case finds out.
///
/// # Errors
/// There is no such case.
pub fn print(cases: &[Case], workload: &str, allocator: &str) -> Result<()> {
    let is_it =
        |case: &&Case| case.repeat == Repeat::Once && case.allocator == allocator && case.workloads.contains(&workload);
    let case = cases.iter().find(is_it).with_context(|| format!("no footprint of {workload} with {allocator}"))?;
    // Whether the system happens to have a huge page at hand must not matter.
    // SAFETY: the call takes no pointer.
    let result = unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0) };
    ensure!(result == 0, "cannot do without huge pages: {}", io::Error::last_os_error());
    let measured = (case.run)(Run { mode: Mode::Footprint, threads: 1 });
    let Some(Value::Overhead { live, taken, refused }) = measured.first().map(|measured| &measured.value) else {
        bail!("{workload} has no footprint");
    };
    println!("{live} {taken} {refused}");
    Ok(())
}

/// Bytes of the process's own memory that exist. What the harness has freed does not: C's heap is asked to give it back.
///
/// # Panics
/// The system does not say.
pub fn before() -> u64 {
    // SAFETY: the call takes no pointer.
    unsafe { libc::malloc_trim(0) };
    resident()
}

/// The same, with all that C's heap keeps.
///
/// # Panics
/// The system does not say.
pub fn resident() -> u64 {
    let text = fs::read_to_string("/proc/self/smaps_rollup").expect("Linux says how much memory a process has");
    let line = text.lines().find_map(|line| line.strip_prefix("Anonymous:")).expect("it has a line for that");
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("it is a number");
    kib * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_counts_once_it_is_written_to() {
        const SIZE: usize = 64 << 20;
        let before = resident();
        let mut memory = Vec::<u8>::with_capacity(SIZE);
        let reserved = resident() - before;
        memory.resize(SIZE, 1);
        let written = resident() - before;
        assert!(reserved < SIZE as u64 / 2 && written >= SIZE as u64, "{reserved} and {written}");
    }
}
