//! Everything that has to hold before anybody else gets to see a change: `make test`.
//!
//! Format, lints and documentation, the host's tests, and each booted subject on every machine that matters. What cargo
//! does goes one after another, since cargo would wait for itself while it builds; machines run meanwhile. When all have run,
//! what cargo has left to do is shared: one thing is built while another is tested.
//!
//! The quick suite, `make test QUICK=1`, is what of that is worth its time after each change. `make busy` shows that no test's
//! verdict depends on how busy the host is.

mod board;
mod busy;
mod cargo;
mod checks;
mod compiler;
mod times;

pub use board::Count;
pub use cargo::executables;

use crate::harness::{self, Plan};
use crate::machine::{Apic, Firmware, Machine, Memory};
use crate::replay;
use crate::report::{Report, sum_results};
use crate::terminal;
use anyhow::{Result, bail, ensure};
use board::{Board, Finished};
use busy::Busy;
use checks::{Check, DOCUMENTATION, ELSEWHERE, FORMAT, GUEST, LINTS, TESTS, TESTS_OF_BIFOLIO, TESTS_OF_BOOT};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;
use tempfile::TempDir;
use times::Part;

/// The machines that booted tests run on: memory below, at and above what decides how many zones and what kind of map there
/// is, with either firmware; of each pair of those, one on a single CPU and one on several. Where QEMU has x2APIC, two are
/// without it all the same.
pub const MACHINES: [Machine; 6] = [
    Machine::new(Firmware::Bios, Memory::from_mib(64), 1),
    Machine::new(Firmware::Bios, MEDIUM, 4),
    Machine { apic: Apic::XApic, ..Machine::new(Firmware::Bios, LARGE, 1) },
    Machine::new(Firmware::Uefi, Memory::from_mib(64), 4),
    Machine::new(Firmware::Uefi, MEDIUM, 1),
    Machine { apic: Apic::XApic, ..Machine::new(Firmware::Uefi, LARGE, 4) },
];
const MEDIUM: Memory = Memory::from_mib(512);
const LARGE: Memory = Memory::from_mib(6 << 10);

/// Subjects whose tests each boot a machine that has nothing of the real one's memory map: those with medium memory do.
const WITH_THEIR_OWN_MAP: &[&str] = &["bad_maps"];

/// Whether a subject is to run on a machine.
fn is_for(machine: Machine, kernel: &Path) -> bool {
    machine.memory == MEDIUM || !WITH_THEIR_OWN_MAP.contains(&subject(kernel).as_str())
}

/// The machine of the quick suite: one that boots fast, and whose CPUs meet.
const QUICK_MACHINE: [Machine; 1] = [Machine::new(Firmware::Bios, MEDIUM, 4)];

/// Subjects that are about what is otherwise where it is recorded: one counts what the heap's fast paths take, which those do not that are
/// recorded; and what is part of an operation that is being recorded is not refused for a test's sake.
const NOT_RECORDED: &[&str] = &["cpus", "faults"];

/// Whether a subject's operations on page frames and heap are recorded on a machine, and done again on the host: where memory is small,
/// since that is where it runs out.
fn is_recorded(machine: Machine, kernel: &Path) -> bool {
    let is_small = machine.firmware == Firmware::Bios && machine.memory <= MEDIUM;
    let subject = subject(kernel);
    is_small && ![NOT_RECORDED, WITH_THEIR_OWN_MAP].concat().contains(&subject.as_str())
}

/// What the suite runs.
#[derive(Clone, Copy, Debug)]
pub enum Scope {
    /// Everything.
    Whole,
    /// What is worth its time after each change.
    Quick,
    /// What boots machines, as often as this.
    Booted(usize),
}

impl Scope {
    fn machines(self) -> &'static [Machine] {
        if matches!(self, Scope::Quick) { &QUICK_MACHINE } else { &MACHINES }
    }

    /// What cargo does, what takes longest first, so that in the end nothing long is left that only one job is at.
    fn checks(self) -> Vec<&'static Check> {
        match self {
            Scope::Whole => [TESTS, FORMAT, ELSEWHERE, LINTS, DOCUMENTATION].into_iter().flatten().collect(),
            Scope::Quick => [TESTS_OF_BIFOLIO, FORMAT, LINTS].into_iter().flatten().collect(),
            Scope::Booted(times) => (0..times).flat_map(|_| TESTS_OF_BOOT).collect(),
        }
    }

    fn times(self) -> usize {
        if let Scope::Booted(times) = self { times } else { 1 }
    }

    /// Jobs at a time: two, so that a small host is busy and not overrun, unless that is what is wanted.
    fn jobs(self) -> usize {
        if let Scope::Booted(times) = self { 8 * times } else { 2 }
    }
}

/// Runs what is in the scope, beside so many busy processes; prints each part as it is done, where the time went and in the end
/// `N passed, N failed`. If `wanted` has any texts, only jobs are run whose titles contain one of them. `qemu_args` are further
/// arguments for QEMU.
///
/// # Errors
/// The suite itself could not run, nothing is wanted that there is, or it was [`harness::Interrupted`]. Failing tests are counted.
pub fn run(scope: Scope, wanted: &[String], busy: usize, qemu_args: &[String]) -> Result<Count> {
    terminal::signals()?;
    let is_wanted = |title: &str| wanted.is_empty() || wanted.iter().any(|part| title.contains(part.trim()));
    let checks = scope.checks().into_iter().filter(|check| is_wanted(check.title)).collect::<Vec<_>>();
    let board = Board::new(scope.jobs());
    let kernels = build(&board)?;
    let once = scope.machines().iter().flat_map(|&machine| kernels.iter().map(move |kernel| (machine, kernel)));
    let once = once.filter(|&(machine, kernel)| is_for(machine, kernel) && is_wanted(&title(kernel, machine)));
    let boots: Vec<(Machine, &PathBuf)> = (0..scope.times()).flat_map(|_| once.clone()).collect();
    ensure!(
        !checks.is_empty() || !boots.is_empty(),
        "no job's name contains what was asked for: {}",
        wanted.join(", ")
    );
    board.expect(checks.len() + boots.len());
    let (next_boot, next_check) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let boot_the_rest = || -> Result<()> {
        while let Some(&(machine, kernel)) = boots.get(next_boot.fetch_add(1, Ordering::Relaxed)) {
            board.job(Part::Booted(machine), &title(kernel, machine), || boot(kernel, machine, qemu_args))?;
        }
        Ok(())
    };
    let check_the_rest = || -> Result<()> {
        while let Some(check) = checks.get(next_check.fetch_add(1, Ordering::Relaxed)) {
            board.job(check.part, check.title, || perform(check))?;
        }
        Ok(())
    };
    let busy = Busy::start(busy)?;
    thread::scope(|scope| {
        let other = || boot_the_rest().and_then(|()| check_the_rest());
        let others: Vec<_> = (1..board.jobs()).map(|_| scope.spawn(other)).collect();
        let own = build_tests(&board, checks.first()).and_then(|()| check_the_rest()).and_then(|()| boot_the_rest());
        let join = |other: thread::ScopedJoinHandle<'_, Result<()>>| {
            other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        others.into_iter().map(join).fold(own, Result::and)
    })?;
    busy.end()?;
    Ok(board.conclude())
}

/// Lints everything, as the suite does, on this terminal; whether there was nothing to complain of.
///
/// # Errors
/// Cargo could not run, or was [`harness::Interrupted`].
pub fn lint() -> Result<bool> {
    terminal::signals()?;
    let mut is_clean = true;
    for check in LINTS {
        is_clean &= cargo::show(check.arguments)?;
    }
    Ok(is_clean)
}

/// Builds the booted tests and finds their kernels.
fn build(board: &Board) -> Result<Vec<PathBuf>> {
    let arguments = ["test", "-p", "booted", "--target", GUEST, "--no-run", "--message-format=json-render-diagnostics"];
    let start = Instant::now();
    let (succeeded, output) = board.time(Part::Building, "the booted tests", || cargo::run(&arguments))?;
    if !succeeded {
        board.say(output.lines().filter(|line| !line.starts_with('{')).collect::<Vec<_>>().join("\n").as_str());
        bail!("the booted tests do not build");
    }
    let kernels = executables(&output, "test");
    ensure!(!kernels.is_empty(), "there are no booted tests");
    board.say(&format!("built {} booted subjects ({:.1} s)", kernels.len(), start.elapsed().as_secs_f32()));
    Ok(kernels)
}

/// Builds what `tests` is going to run, if it is tests, so that building is not taken for testing. What is wrong comes to light there.
fn build_tests(board: &Board, tests: Option<&&Check>) -> Result<()> {
    let Some(tests) = tests.filter(|check| check.arguments.first() == Some(&"test")) else { return Ok(()) };
    let before_theirs = tests.arguments.split(|&argument| argument == "--").next().unwrap_or_default();
    let arguments = [before_theirs, &["--no-run"]].concat();
    board.time(Part::Building, tests.title, || cargo::run(&arguments)).map(drop)
}

/// The name of a test program: its file's without cargo's hash.
fn subject(program: &Path) -> String {
    let stem = program.file_stem().unwrap_or_default().to_string_lossy();
    stem.rsplit_once('-').map_or(&*stem, |(name, _)| name).to_owned()
}

/// What the job is called that runs the tests of a kernel on a machine.
fn title(kernel: &Path, machine: Machine) -> String {
    format!("{}, {machine}", subject(kernel))
}

/// Runs the tests of a kernel on a machine.
fn boot(kernel: &Path, machine: Machine, qemu_args: &[String]) -> Result<Finished> {
    let traces = is_recorded(machine, kernel).then(tempfile::tempdir).transpose()?;
    let traces = traces.as_ref().map(TempDir::path);
    let plan = Plan { qemu_args, traces, ..Plan::new(kernel, machine) };
    let mut output = Vec::new();
    let mut report = Report::new(&mut output, false, false);
    let tests = harness::run(&plan, &mut report)?;
    report.conclude(&tests);
    let mut count = Count { passed: tests.passed(), failed: tests.failed() };
    if let Some(traces) = traces {
        let replayed = replay_all(traces, &mut output)?;
        count = Count { passed: count.passed + replayed.passed, failed: count.failed + replayed.failed };
    }
    let times = vec![(subject(kernel), tests.time)];
    Ok(Finished { count, output: String::from_utf8_lossy(&output).into_owned(), times })
}

/// Does again what was recorded of each boot. Each trace counts as one test: all that it says must come out the same.
fn replay_all(traces: &Path, output: &mut Vec<u8>) -> Result<Count> {
    let mut count = Count::default();
    let files = fs::read_dir(traces)?.map(|entry| Ok(entry?.path()));
    let mut files = files.collect::<Result<Vec<PathBuf>>>()?;
    files.sort();
    for file in files {
        let name = file.file_name().unwrap_or_default().display();
        match replay::run(&file) {
            Ok(text) => {
                count.passed += 1;
                writeln!(output, "{name}: {}", text.lines().next().unwrap_or_default())?;
            }
            Err(error) => {
                count.failed += 1;
                writeln!(output, "{name}: FAILED: {error:#}")?;
            }
        }
    }
    Ok(count)
}

/// Has cargo check something. What prints no test results counts as one test.
fn perform(check: &Check) -> Result<Finished> {
    let start = Instant::now();
    if let Some(lacking) = check.compiler.lacks() {
        let output = format!("skipped: {}, for want of {lacking}\n", check.title);
        return Ok(Finished { count: Count::default(), output, times: Vec::new() });
    }
    let (succeeded, output) = cargo::run_with(check.compiler, check.arguments)?;
    let (passed, failed) = sum_results(&output);
    let count = match (succeeded, passed + failed) {
        (true, 0) => Count { passed: 1, failed: 0 },
        // Whatever else went wrong must not pass for success.
        (false, _) if failed == 0 => Count { passed, failed: 1 },
        _ => Count { passed, failed },
    };
    let times = if passed > 0 { times::of_programs(&output, start.elapsed()) } else { Vec::new() };
    Ok(Finished { count, output, times })
}

#[cfg(test)]
mod tests {
    use super::*;
    use compiler::Compiler;

    #[test]
    fn a_program_is_named_without_its_hash() {
        assert_eq!(subject(Path::new("/t/deps/bad_frees-01ab")), "bad_frees");
    }

    #[test]
    fn a_command_that_fails_without_a_failed_test_counts_as_one() {
        let perform = |arguments| {
            perform(&Check { title: "", part: Part::Lints, compiler: Compiler::Project, arguments }).unwrap()
        };
        let failing = perform(&["no-such-subcommand-of-cargo"]);
        assert_eq!(failing.count, Count { passed: 0, failed: 1 });
        assert!(failing.output.contains("no-such-subcommand-of-cargo"));
        assert_eq!(perform(&["--version"]).count, Count { passed: 1, failed: 0 });
    }

    #[test]
    fn the_quick_machine_is_one_of_the_others() {
        assert!(MACHINES.contains(&QUICK_MACHINE[0]));
    }
}
