//! The booted test framework's own test: what a test does to its kernel is what the host reports.
//!
//! The tests in `tests/specimens` fail, panic, hang and reset on purpose. Boots of them are watched from out here, since
//! a framework inside the kernel cannot see its kernel die.

use boot::harness::{self, Plan, Progress, Tested, Tests, Verdict};
use boot::machine::{Firmware, Machine, Memory};
use boot::report::Report;
use boot::run::Ending;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

const MACHINE: Machine = Machine::new(Firmware::Bios, Memory::from_mib(128), 1);
/// Long enough for any specimen on a busy host, short enough to wait for the one that hangs.
const TIME_LIMIT: Duration = Duration::from_secs(20);

/// Builds the specimens and finds their kernel, as `cargo test` would.
fn specimens() -> PathBuf {
    let arguments = ["test", "-p", "specimens", "--target", "x86_64-unknown-none", "--no-run", "--message-format=json"];
    let output = Command::new(env!("CARGO")).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let messages = String::from_utf8(output.stdout).unwrap();
    boot::suite::executables(&messages).pop().expect("specimens has a test")
}

fn run(selection: &str) -> (Tests, String) {
    let kernel = specimens();
    let plan = Plan { kernel: &kernel, machine: MACHINE, selection: selection.into(), time_limit: TIME_LIMIT };
    let mut text = Vec::new();
    let mut report = Report::new(&mut text, false, false);
    let tests = harness::run(&plan, &mut report).unwrap();
    report.conclude(&tests);
    (tests, String::from_utf8(text).unwrap())
}

/// The one test of this name.
fn test<'t>(tests: &'t Tests, name: &str) -> &'t Tested {
    let found: Vec<_> = tests.tests.iter().filter(|test| test.name.rsplit("::").next() == Some(name)).collect();
    assert_eq!(found.len(), 1, "{name} ran once");
    found[0]
}

#[test]
fn each_specimen_is_reported_as_what_it_is() {
    let (tests, text) = run("");
    assert_eq!(tests.fault, None, "{text}");
    let verdict = |name| &test(&tests, name).verdict;

    for name in ["passes", "returns_ok", "panics_as_it_should", "passes_at_the_end"] {
        assert_eq!(*verdict(name), Verdict::Passed, "{name}\n{text}");
    }
    assert!(test(&tests, "passes").instructions.is_some_and(|count| count > 0));

    assert_eq!(*verdict("returns_an_error"), Verdict::ReturnedError);
    assert!(test(&tests, "returns_an_error").console.contains("this specimen returns an error"));
    assert_eq!(*verdict("returns_although_it_should_panic"), Verdict::DidNotPanic);

    let Verdict::Panicked(message, location) = verdict("panics") else { panic!("{text}") };
    assert!(message.contains("this specimen panics") && location.contains("specimens.rs:"), "{message} at {location}");
    let backtrace = &test(&tests, "panics").console;
    assert!(backtrace.contains("specimens::panics at tests/specimens/tests/specimens.rs:"), "{backtrace}");
    let Verdict::Panicked(message, _) = verdict("reads_from_nowhere") else { panic!("{text}") };
    assert!(message.contains("page fault"), "{message}");

    let Verdict::Died(Ending::Hung(TIME_LIMIT), explanation) = verdict("hangs") else { panic!("{text}") };
    assert!(explanation.contains("specimens::hangs"), "the place where it hangs is in: {explanation}");
    let Verdict::Died(Ending::TripleFault, explanation) = verdict("triple_faults") else { panic!("{text}") };
    assert!(explanation.contains("specimens::triple_faults"), "the place of the fault is in: {explanation}");

    assert_eq!((tests.passed(), tests.failed(), tests.filtered_out), (4, 6, 0), "{text}");
    assert!(text.contains("test result: FAILED. 4 passed; 6 failed; 0 ignored; 0 measured; 0 filtered out"), "{text}");
}

#[test]
fn a_selection_runs_what_it_names_and_counts_the_rest() {
    let (tests, text) = run("~passes\n-end\n");
    assert_eq!((tests.passed(), tests.failed(), tests.filtered_out), (1, 0, 9), "{text}");
    assert!(text.contains("running 1 test\n") && text.contains("instructions)"), "{text}");
    let (none, text) = run("=no such test\n");
    assert_eq!((none.tests.len(), none.fault, none.filtered_out), (0, None, 10), "{text}");
}

#[test]
fn the_same_test_takes_the_same_instructions_in_every_boot() {
    let counts = [(), ()].map(|()| run("~returns_ok\n").0.tests[0].instructions.unwrap());
    assert_eq!(counts[0], counts[1]);
}

#[test]
fn tests_are_listed_without_running() {
    let kernel = specimens();
    let plan = Plan { kernel: &kernel, machine: MACHINE, selection: "~pass".into(), time_limit: TIME_LIMIT };
    let names = harness::list(&plan).unwrap();
    assert_eq!(names.len(), 2, "{names:?}");
    assert!(names.iter().all(|name| name.contains("pass")));
}

/// A report is written as tests go, so a reader sees which one hangs while it hangs.
#[test]
fn a_test_is_named_before_its_verdict() {
    let mut text = Vec::new();
    Report::new(&mut text, false, false).started("hangs", false);
    assert_eq!(text, b"test hangs ... ");
}
