//! The solutions pass in a booted kernel, and mistakes do not: each fails what it should.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use boot::harness::{self, Plan, Tests, Verdict};
use boot::machine::{Firmware, Machine, Memory};
use boot::patience::Stuck;
use boot::report::Report;
use boot::run::Ending;
use boot::suite::MACHINES;
use lab::trial::{MEMORY, TIME_LIMIT, examined};
use labs::lab::Lab;

#[path = "../../specimens/src/mistakes/mod.rs"]
#[allow(dead_code, reason = "what a mistake costs on the host is for other tests")]
mod mistakes;
#[path = "../../specimens/src/module.rs"]
mod module;

use mistakes::{LABS, Mistake};
use module::module;

/// What each specimen is tried at. What an operation takes is measured of solutions alone: it says nothing of a mistake.
const TRIALS: [&str; 2] = ["stress", "bad_frees"];

/// A mistake of each lab.
const ONE_OF_EACH: [(u8, &str); 6] = [
    (1, "a ring is counted"),
    (2, "a merged buddy stays in its list"),
    (3, "the lowest zone first"),
    (4, "one slot too many in the last word"),
    (5, "no mask in an allocation"),
    (6, "a merged buddy is counted still"),
];

fn kernel() -> &'static PathBuf {
    static KERNEL: OnceLock<PathBuf> = OnceLock::new();
    KERNEL.get_or_init(|| {
        let mut arguments = vec!["test", "-p", "lab-specimens-booted", "--target", "x86_64-unknown-none", "--no-run"];
        arguments.push("--message-format=json");
        let output = Command::new(env!("CARGO")).args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let messages = String::from_utf8(output.stdout).unwrap();
        boot::suite::executables(&messages, "test").pop().expect("the specimens have a kernel")
    })
}

fn boot(machine: Machine, selection: &str) -> Tests {
    let plan = Plan { selection: selection.into(), time_limit: TIME_LIMIT, ..Plan::new(kernel(), machine) };
    let tests = harness::run(&plan, &mut Report::new(Vec::new(), false, false)).unwrap();
    assert_eq!(tests.fault, None, "{machine}");
    tests
}

fn verdict<'t>(tests: &'t Tests, name: &str) -> &'t Verdict {
    &tests.tests.iter().find(|test| test.name == name).unwrap_or_else(|| panic!("{name} did not run")).verdict
}

/// Which tests a specimen fails.
fn failed(tests: &Tests, lab: u8, name: &str) -> Vec<&'static str> {
    let passes = |trial: &&str| verdict(tests, &format!("{}::{trial}", module(lab, name))).is_pass();
    TRIALS.into_iter().filter(|trial| !passes(trial)).collect()
}

/// What is different from what mistakes should come to on a machine.
fn differences<'m>(tests: &Tests, machine: Machine, mistakes: impl Iterator<Item = &'m Mistake>) -> Vec<String> {
    let difference = |mistake: &Mistake| {
        let failed = failed(tests, mistake.lab, mistake.name);
        let must = mistake.boots[usize::from(machine.processors > 1)];
        (failed != must).then(|| format!("lab {}, '{}', {machine}: &{failed:?}", mistake.lab, mistake.name))
    };
    mistakes.filter_map(difference).collect()
}

/// Solutions fail nothing, and take no more instructions than half of what is given to learners.
fn check_solutions(tests: &Tests) {
    for lab in LABS.iter().filter_map(|lab| Lab::find(*lab)) {
        let failed = failed(tests, lab.number, "solution");
        assert!(failed.is_empty(), "lab {}: {failed:?}", lab.number);
        let costs = format!("{}::costs", module(lab.number, "solution"));
        let console = &tests.tests.iter().find(|test| test.name == costs).unwrap().console;
        let taken = console.lines().find_map(|line| line.strip_prefix("instructions: ")?.trim().parse::<u64>().ok());
        assert!(taken.is_some_and(|taken| taken > 10 && taken * 2 <= lab.instructions.1), "{}: {taken:?}", lab.number);
    }
}

/// What ends a kernel in another way than by its own word: a triple fault, and a panic. One of the mistakes hangs.
const ENDINGS: &str = "\n=triple_fault::resets\n=lab4_what_is_full_is_asked_again::stress";

/// The solutions and one mistake of each lab. A learner is told how a kernel has ended. (What does not build is in the tests of the whole way
/// from a file to its points.)
#[test]
fn solutions_pass_with_one_cpu_and_a_mistake_of_each_lab_is_what_it_is() {
    let machine = Machine::new(Firmware::Bios, Memory::from_mib(512), 1);
    let trials = |(lab, name): &(u8, &str)| TRIALS.map(|trial| format!("\n={}::{trial}", module(*lab, name))).concat();
    let tests = boot(machine, &format!("~_solution::{}{ENDINGS}", ONE_OF_EACH.iter().map(trials).collect::<String>()));
    check_solutions(&tests);
    let is_one = |mistake: &&Mistake| ONE_OF_EACH.contains(&(mistake.lab, mistake.name));
    let differences = differences(&tests, machine, mistakes::all().filter(is_one));
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    let hung = verdict(&tests, "lab1_a_ring_is_counted::bad_frees");
    assert!(matches!(hung, Verdict::Died(Ending::Hung(Stuck::Busy(_)), _)), "{hung}");
    let said = |test: &str| {
        let examined = examined(&tests, test, "", 10);
        assert_eq!((examined.points, examined.of), (0, 10), "{test}");
        examined.failure.unwrap().what
    };
    assert_eq!(said("triple_fault::resets"), "the machine reset by a triple fault");
    let hung = said("lab1_a_ring_is_counted::bad_frees");
    assert!(hung.contains("hung"), "{hung}");
    let panicked = said("lab4_what_is_full_is_asked_again::stress");
    assert!(panicked.starts_with("the kernel panicked: it has a free slot, at "), "{panicked}");
}

#[test]
fn solutions_pass_with_four_cpus() {
    let tests = boot(Machine::new(Firmware::Bios, Memory::from_mib(512), 4), "~_solution::stress");
    let failed: Vec<_> = tests.tests.iter().filter(|test| !test.verdict.is_pass()).collect();
    assert!(failed.is_empty(), "{failed:?}");
    assert_eq!(tests.passed(), LABS.len());
}

/// The machines of `make test`, none with less memory than the graders' own: of 64 MiB, UEFI leaves no 16 in a row.
fn machines() -> impl Iterator<Item = Machine> {
    MACHINES.into_iter().map(|machine| Machine { memory: machine.memory.max(MEMORY), ..machine })
}

/// `make test-labs`: as many boots as there are mistakes that end one, on each machine.
#[test]
#[ignore = "takes half an hour: make test-labs"]
fn all_solutions_and_all_mistakes_are_what_they_are_on_all_machines() {
    let mut all = Vec::new();
    for machine in machines() {
        let tests = boot(machine, "~::stress\n~::bad_frees\n~_solution::");
        check_solutions(&tests);
        let found = differences(&tests, machine, mistakes::all());
        eprintln!("{machine}: {} specimens; different: {found:?}", LABS.len() + mistakes::all().count());
        all.extend(found);
    }
    assert!(all.is_empty(), "{}", all.join("\n"));
}
