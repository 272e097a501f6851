//! The booted test framework's own test: what a test does to its kernel is what the host reports.
//!
//! The tests in `tests/specimens` fail, panic, hang and reset on purpose. Boots of them are watched from out here, since
//! a framework inside the kernel cannot see its kernel die.

use boot::harness::{self, Plan, Progress, Tested, Tests, Verdict};
use boot::machine::{Firmware, Machine, Memory};
use boot::patience::Stuck;
use boot::report::Report;
use boot::run::Ending;
use boot::symbols::Symbols;
use protocol::ExitCode;
use std::fs::{self, Permissions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread;
use std::time::Duration;
use tempfile::TempDir;

const MACHINE: Machine = Machine::new(Firmware::Bios, Memory::from_mib(128), 1);
/// By the machine's own time: long enough for any specimen, short enough to wait for the one that hangs.
const TIME_LIMIT: Duration = Duration::from_secs(10);

/// Builds the specimens and finds their kernel, as `cargo test` would.
fn specimens() -> PathBuf {
    let arguments = ["test", "-p", "specimens", "--target", "x86_64-unknown-none", "--no-run", "--message-format=json"];
    let output = Command::new(env!("CARGO")).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let messages = String::from_utf8(output.stdout).unwrap();
    boot::suite::executables(&messages, "test").pop().expect("specimens has a test")
}

fn run(selection: &str) -> (Tests, String) {
    run_on(MACHINE, selection)
}

fn run_on(machine: Machine, selection: &str) -> (Tests, String) {
    let kernel = specimens();
    let plan = Plan { selection: selection.into(), time_limit: TIME_LIMIT, ..Plan::new(&kernel, machine) };
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

    // The last thing that is said is why there is no report.
    let Verdict::Died(Ending::Exited(ExitCode::Panic), _) = verdict("panics_in_a_panic") else { panic!("{text}") };
    let said = &test(&tests, "panics_in_a_panic").console;
    assert!(said.contains("PANIC while reporting a panic: this specimen panics while it panics"), "{said}");
    for (name, part, place) in [
        ("panics_with_a_zone_locked", "this specimen panics at 0x", "specimens::panics_with_a_zone_locked"),
        ("panics_without_memory", "memory allocation of ", "specimens::panics_without_memory"),
    ] {
        let Verdict::Panicked(message, _) = verdict(name) else { panic!("{name}: {text}") };
        assert!(message.contains(part), "{message}");
        let backtrace = &test(&tests, name).console;
        assert!(backtrace.contains(place), "{backtrace}");
    }
    let Verdict::Died(Ending::Hung(Stuck::Busy(TIME_LIMIT)), _) = verdict("allocates_for_ever") else {
        panic!("{text}")
    };

    let Verdict::Died(Ending::Hung(Stuck::Busy(TIME_LIMIT)), explanation) = verdict("hangs") else { panic!("{text}") };
    assert!(explanation.contains("specimens::hangs"), "the place where it hangs is in: {explanation}");
    // The 8254 ticks, whoever listens, so that the machine's time goes on.
    let Verdict::Died(Ending::Exited(ExitCode::Success), _) = verdict("exits_with_something_unread") else {
        panic!("{text}")
    };
    let asleep = "(waiting for an interrupt) specimens::sleeps_for_ever";
    let Verdict::Died(Ending::Hung(Stuck::Busy(TIME_LIMIT)), explanation) = verdict("sleeps_for_ever") else {
        panic!("{text}")
    };
    assert!(explanation.contains(asleep), "the place where it sleeps is in: {explanation}");
    let Verdict::Died(Ending::TripleFault, explanation) = verdict("triple_faults") else { panic!("{text}") };
    assert!(explanation.contains("specimens::triple_faults"), "the place of the fault is in: {explanation}");

    assert_eq!((tests.passed(), tests.failed(), tests.filtered_out), (4, 12, 0), "{text}");
    assert!(text.contains("test result: FAILED. 4 passed; 12 failed; 0 ignored; 0 measured; 0 filtered out"), "{text}");
}

#[test]
fn what_was_done_before_a_panic_is_in_the_trace() {
    let (kernel, traces) = (specimens(), tempfile::tempdir().unwrap());
    let selection = "~panics_without_memory\n".into();
    let plan = Plan { selection, time_limit: TIME_LIMIT, traces: Some(traces.path()), ..Plan::new(&kernel, MACHINE) };
    let tests = harness::run(&plan, &mut Report::new(&mut Vec::new(), false, false)).unwrap();
    assert!(matches!(test(&tests, "panics_without_memory").verdict, Verdict::Panicked { .. }));
    let trace = traces.path().join("1.trace");
    boot::replay::run(&trace).unwrap();
    let list = boot::replay::list(&trace).unwrap();
    let last = list.lines().rfind(|line| !line.contains("Settle")).unwrap();
    assert!(last.contains("Heap(Shrink)") && last.contains("specimens::panics_without_memory"), "{last}");
}

/// Where CPUs run in parallel, what counts is what they compute.
#[test]
fn cpus_that_all_sleep_for_ever_are_found_although_they_compute_nothing() {
    let (tests, text) = run_on(Machine { parallel: true, processors: 2, ..MACHINE }, "~sleeps\n");
    let Verdict::Died(Ending::Hung(Stuck::Asleep), explanation) = &test(&tests, "sleeps_for_ever").verdict else {
        panic!("{text}")
    };
    assert!(explanation.contains("(waiting for an interrupt) specimens::sleeps_for_ever"), "{explanation}");
}

#[test]
fn a_selection_runs_what_it_names_and_counts_the_rest() {
    let (tests, text) = run("~passes\n-end\n");
    assert_eq!((tests.passed(), tests.failed(), tests.filtered_out), (1, 0, 15), "{text}");
    assert!(text.contains("running 1 test\n") && text.contains("instructions)"), "{text}");
    let (none, text) = run("=no such test\n");
    assert_eq!((none.tests.len(), none.fault, none.filtered_out), (0, None, 16), "{text}");
}

#[test]
fn the_same_test_takes_the_same_instructions_in_every_boot() {
    let counts = [(), ()].map(|()| run("~returns_ok\n").0.tests[0].instructions.unwrap());
    assert_eq!(counts[0], counts[1]);
}

#[test]
fn tests_are_listed_without_running() {
    let kernel = specimens();
    let plan = Plan { selection: "~pass".into(), time_limit: TIME_LIMIT, ..Plan::new(&kernel, MACHINE) };
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

/// Sends a signal to a process.
fn signal(name: &str, number: &str) {
    // The shell's own: not every system has a program for it.
    assert!(Command::new("sh").args(["-c", &format!("kill -s {name} {number}")]).status().unwrap().success());
}

/// The host program running specimens, in a process whose number is known, as is that of its QEMU.
struct Running {
    boot: Child,
    output: ChildStdout,
    number: PathBuf,
    _directory: TempDir,
}

impl Running {
    fn start(arguments: &[&str]) -> Running {
        let directory = tempfile::tempdir().unwrap();
        let (number, qemu) = (directory.path().join("number"), directory.path().join("qemu"));
        let script = format!("#!/bin/sh\necho $$ >'{}'\nexec qemu-system-x86_64 \"$@\"\n", number.display());
        fs::write(&qemu, script).unwrap();
        fs::set_permissions(&qemu, Permissions::from_mode(0o755)).unwrap();
        let mut boot = Command::new(env!("CARGO_BIN_EXE_boot"))
            .arg("runner")
            .arg(specimens())
            .args(arguments)
            .args(["--mem", "128M", "--smp", "1"])
            .env("QEMU", &qemu)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = boot.stdout.take().unwrap();
        Running { boot, output, number, _directory: directory }
    }

    /// Reads on until `part` comes.
    fn until(&mut self, part: &str) {
        let (mut text, mut byte) = (String::new(), [0]);
        while !text.ends_with(part) {
            assert_eq!(self.output.read(&mut byte).unwrap(), 1, "the output ends before {part:?}: {text}");
            text.push(byte[0].into());
        }
    }

    /// Its exit code, once it has said all.
    fn end(mut self) -> Option<i32> {
        io::copy(&mut self.output, &mut io::sink()).unwrap();
        self.boot.wait().unwrap().code()
    }

    /// The number of QEMU's process.
    fn qemu(&self) -> String {
        fs::read_to_string(&self.number).unwrap().trim().to_owned()
    }

    /// The processor time that QEMU has had, in ticks; `None` once it has ended.
    fn qemu_ticks(&self) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/stat", self.qemu())).ok()?;
        let fields: Vec<&str> = status.rsplit(')').next()?.split_whitespace().collect();
        let ticks: u64 = fields[11..13].iter().map(|ticks| ticks.parse::<u64>().unwrap()).sum();
        (fields[0] != "Z").then_some(ticks)
    }
}

/// On a busy host this program may read late what a machine sends, and the machine may be at its end by then.
#[test]
fn what_a_machine_says_last_is_not_lost_where_it_is_read_late() {
    /// More processor time than it takes the machine to come to its end.
    const TICKS: u64 = 400;
    let mut running = Running::start(&["exits_with_something_unread", "--nocapture"]);
    running.until("test exits_with_something_unread ... ");
    let number = running.boot.id().to_string();
    signal("STOP", &number);
    let before = running.qemu_ticks().expect("it has just begun");
    while running.qemu_ticks().is_some_and(|ticks| ticks < before + TICKS) {
        thread::sleep(Duration::from_millis(100));
    }
    signal("CONT", &number);
    running.until(".!");
    assert_eq!(running.end(), Some(101));
}

/// However long a host takes, a test is judged by what the machine has done in its own time.
#[test]
fn a_machine_that_gets_no_time_is_not_judged_until_it_goes_on() {
    let mut running = Running::start(&["hangs", "passes", "--timeout", "2"]);
    running.until("test hangs ... ");
    let number = running.qemu();
    signal("STOP", &number);
    // Four times as long, on this host's clock, as the machine may take on its own.
    thread::sleep(Duration::from_secs(8));
    assert!(running.boot.try_wait().unwrap().is_none());
    signal("CONT", &number);
    running.until("FAILED");
    running.until("test passes_at_the_end ... ok");
    running.until("no sign of life for 2 s of its own time");
    assert_eq!(running.end(), Some(101));
}

/// What a machine says that is interrupted in the allocator, with this command of QEMU's monitor.
fn interrupted_in_the_allocator(command: &str) -> String {
    let directory = tempfile::tempdir().unwrap();
    let (specimens, monitor) = (specimens(), directory.path().join("monitor"));
    let mut boot = Command::new(env!("CARGO_BIN_EXE_boot"))
        .arg("runner")
        .arg(&specimens)
        .args(["allocates_for_ever", "--mem", "128M", "--smp", "1", "--timeout", "30", "--nocapture"])
        .env("BIFOLIO_QEMU_ARGS", format!("-monitor unix:{},server=on,wait=off", monitor.display()))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(boot.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut text: Vec<String> = lines.by_ref().take_while(|line| !line.ends_with("allocating")).collect();
    // QEMU reads it as if it were typed, and answers at once.
    let mut monitor = UnixStream::connect(&monitor).unwrap();
    let mut answers = BufReader::new(monitor.try_clone().unwrap()).lines().map(Result::unwrap);
    let symbols = Symbols::of(&specimens);
    // What was read may still be on its way out of the kernel, on a host that is busy.
    let mut is_in_the_allocator = || {
        writeln!(monitor, "info registers").unwrap();
        let address = answers.find_map(|line| Some(line.split_once("RIP=")?.1.get(..16)?.to_owned()));
        let address = u64::from_str_radix(&address.unwrap(), 16).unwrap();
        symbols.describe(address).is_some_and(|place| place.contains("bifolio::allocator"))
    };
    while !is_in_the_allocator() {}
    writeln!(monitor, "{command}").unwrap();
    text.extend(lines);
    assert_eq!(boot.wait().unwrap().code(), Some(101), "{text:?}");
    text.join("\n")
}

#[track_caller]
fn assert_says(text: &str, parts: &[&str]) {
    parts.iter().for_each(|part| assert!(text.contains(part), "{part} in {text}"));
}

#[test]
fn an_unmaskable_interrupt_in_the_allocator_is_reported_with_its_place() {
    let text = interrupted_in_the_allocator("nmi");
    assert_says(&text, &["EXCEPTION non-maskable interrupt", "PANIC non-maskable interrupt", "backtrace:"]);
    assert_says(&text, &["specimens::allocates_for_ever"]);
}

#[test]
fn a_machine_check_in_the_allocator_is_reported_with_its_bank() {
    // CPU, bank, status (valid, uncorrected, enabled, with an address, state lost), global status (in progress), address.
    let text = interrupted_in_the_allocator("mce 0 1 0xb600000000000000 0x5 0x12345000 0x0");
    let cause = "the processor or the memory has failed; bank 1 has status 0xb600000000000000, address 0x12345000";
    assert_says(&text, &["EXCEPTION machine check (#MC), vector 18", cause, "specimens::allocates_for_ever"]);
}
