//! Everything that has to hold before anybody else gets to see a change: `make test`.
//!
//! Format, lints and documentation, the host's tests, and each booted subject on every machine that matters. What cargo
//! does goes one after another, since cargo would wait for itself anyway; machines run meanwhile, two jobs at a time
//! altogether, so that a small host is busy and not overrun.

use crate::harness::{self, Interrupted, Plan};
use crate::machine::{Firmware, Machine, Memory};
use crate::report::{Report, sum_results};
use crate::run::Limits;
use crate::terminal;
use anyhow::{Context, Result, bail, ensure};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use std::ffi::OsString;
use std::fs::File;
use std::io::{IsTerminal, Read, Seek};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use std::{env, io};

/// The machines that booted tests run on: memory below, at and above what decides how many zones and what kind of map there
/// is, with either firmware; of each pair of those, one on a single CPU and one on several.
const MACHINES: [Machine; 6] = [
    Machine::new(Firmware::Bios, Memory::from_mib(64), 1),
    Machine::new(Firmware::Bios, Memory::from_mib(512), 4),
    Machine::new(Firmware::Bios, Memory::from_mib(6 << 10), 1),
    Machine::new(Firmware::Uefi, Memory::from_mib(64), 4),
    Machine::new(Firmware::Uefi, Memory::from_mib(512), 1),
    Machine::new(Firmware::Uefi, Memory::from_mib(6 << 10), 4),
];
const GUEST: &str = "x86_64-unknown-none";

/// What cargo checks, each as a title and arguments. The host's tests come first, since they take longest.
const CHECKS: &[(&str, &[&str])] = &[
    ("host tests", &["test", "--no-fail-fast"]),
    ("format", &["fmt", "--all", "--check"]),
    ("lints", &["clippy", "--all-targets", "--", "-D", "warnings"]),
    (
        "lints of what boots",
        &[
            "clippy",
            "-p",
            "kernel",
            "-p",
            "framework",
            "-p",
            "booted",
            "-p",
            "specimens",
            "-p",
            "bench-kernel",
            "--target",
            GUEST,
            "--bins",
            "--lib",
            "--tests",
            "--",
            "-D",
            "warnings",
        ],
    ),
    // By itself and without unwinding, as it is built.
    ("lints of C's malloc", &["clippy", "-p", "malloc", "--profile", "preloaded", "--", "-D", "warnings"]),
    // Whether they are fast is `make bench`'s to say; that they build is looked after here.
    (
        "lints of the benchmarks and of what looks for races",
        &[
            "clippy",
            "-p",
            "bench",
            "-p",
            "workloads",
            "-p",
            "recorder",
            "-p",
            "concurrency",
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ],
    ),
    // What the tools find is `make concurrency`'s to say; that what they are to find has its place in the sources, this.
    ("mistakes planted by make concurrency", &["test", "-p", "concurrency", "--bin", "concurrency"]),
    ("documentation", &["doc", "--no-deps"]),
    ("documentation of what boots", &["doc", "--no-deps", "-p", "kernel", "-p", "framework", "--target", GUEST]),
];

/// Tests, or checks that count as one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// How many passed.
    pub passed: usize,
    /// How many failed.
    pub failed: usize,
}

/// What a job came to.
struct Finished {
    count: Count,
    /// What it wrote, to be shown if anything failed.
    output: String,
}

/// Runs everything; prints each part as it is done and in the end `N passed, N failed`.
///
/// # Errors
/// The suite itself could not run, or was [`Interrupted`]. Failing tests are counted.
pub fn run() -> Result<Count> {
    terminal::signals()?;
    let start = Instant::now();
    let board = Board::new();
    let kernels = board.build()?;
    let boots: Vec<(Machine, &PathBuf)> =
        MACHINES.iter().flat_map(|&machine| kernels.iter().map(move |kernel| (machine, kernel))).collect();
    board.expect(CHECKS.len() + boots.len());
    let next = AtomicUsize::new(0);
    let boot_the_rest = || -> Result<()> {
        while let Some(&(machine, kernel)) = boots.get(next.fetch_add(1, Ordering::Relaxed)) {
            board.job(&format!("{}, {machine}", subject(kernel)), || boot(kernel, machine))?;
        }
        Ok(())
    };
    thread::scope(|scope| {
        let machines = scope.spawn(boot_the_rest);
        let checks = CHECKS.iter().try_for_each(|(title, arguments)| board.job(title, || check(arguments)));
        checks
            .and_then(|()| boot_the_rest())
            .and(machines.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })?;
    let count = board.total();
    board.say(&format!("\nfinished in {:.0} s", start.elapsed().as_secs_f32()));
    println!("{} passed, {} failed", count.passed, count.failed);
    Ok(count)
}

/// The name of a test kernel: its file's without cargo's hash.
fn subject(kernel: &Path) -> String {
    let stem = kernel.file_stem().unwrap_or_default().to_string_lossy();
    stem.rsplit_once('-').map_or(&*stem, |(name, _)| name).to_owned()
}

/// Runs the tests of a kernel on a machine.
fn boot(kernel: &Path, machine: Machine) -> Result<Finished> {
    let plan = Plan { kernel, machine, selection: String::new(), time_limit: Limits::QUIET };
    let mut output = Vec::new();
    let mut report = Report::new(&mut output, false, false);
    let tests = harness::run(&plan, &mut report)?;
    report.conclude(&tests);
    let count = Count { passed: tests.passed(), failed: tests.failed() };
    Ok(Finished { count, output: String::from_utf8_lossy(&output).into_owned() })
}

/// Runs a cargo command. One that prints no test results counts as one test.
fn check(arguments: &[&str]) -> Result<Finished> {
    let (succeeded, output) = cargo(arguments)?;
    let (passed, failed) = sum_results(&output);
    let count = match (succeeded, passed + failed) {
        (true, 0) => Count { passed: 1, failed: 0 },
        // Whatever else went wrong must not pass for success.
        (false, _) if failed == 0 => Count { passed, failed: 1 },
        _ => Count { passed, failed },
    };
    Ok(Finished { count, output })
}

/// Runs cargo to its end, or to a signal; whether it succeeded, and all it wrote.
fn cargo(arguments: &[&str]) -> Result<(bool, String)> {
    let program = env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut output = tempfile::tempfile().context("cannot keep cargo's output")?;
    let mut command = Command::new(&program);
    command.args(arguments).env("RUSTDOCFLAGS", "-D warnings").stdin(Stdio::null());
    command.stdout(output.try_clone()?).stderr(output.try_clone()?);
    let mut child = command
        .spawn()
        .with_context(|| format!("cannot start {}. `make setup` installs the toolchain", program.display()))?;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if let Some(signal) = terminal::signals()?.received() {
            child.kill()?;
            child.wait()?;
            return Err(Interrupted(signal).into());
        }
        thread::sleep(Duration::from_millis(50));
    };
    Ok((status.success(), read_all(&mut output)?))
}

fn read_all(file: &mut File) -> io::Result<String> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Takes the paths of test programs out of the JSON messages that cargo writes with `--message-format=json`.
#[must_use]
pub fn executables(messages: &str) -> Vec<PathBuf> {
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let tests = messages.filter(|message| message["target"]["kind"][0] == "test");
    tests.filter_map(|message| message["executable"].as_str().map(PathBuf::from)).collect()
}

/// Shows how the suite gets on, and counts.
struct Board {
    bars: MultiProgress,
    is_terminal: bool,
    sum: Mutex<Sum>,
}

#[derive(Default)]
struct Sum {
    done: usize,
    expected: usize,
    count: Count,
}

impl Board {
    fn new() -> Board {
        Board { bars: MultiProgress::new(), is_terminal: io::stderr().is_terminal(), sum: Mutex::default() }
    }

    /// Builds the booted tests and finds their kernels.
    fn build(&self) -> Result<Vec<PathBuf>> {
        let arguments =
            ["test", "-p", "booted", "--target", GUEST, "--no-run", "--message-format=json-render-diagnostics"];
        let bar = self.bar("building the booted tests");
        let start = Instant::now();
        let (succeeded, output) = cargo(&arguments)?;
        bar.finish_and_clear();
        if !succeeded {
            self.say(output.lines().filter(|line| !line.starts_with('{')).collect::<Vec<_>>().join("\n").as_str());
            bail!("the booted tests do not build");
        }
        let kernels = executables(&output);
        ensure!(!kernels.is_empty(), "there are no booted tests");
        self.say(&format!("built {} booted subjects ({:.1} s)", kernels.len(), start.elapsed().as_secs_f32()));
        Ok(kernels)
    }

    fn expect(&self, jobs: usize) {
        self.lock().expected = jobs;
    }

    /// Runs one job, and shows and counts what it came to.
    fn job(&self, title: &str, work: impl FnOnce() -> Result<Finished>) -> Result<()> {
        if let Some(signal) = terminal::signals()?.received() {
            return Err(Interrupted(signal).into());
        }
        let bar = self.bar(title);
        let start = Instant::now();
        let result = work();
        bar.finish_and_clear();
        let Finished { count, output } = match result {
            Err(error) if error.is::<Interrupted>() => return Err(error),
            Err(error) => Finished { count: Count { passed: 0, failed: 1 }, output: format!("error: {error:#}") },
            Ok(finished) => finished,
        };
        let mut sum = self.lock();
        sum.done += 1;
        sum.count.passed += count.passed;
        sum.count.failed += count.failed;
        let verdict = if count.failed == 0 { "ok".to_owned() } else { format!("FAILED: {} failed", count.failed) };
        let line = format!(
            "[{:2}/{}] {title} ... {verdict}, {} passed ({:.1} s)",
            sum.done,
            sum.expected,
            count.passed,
            start.elapsed().as_secs_f32()
        );
        self.say(&line);
        // What a test could not do here is not for nobody to know.
        output
            .lines()
            .filter(|line| line.starts_with("skipped: "))
            .for_each(|line| self.say(&format!("        {line}")));
        if count.failed > 0 {
            self.say(output.trim_end());
        }
        Ok(())
    }

    fn total(&self) -> Count {
        self.lock().count
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Sum> {
        self.sum.lock().expect("no job panics while it counts")
    }

    /// A line that stays, above the bars that move.
    fn say(&self, text: &str) {
        self.bars.suspend(|| println!("{text}"));
    }

    fn bar(&self, title: &str) -> ProgressBar {
        let style = ProgressStyle::with_template("{spinner} {msg} {elapsed}").expect("the template is valid");
        let bar = self.bars.add(ProgressBar::new_spinner().with_style(style).with_message(title.to_owned()));
        if self.is_terminal {
            bar.enable_steady_tick(Duration::from_millis(200));
        }
        bar
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_programs_are_found_among_cargos_messages() {
        let messages = r#"   Compiling x
{"reason":"compiler-artifact","target":{"kind":["lib"],"name":"booted"},"executable":null}
{"reason":"compiler-artifact","target":{"kind":["test"],"name":"frames"},"executable":"/t/deps/frames-01ab"}
{"reason":"compiler-artifact","target":{"kind":["bin"],"name":"kernel"},"executable":"/t/kernel"}
{"reason":"build-finished","success":true}"#;
        assert_eq!(executables(messages), [PathBuf::from("/t/deps/frames-01ab")]);
        assert_eq!(subject(Path::new("/t/deps/bad_frees-01ab")), "bad_frees");
    }

    #[test]
    fn a_command_that_fails_without_a_failed_test_counts_as_one() {
        let failing = check(&["no-such-subcommand-of-cargo"]).unwrap();
        assert_eq!(failing.count, Count { passed: 0, failed: 1 });
        assert!(failing.output.contains("no-such-subcommand-of-cargo"));
        assert_eq!(check(&["--version"]).unwrap().count, Count { passed: 1, failed: 0 });
    }
}
