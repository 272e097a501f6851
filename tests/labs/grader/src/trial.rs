//! A learner's file, tried: what it may not have in it, whether it builds, what it does on the host and in a kernel.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use boot::harness::{self, Plan, Progress, Tested, Tests, Verdict};
use boot::machine::{Firmware, Machine, Memory};
use lab_host::{Examined, Found};
use labs::lab::{Booted, FRAGMENTATION, INSTRUCTIONS, Lab};

use crate::build::{Built, Source};
use crate::sandbox;
use crate::score::Score;
use crate::screen::refusals;

/// By the machine's own time: many times what a solution takes, and twice what the slowest mistake does that is only slow, in any order of its
/// CPUs.
pub const TIME_LIMIT: Duration = Duration::from_secs(120);
/// The machines' memory: a piece is given 16 MiB in a row of it.
pub const MEMORY: Memory = Memory::from_mib(256);

/// How far a file's author is trusted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Trust {
    /// It is the user's own: it runs as the user's other programs do.
    Own,
    /// It is a stranger's: on the host it runs in a sandbox or, where there is none, not at all.
    Stranger,
}

/// Tries a file, and says what it is worth. `show` is told what is going on.
///
/// # Errors
/// The file cannot be read, what is around it does not build, or no machine can be started.
pub fn run(lab: &'static Lab, source: Source<'_>, trust: Trust, show: &mut dyn FnMut(&str)) -> Result<Score> {
    let mut score = Score::new(lab);
    if let Some(refused) = screened(source)? {
        return Ok(Score::refused(lab, refused));
    }
    show("building it for the host");
    let program = match source.for_host()? {
        Built::Program(program) => program,
        Built::Refused(complaints) => return Ok(Score::refused(lab, complaints)),
    };
    let in_sandbox = sandbox::is_there();
    if trust == Trust::Own || in_sandbox {
        show("trying it on the host");
        score.host = on_host(&program, trust)?;
    }
    show("building it for the kernel");
    let kernel = match source.for_kernel()? {
        Built::Program(kernel) => kernel,
        Built::Refused(complaints) => return Ok(Score::refused(lab, complaints)),
    };
    score.builds = lab.builds;
    if score.host.is_empty() {
        show("trying it in a kernel, since there is no bubblewrap to try it on the host");
        score.host = exams_in_kernel(lab, &kernel)?;
        score.is_all_in_kernel = true;
    }
    in_kernel(lab, &kernel, show, &mut score)?;
    score.make_plain();
    Ok(score)
}

/// What is refused in a file before it is built, a line each, if anything is.
///
/// # Errors
/// It cannot be read.
pub fn screened(Source { file, lab, .. }: Source<'_>) -> Result<Option<String>> {
    let bytes = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let Ok(text) = String::from_utf8(bytes) else { return Ok(Some("this is not text in UTF-8".into())) };
    let refused: Vec<String> = refusals(&text, lab).iter().map(ToString::to_string).collect();
    Ok((!refused.is_empty()).then(|| refused.join("\n")))
}

/// What the program says that tries the file on the host.
fn on_host(program: &Path, trust: Trust) -> Result<Vec<Examined>> {
    let mut command = if trust == Trust::Own { Command::new(program) } else { sandbox::command(program) };
    let output = command.stdin(Stdio::null()).stderr(Stdio::piped()).output().context("cannot start what tries it")?;
    ensure!(output.status.success(), "what tries it failed:\n{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).context("what tries it said something else")
}

/// Runs tests of the learner's kernel on a machine.
fn boot(kernel: &Path, cpus: u32, tests: &str) -> Result<Tests> {
    let machine = Machine::new(Firmware::Bios, MEMORY, cpus);
    let plan = Plan { selection: tests.into(), time_limit: TIME_LIMIT, ..Plan::new(kernel, machine) };
    harness::run(&plan, &mut Silent)
}

/// The lab's exams, each a test of the kernel.
fn exams_in_kernel(lab: &Lab, kernel: &Path) -> Result<Vec<Examined>> {
    let tests = boot(kernel, 1, "~exam_\n=fragmentation")?;
    let exams = lab.exams.iter().enumerate().map(|(number, exam)| (format!("exam_{number}"), exam.name, exam.points));
    let last = lab.fragmentation.map(|(points, _)| ("fragmentation".to_owned(), FRAGMENTATION, points));
    Ok(exams.chain(last).map(|(test, name, points)| examined(&tests, &test, name, points)).collect())
}

/// What the kernels say.
fn in_kernel(lab: &Lab, kernel: &Path, show: &mut dyn FnMut(&str), score: &mut Score) -> Result<()> {
    show("booting it with one CPU");
    let with_one = boot(kernel, 1, "=stress\n=bad_frees\n=costs")?;
    show("booting it with four CPUs");
    let with_four = boot(kernel, 4, "=stress")?;
    for Booted { name, points, test, cpus } in lab.boots {
        let tests = if *cpus == 1 { &with_one } else { &with_four };
        score.kernel.push(examined(tests, test, name, *points));
    }
    let (points, most) = lab.instructions;
    let mut costs = examined(&with_one, "costs", INSTRUCTIONS, points);
    let taken = with_one.tests.iter().find(|test| test.name == "costs").and_then(instructions);
    if costs.failure.is_none() && taken.is_none_or(|taken| taken > most) {
        let what = taken.map_or_else(
            || "nothing could be measured".into(),
            |taken| format!("an operation takes {taken} instructions, and {most} will do"),
        );
        costs.failure = Some(Found::of(what));
        costs.points = 0;
    }
    score.instructions = taken;
    score.kernel.push(costs);
    Ok(())
}

/// The instructions of an operation, which the kernel prints.
fn instructions(test: &Tested) -> Option<u64> {
    test.console.lines().find_map(|line| line.strip_prefix("instructions: ")?.trim().parse().ok())
}

/// What became of a test, which is worth so many points if it passed.
pub fn examined(tests: &Tests, test: &str, name: &str, points: u32) -> Examined {
    let tested = tests.tests.iter().find(|tested| tested.name == test);
    let what = match tested.map(|tested| (&tested.verdict, tested)) {
        Some((Verdict::Passed, _)) => None,
        Some((Verdict::Panicked(message, place), _)) => {
            Some(format!("the kernel panicked: {message}, at {}", file(place)))
        }
        Some((Verdict::Died(ending, _), _)) => Some(ending.to_string()),
        Some((_, tested)) => Some(error(&tested.console)),
        None => Some(tests.fault.clone().unwrap_or_else(|| "it was not tried".into())),
    };
    let points_given = if what.is_none() { points } else { 0 };
    Examined { name: name.into(), points: points_given, of: points, failure: what.map(Found::of) }
}

/// What a test that failed has printed last as its error.
fn error(console: &str) -> String {
    let line = console.lines().rev().find_map(|line| line.strip_prefix("error: "));
    line.unwrap_or("it failed without a word").trim().to_owned()
}

/// A place without the folders that lead to it.
fn file(place: &str) -> &str {
    place.rsplit('/').next().unwrap_or(place)
}

/// Shows nothing.
struct Silent;

impl Progress for Silent {
    fn planned(&mut self, _: u32) {}
    fn started(&mut self, _: &str, _: bool) {}
    fn text(&mut self, _: &[u8]) {}
    fn finished(&mut self, _: &Tested) {}
}
