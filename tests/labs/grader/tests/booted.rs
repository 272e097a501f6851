//! The solutions pass in a booted kernel, and mistakes do not: each with what went wrong.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use boot::harness::{self, Plan, Tests, Verdict};
use boot::machine::{Firmware, Machine, Memory};
use boot::patience::Stuck;
use boot::report::Report;
use boot::run::Ending;
use labs::lab::LABS;

/// By the machine's own time: long enough for any of them, short enough to wait for the one that hangs.
const TIME_LIMIT: Duration = Duration::from_secs(10);

fn kernel() -> PathBuf {
    let arguments =
        ["test", "-p", "lab-specimens-booted", "--target", "x86_64-unknown-none", "--no-run", "--message-format=json"];
    let output = Command::new(env!("CARGO")).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let messages = String::from_utf8(output.stdout).unwrap();
    boot::suite::executables(&messages, "test").pop().expect("the specimens have a kernel")
}

fn boot(cpus: u32, selection: &str) -> Tests {
    let kernel = kernel();
    let machine = Machine::new(Firmware::Bios, Memory::from_mib(512), cpus);
    let plan = Plan { selection: selection.into(), time_limit: TIME_LIMIT, ..Plan::new(&kernel, machine) };
    harness::run(&plan, &mut Report::new(Vec::new(), false, false)).unwrap()
}

fn verdict<'t>(tests: &'t Tests, name: &str) -> &'t Verdict {
    &tests.tests.iter().find(|test| test.name == name).unwrap_or_else(|| panic!("{name} did not run")).verdict
}

#[test]
fn solutions_pass_with_one_cpu_and_mistakes_are_what_they_are() {
    let tests = boot(1, "");
    assert_eq!(tests.fault, None);
    for lab in LABS {
        for test in ["stress", "bad_frees", "costs"] {
            let name = format!("lab{}_solution::{test}", lab.number);
            assert_eq!(*verdict(&tests, &name), Verdict::Passed, "{name}");
        }
        let costs = format!("lab{}_solution::costs", lab.number);
        let console = &tests.tests.iter().find(|test| test.name == costs).unwrap().console;
        let taken = console.lines().find_map(|line| line.strip_prefix("instructions: ")?.trim().parse::<u64>().ok());
        assert!(
            taken.is_some_and(|taken| taken > 10 && taken * 2 <= lab.instructions.1),
            "lab {}: {taken:?}",
            lab.number
        );
    }
    assert_eq!(*verdict(&tests, "lab1_double::stress"), Verdict::Passed);
    assert_eq!(*verdict(&tests, "lab1_double::bad_frees"), Verdict::ReturnedError);
    let hung = verdict(&tests, "lab1_ring::bad_frees");
    assert!(matches!(hung, Verdict::Died(Ending::Hung(Stuck::Busy(_)), _)), "{hung}");
    let merged = verdict(&tests, "lab2_merged::stress");
    assert!(!merged.is_pass(), "{merged}");
    assert_eq!(*verdict(&tests, "lab3_lowest::bad_frees"), Verdict::ReturnedError);
    assert_eq!(*verdict(&tests, "lab4_last::stress"), Verdict::ReturnedError);
    assert_eq!(*verdict(&tests, "lab5_unmasked::stress"), Verdict::ReturnedError);
    assert_eq!(*verdict(&tests, "lab5_unmasked::bad_frees"), Verdict::Passed);
    assert_eq!(*verdict(&tests, "lab6_counted::stress"), Verdict::ReturnedError);
    assert_eq!(*verdict(&tests, "lab6_counted::bad_frees"), Verdict::Passed);
}

#[test]
fn solutions_pass_with_four_cpus() {
    let tests = boot(4, "~_solution::stress");
    let failed: Vec<_> = tests.tests.iter().filter(|test| !test.verdict.is_pass()).collect();
    assert!(failed.is_empty(), "{failed:?}");
    assert_eq!((tests.fault.as_ref(), tests.passed()), (None, LABS.len()));
}
