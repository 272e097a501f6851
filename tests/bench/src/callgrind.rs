//! Instructions: each workload in a process of its own under callgrind, which counts inside the measured code only.

use crate::case::{Case, HARNESS, OURS, Repeat};
use crate::meter::{self, COUNTED, Mode, Run, Value};
use crate::results::{Figure, Profile, Suite};
use anyhow::{Context, Result, bail, ensure};
use indicatif::ProgressBar;
use std::env;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// What to do where valgrind is missing.
pub const MISSING: &str = "valgrind is not on this machine, so no instructions were counted on the host, and their columns \
     are missing.\nInstall the package `valgrind` (Debian, Ubuntu: `apt-get install valgrind`; Fedora, Arch: the same \
     name), or say --no-count";

/// Whether callgrind can be run.
pub fn is_there() -> bool {
    let mut command = Command::new("valgrind");
    command.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// The workloads whose instructions can be counted, each with an allocator.
pub fn countable(cases: &[Case]) -> Vec<(&'static str, &'static str)> {
    let is_counted = |case: &&Case| case.is_countable && case.repeat == Repeat::EveryRound && case.threads.contains(&1);
    let counted = cases.iter().filter(is_counted);
    counted.flat_map(|case| case.workloads.iter().map(|workload| (*workload, case.allocator))).collect()
}

/// Counts all of them, as many at a time as there are CPUs: unlike times, counts do not mind.
///
/// # Errors
/// Callgrind fails, or says something else than it should.
pub fn run(pairs: &[(&'static str, &'static str)], workers: usize, bar: &ProgressBar) -> Result<Vec<Figure>> {
    let next = AtomicUsize::new(0);
    let figures = Mutex::new(Vec::new());
    let work = || -> Result<()> {
        loop {
            let nth = next.fetch_add(1, Ordering::Relaxed);
            let Some(&(workload, allocator)) = pairs.get(nth) else { return Ok(()) };
            bar.set_message(format!("{workload}, instructions: {allocator}"));
            let (value, profile) =
                count(workload, allocator).with_context(|| format!("{workload} with {allocator}"))?;
            let figure = Figure { profile, ..Figure::instructions(Suite::Host, workload, allocator, value, 0) };
            figures.lock().expect("no worker panics while it holds it").push((nth, figure));
            bar.inc(1);
        }
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        workers
            .into_iter()
            .try_for_each(|worker| worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })?;
    let mut figures = figures.into_inner().expect("all workers are done");
    figures.sort_by_key(|(nth, _)| *nth);
    Ok(figures.into_iter().map(|(_, figure)| figure).collect())
}

/// The instructions of one operation; for ours, also by function.
fn count(workload: &str, allocator: &str) -> Result<(f64, Profile)> {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("out");
    let (output, errors) = observed(&file, &[], &["count", workload, allocator])?;
    let instructions = errors
        .lines()
        .find_map(|line| line.split_once("Collected : "))
        .and_then(|(_, count)| count.trim().parse::<f64>().ok())
        .with_context(|| format!("callgrind did not say how many instructions it saw:\n{errors}"))?;
    let operations: f64 = output.trim().parse().context("the run counted nothing")?;
    let mut profile = if allocator == OURS { profile(&file) } else { Vec::new() };
    profile.iter_mut().for_each(|(_, instructions)| *instructions /= operations);
    Ok((instructions / operations, profile))
}

/// Runs this program with these arguments under callgrind, which writes to a file: what both said.
fn observed(file: &Path, options: &[&str], arguments: &[&str]) -> Result<(String, String)> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--collect-atstart=no"])
        .arg(format!("--toggle-collect=*{COUNTED}*"))
        .arg(format!("--callgrind-out-file={}", file.display()))
        .args(options)
        .arg(env::current_exe()?)
        .args(arguments)
        .stdin(Stdio::null())
        .output()?;
    let [said, errors] = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    ensure!(output.status.success(), "valgrind ended with {}:\n{errors}", output.status);
    Ok((said, errors))
}

/// The instructions of each call of the code that counts, in a run of this program with these arguments; and what it said.
///
/// # Errors
/// Callgrind fails, or says something else than it should.
pub fn each_call(arguments: &[&str]) -> Result<(Vec<u64>, String)> {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("out");
    // A part of the file for each, of which only the sum is of interest. Here callgrind takes whole names only.
    let options = [&format!("--dump-after={}::{COUNTED}", meter::PATH), "--combine-dumps=yes", "--dump-line=no"];
    let (said, errors) = observed(&file, &options, arguments)?;
    let mut counts = Vec::new();
    for line in BufReader::new(File::open(&file).context(errors)?).lines() {
        if let Some(count) = line?.strip_prefix("totals: ") {
            counts.push(count.trim().parse().with_context(|| format!("callgrind counted {count}"))?);
        }
    }
    // The last part is what came behind the last call.
    ensure!(counts.pop() == Some(0), "callgrind counted something that is no call");
    Ok((counts, said))
}

/// The instructions of each function, most first; nothing where valgrind comes without its script for that.
fn profile(file: &Path) -> Profile {
    let mut command = Command::new("callgrind_annotate");
    let Ok(output) = command.args(["--auto=no", "--threshold=100"]).arg(file).stdin(Stdio::null()).output() else {
        return Vec::new();
    };
    by_function(&String::from_utf8_lossy(&output.stdout))
}

/// Adds up the lines of callgrind_annotate, which has one for each function and file that its code comes from.
fn by_function(annotated: &str) -> Profile {
    let mut profile: Profile = Vec::new();
    for line in annotated.lines() {
        let Some((count, place)) = line.split_once("%)  ") else { continue };
        let count: String = count.split('(').next().unwrap_or_default().chars().filter(char::is_ascii_digit).collect();
        let (Ok(count), Some((_, function))) = (count.parse::<f64>(), place.split_once(':')) else { continue };
        let function = shortened(function.split(" [").next().unwrap_or_default());
        match profile.iter_mut().find(|(name, _)| *name == function) {
            Some((_, sum)) => *sum += count,
            None => profile.push((function, count)),
        }
    }
    profile.sort_by(|(_, one), (_, other)| other.total_cmp(one));
    profile
}

/// `PageAllocator::free` of `<bifolio::allocator::PageAllocator<bench::thread::Thread>>::free`. What has nothing of Bifolio's
/// in it is the harness; a loop of the harness's has, since what it calls may be inlined.
fn shortened(function: &str) -> String {
    if !function.contains("bifolio::") {
        return HARNESS.to_owned();
    }
    let (mut depth, mut path) = (0, String::new());
    // A type in front of `::` stands in brackets itself; those inside hold parameters.
    let outermost = i32::from(function.starts_with('<'));
    let mut kept = outermost;
    for letter in function.chars() {
        match letter {
            '<' => depth += 1,
            '>' => {
                depth -= 1;
                kept = kept.min(depth);
            }
            _ if depth == kept => path.push(letter),
            _ => {}
        }
    }
    // A closure has no name of its own.
    let parts: Vec<&str> = path.split("::").filter(|part| !part.is_empty() && !part.starts_with('{')).collect();
    parts[parts.len().saturating_sub(2)..].join("::")
}

/// The run that happens under callgrind: prints how many operations were counted.
///
/// # Errors
/// There is no such case.
pub fn counted_run(cases: &[Case], workload: &str, allocator: &str) -> Result<()> {
    let case = cases.iter().find_map(|case| {
        let is_it =
            |name: &&&str| **name == workload && case.allocator == allocator && case.repeat == Repeat::EveryRound;
        let name = case.workloads.iter().find(is_it)?;
        Some((case, *name))
    });
    let Some((case, workload)) = case else { bail!("no workload {workload} with {allocator}") };
    let measured = (case.run)(Run { mode: Mode::Count(workload), threads: 1 });
    let Some(Value::Operations { count, .. }) = measured.into_iter().next().map(|measured| measured.value) else {
        bail!("{workload} measures no operations");
    };
    println!("{count}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_is_the_sum_of_its_lines() {
        let annotated = "\
65,235,355 (100.0%)  PROGRAM TOTALS
10,000,000 (16.29%)  kernel/mm/src/zone/mod.rs:<bifolio::zone::Zone>::free_frame [/bench]
   500,000 ( 6.03%)  /library/core/src/sync/atomic.rs:<bifolio::allocator::PageAllocator<bench::Thread>>::free::<true>
   500,000 ( 6.03%)  kernel/mm/src/buddy.rs:<bifolio::zone::Zone>::free_frame
         7 ( 0.00%)  tests/bench/src/x.rs:bench::page::whole_memory::<workloads::bifolio::Bifolio<bench::Thread>>
         5 ( 0.00%)  x.rs:bench::page::operations::bulk::<workloads::bifolio::Bifolio<Thread>>::{closure#0}::{closure#1}
         3 ( 0.00%)  tests/bench/src/meter.rs:bench::meter::counted_by_callgrind
";
        let expected = [
            ("Zone::free_frame", 10_500_000.0),
            ("PageAllocator::free", 500_000.0),
            ("page::whole_memory", 7.0),
            ("operations::bulk", 5.0),
            (HARNESS, 3.0),
        ];
        assert_eq!(by_function(annotated), expected.map(|(name, count)| (name.to_owned(), count)));
    }
}
