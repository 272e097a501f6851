//! The tests of a test kernel, each reported as what it was, whatever it did to its kernel.
//!
//! A test that panics, hangs or resets takes the kernel with it, so the machine is booted again and goes on with the
//! next test. A kernel cannot judge its own death; whether a test passed is decided here.

use crate::events::Report;
use crate::machine::Machine;
use crate::qemu::Setup;
use crate::run::{self, Ending, Limits, Outcome, Watcher};
use anyhow::Result;
use protocol::{ExitCode, TestResult, input};
use std::fmt;
use std::io::{self, Write};
use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, Instant};

/// Which tests to run and how.
#[derive(Clone, Debug)]
pub struct Plan<'a> {
    /// The test kernel's unstripped ELF file.
    pub kernel: &'a Path,
    /// The machine that it runs on.
    pub machine: Machine,
    /// A [`protocol::Selection`].
    pub selection: String,
    /// How long a single test may take, by the machine's own time.
    pub time_limit: Duration,
    /// Wait for gdb at this port in each boot: it takes as long as its user does, so that no limit holds.
    pub gdb: Option<&'a TcpListener>,
    /// Further arguments for QEMU.
    pub qemu_args: &'a [String],
    /// Where a trace of each boot goes, with its number as name.
    pub traces: Option<&'a Path>,
}

impl<'a> Plan<'a> {
    /// All tests of a kernel, on a machine.
    #[must_use]
    pub fn new(kernel: &'a Path, machine: Machine) -> Plan<'a> {
        Plan {
            kernel,
            machine,
            selection: String::new(),
            time_limit: Limits::QUIET,
            gdb: None,
            qemu_args: &[],
            traces: None,
        }
    }

    fn limits(&self) -> Limits {
        if self.gdb.is_some() { Limits::default() } else { Limits::at_work(self.time_limit) }
    }
}

/// One test and what became of it.
#[derive(Clone, Debug)]
pub struct Tested {
    /// Its full path.
    pub name: String,
    /// It is to panic.
    pub should_panic: bool,
    /// What became of it.
    pub verdict: Verdict,
    /// How many guest instructions it took, if it returned and they were counted.
    pub instructions: Option<u64>,
    /// What was printed while it ran.
    pub console: String,
}

/// What became of a test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It did what it should.
    Passed,
    /// It returned an error.
    ReturnedError,
    /// It returned although it should panic.
    DidNotPanic,
    /// It panicked although it should not: message and location.
    Panicked(String, String),
    /// It ended the machine in another way: how, and all that is known of it.
    Died(Ending, String),
}

impl Verdict {
    /// Whether the test passed.
    #[must_use]
    pub fn is_pass(&self) -> bool {
        *self == Verdict::Passed
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Verdict::Passed => f.write_str("it passed"),
            Verdict::ReturnedError => f.write_str("it returned an error"),
            Verdict::DidNotPanic => f.write_str("it should panic, and returned"),
            Verdict::Panicked(message, location) => write!(f, "it panicked at {location}:\n  {message}"),
            Verdict::Died(_, explanation) => f.write_str(explanation),
        }
    }
}

/// All that became of a test kernel.
#[derive(Clone, Debug, Default)]
pub struct Tests {
    /// The tests that ran.
    pub tests: Vec<Tested>,
    /// How many tests were not selected.
    pub filtered_out: u32,
    /// Why the tests cannot be relied upon as a whole: the kernel died outside of them, or broke the protocol.
    pub fault: Option<String>,
    /// How long all of it took.
    pub time: Duration,
}

impl Tests {
    /// How many passed.
    #[must_use]
    pub fn passed(&self) -> usize {
        self.tests.iter().filter(|test| test.verdict.is_pass()).count()
    }

    /// How many failed; a fault counts as one.
    #[must_use]
    pub fn failed(&self) -> usize {
        self.tests.len() - self.passed() + usize::from(self.fault.is_some())
    }
}

/// What is told how the tests get on.
pub trait Progress {
    /// So many tests are going to run.
    fn planned(&mut self, selected: u32);
    /// A test begins.
    fn started(&mut self, name: &str, should_panic: bool);
    /// The guest prints something.
    fn text(&mut self, text: &[u8]);
    /// A test is over.
    fn finished(&mut self, test: &Tested);
}

/// This program was told to stop by a signal.
#[derive(Clone, Copy, Debug)]
pub struct Interrupted(pub i32);

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Ending::Interrupted(self.0).fmt(f)
    }
}

impl std::error::Error for Interrupted {}

/// The names of the selected tests.
///
/// # Errors
/// The machine could not be started, or the kernel did not list its tests.
pub fn list(plan: &Plan<'_>) -> Result<Vec<String>> {
    let mut silent = Silent;
    let mut boot = Boot::new(&mut silent);
    let outcome = boot.run(plan, &[(input::LIST, "1".into())], None)?;
    if !outcome.is_success() || boot.plan.is_none_or(|(_, selected)| selected as usize != boot.listed.len()) {
        anyhow::bail!("the kernel did not list its tests: {}\n{}", outcome.explain(), outcome.tail.join("\n"));
    }
    Ok(boot.listed)
}

/// Runs the tests, with as many boots as it takes.
///
/// # Errors
/// The machine could not be started, or this program was [`Interrupted`]. However the tests fare is no error.
pub fn run(plan: &Plan<'_>, progress: &mut dyn Progress) -> Result<Tests> {
    let start = Instant::now();
    let mut all = Tests::default();
    let mut first = 0;
    let mut announced = None;
    for nth in 1.. {
        let mut boot = Boot::new(progress);
        let trace = plan.traces.map(|traces| traces.join(format!("{nth}.trace")));
        let outcome = boot.run(plan, &[(input::FIRST_TEST, first.to_string())], trace.as_deref())?;
        let Boot { plan, finished, next, open, fault, progress, capture, .. } = boot;
        let (passed, ran_any) = (finished.iter().all(|test| test.verdict.is_pass()), !finished.is_empty());
        all.tests.extend(finished);
        all.fault = fault.or_else(|| plan_fault(plan, &mut announced, &outcome));
        if all.fault.is_some() {
            break;
        }
        let (total, selected) = announced.unwrap_or_default();
        all.filtered_out = total.saturating_sub(selected);
        if let Some(open) = open {
            first = open.index + 1;
            let console = String::from_utf8_lossy(&capture).into_owned();
            let test = Tested {
                verdict: judge(&open, &outcome),
                name: open.name,
                should_panic: open.should_panic,
                instructions: None,
                console,
            };
            progress.finished(&test);
            all.tests.push(test);
            if all.tests.len() < selected as usize {
                continue;
            }
        } else {
            // A kernel may end between two tests, of which the next has a boot to itself.
            let goes_on = ran_any && all.tests.len() < selected as usize;
            let expected = if goes_on { all.tests.len() } else { selected as usize };
            all.fault = end_fault(&outcome, passed, all.tests.len(), expected);
            if goes_on && all.fault.is_none() {
                first = next;
                continue;
            }
        }
        break;
    }
    all.time = start.elapsed();
    Ok(all)
}

/// What is wrong with a boot's plan, if anything.
fn plan_fault(plan: Option<(u32, u32)>, announced: &mut Option<(u32, u32)>, outcome: &Outcome) -> Option<String> {
    let Some(plan) = plan else {
        return Some(format!("the kernel did not say which tests it has: {}", with_tail(outcome)));
    };
    let before = *announced.get_or_insert(plan);
    (before != plan)
        .then(|| format!("the kernel announced {} of {} tests, and now {} of {}", before.1, before.0, plan.1, plan.0))
}

/// What is wrong with how a kernel ended that was not within a test, if anything.
fn end_fault(outcome: &Outcome, passed: bool, ran: usize, selected: usize) -> Option<String> {
    let expected = if passed { ExitCode::Success } else { ExitCode::Failure };
    if outcome.garbage.is_some() || !matches!(outcome.ending, Ending::Exited(ExitCode::Success | ExitCode::Failure)) {
        Some(format!("outside of any test, {}", with_tail(outcome)))
    } else if ran != selected {
        Some(format!("the kernel announced {selected} tests, and {ran} ran"))
    } else if outcome.ending != Ending::Exited(expected) {
        Some(format!("{}, which its tests' results contradict", outcome.ending))
    } else {
        None
    }
}

fn with_tail(outcome: &Outcome) -> String {
    let tail: String = outcome.tail.iter().map(|line| format!("\n    {line}")).collect();
    format!("{}\n  the last lines on the serial console:{tail}", outcome.explain())
}

/// What became of a test that its kernel did not survive.
fn judge(open: &Open, outcome: &Outcome) -> Verdict {
    match &outcome.panic {
        // Only a kernel that could still say so has merely panicked.
        Some((message, location)) if outcome.ending == Ending::Exited(ExitCode::Panic) => {
            if open.should_panic {
                Verdict::Passed
            } else {
                Verdict::Panicked(message.clone(), location.clone())
            }
        }
        _ => Verdict::Died(outcome.ending.clone(), outcome.explain()),
    }
}

/// A test that has begun.
struct Open {
    index: u32,
    name: String,
    should_panic: bool,
}

/// One boot of a test kernel.
struct Boot<'a> {
    progress: &'a mut dyn Progress,
    plan: Option<(u32, u32)>,
    listed: Vec<String>,
    finished: Vec<Tested>,
    /// The number of the test behind the last that finished.
    next: u32,
    open: Option<Open>,
    fault: Option<String>,
    capture: Vec<u8>,
    /// The machine's clock counts instructions.
    counted: bool,
}

impl<'a> Boot<'a> {
    fn new(progress: &'a mut dyn Progress) -> Boot<'a> {
        Boot {
            progress,
            plan: None,
            listed: vec![],
            finished: vec![],
            next: 0,
            open: None,
            fault: None,
            capture: vec![],
            counted: true,
        }
    }

    fn run(&mut self, plan: &Plan<'_>, inputs: &[(&'static str, String)], trace: Option<&Path>) -> Result<Outcome> {
        self.counted = !plan.machine.parallel;
        let mut inputs = inputs.to_vec();
        if !plan.selection.is_empty() {
            inputs.push((input::SELECTION, plan.selection.clone()));
        }
        let setup =
            Setup { inputs, gdb: plan.gdb, qemu_args: plan.qemu_args, trace, ..Setup::new(plan.kernel, plan.machine) };
        let outcome = run::run(&setup, plan.limits(), None, self)?;
        match outcome.ending {
            Ending::Interrupted(signal) => Err(Interrupted(signal).into()),
            Ending::QemuFailed(message) => anyhow::bail!("QEMU failed: {message}"),
            _ => Ok(outcome),
        }
    }
}

impl Watcher for Boot<'_> {
    fn console(&mut self) -> &mut dyn Write {
        self
    }

    fn report(&mut self, report: &Report) {
        match report {
            Report::Plan { total, selected } => {
                if self.plan.replace((*total, *selected)).is_none() {
                    self.progress.planned(*selected);
                }
            }
            Report::Listed { name, .. } => self.listed.push(name.clone()),
            Report::TestStarted { index, name, should_panic } => {
                if let Some(open) = &self.open {
                    self.fault = Some(format!("the kernel began the test {name} within {}", open.name));
                }
                self.capture.clear();
                self.progress.started(name, *should_panic);
                self.open = Some(Open { index: *index, name: name.clone(), should_panic: *should_panic });
            }
            Report::TestFinished { index, result, instructions } => {
                let Some(open) = self.open.take_if(|open| open.index == *index) else {
                    self.fault = Some(format!("the kernel finished test number {index}, which had not begun"));
                    return;
                };
                let verdict = match result {
                    TestResult::Failed => Verdict::ReturnedError,
                    TestResult::Passed if open.should_panic => Verdict::DidNotPanic,
                    TestResult::Passed => Verdict::Passed,
                };
                let console = String::from_utf8_lossy(&std::mem::take(&mut self.capture)).into_owned();
                let Open { name, should_panic, .. } = open;
                let test = Tested {
                    name,
                    should_panic,
                    verdict,
                    instructions: self.counted.then_some(*instructions),
                    console,
                };
                self.progress.finished(&test);
                self.finished.push(test);
                self.next = index + 1;
            }
            Report::Started
            | Report::Ready
            | Report::Measured { .. }
            | Report::Panicked { .. }
            | Report::Garbage(_) => {}
        }
    }
}

/// Text of the guest: kept for the test that runs.
impl Write for Boot<'_> {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.progress.text(text);
        self.capture.extend(text);
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Silent;

impl Progress for Silent {
    fn planned(&mut self, _: u32) {}
    fn started(&mut self, _: &str, _: bool) {}
    fn text(&mut self, _: &[u8]) {}
    fn finished(&mut self, _: &Tested) {}
}
