//! All CPUs at once in the allocator and the heap, and their timers' handlers in between.
//!
//! What is shown here is that it happens: interrupts come while the interrupted code is inside the allocator, on every CPU,
//! and allocate and free there; pieces of memory go from CPU to CPU. That nothing is given out twice, that contents stay, and
//! that every frame is as before in the end is what the run itself finds out.
#![no_std]
#![no_main]
#![feature(custom_test_frameworks)]
#![test_runner(framework::run)]
#![reexport_test_harness_main = "test_main"]
#![allow(missing_docs, reason = "a test's name says what it tests")]

use core::time::Duration;
use kernel::cpu;
use kernel::shell::Shell;
use kernel::stress::{self, Failure, Plan};
use protocol::ExitCode;

framework::entry!(test_main);

fn plan(seed: u64) -> Plan {
    Plan { cpus: cpu::count(), time: Duration::from_secs(2), timers: true, seed }
}

#[test_case]
fn handlers_allocate_and_free_inside_the_allocator_on_every_cpu() -> Result<(), Failure> {
    let summary = stress::run(plan(2))?;
    assert!(summary.cpus.iter().map(|(cpu, _)| *cpu).eq(cpu::online()));
    for (cpu, tally) in &summary.cpus {
        assert!(tally.re_entries > 0 && tally.re_entries <= tally.ticks, "CPU {cpu}: {tally:?}");
        assert!(tally.operations > 100 && tally.refills > 0, "CPU {cpu}: {tally:?}");
    }
    Ok(())
}

#[test_case]
fn cpus_free_what_others_have_allocated() -> Result<(), Failure> {
    let plan = plan(3);
    let (summary, others) = (stress::run(plan)?, plan.cpus > 1);
    for (cpu, tally) in &summary.cpus {
        // By itself a CPU has nobody to hand anything to.
        assert_eq!([tally.handed_over > 0, tally.from_others > 0], [others; 2], "CPU {cpu}: {tally:?}");
    }
    let sum = summary.sum();
    assert!(!others || sum.remote_frees > 0, "{sum:?}");
    // What is left under way in the end is freed by nobody in particular.
    assert!(sum.from_others <= sum.handed_over, "{sum:?}");
    Ok(())
}

#[test_case]
fn it_does_without_timers_and_with_some_of_the_cpus() -> Result<(), Failure> {
    let summary = stress::run(Plan { cpus: 1, timers: false, ..plan(4) })?;
    let [(_, tally)] = summary.cpus[..] else { panic!("{summary:?}") };
    assert!(tally.operations > 100 && (tally.ticks, tally.handed_over) == (0, 0), "{tally:?}");
    Ok(())
}

#[test_case]
fn what_makes_no_sense_is_refused() {
    let running = cpu::count();
    assert_eq!(stress::run(Plan { time: Duration::ZERO, ..plan(0) }).err(), Some(Failure::NoTime));
    for cpus in [0, running + 1, usize::MAX] {
        assert_eq!(stress::run(Plan { cpus, ..plan(0) }).err(), Some(Failure::NoCpus { running }));
    }
    let mut shell = Shell::default();
    for command in
        ["stress", "stress 0", "stress 1 0", "stress 1 65", "stress a", "stress -1", "stress 1 1 x", "stress 1 1 1 1"]
    {
        assert_eq!(shell.run_all(command), ExitCode::Failure, "{command}");
    }
    assert_eq!(shell.run_all("stress 1 1; validate"), ExitCode::Success);
}
