//! A booted benchmark: what its kernel measures, as lines of JSON for whoever shows it.

use crate::events::Report;
use crate::harness::Interrupted;
use crate::machine::Machine;
use crate::qemu::Setup;
use crate::run::{self, Ending, Limits, Watcher};
use anyhow::{Result, bail};
use protocol::input;
use std::io::{self, Write};
use std::path::Path;

/// Boots the kernel and writes a line to standard output for each of its measurements. Its console goes to standard error.
///
/// `selection` is a [`protocol::Selection`] of workloads, `qemu_args` are further arguments for QEMU.
///
/// # Errors
/// The machine could not be started, or ended otherwise than with success.
pub fn run(kernel: &Path, machine: Machine, selection: String, qemu_args: &[String]) -> Result<()> {
    let inputs = if selection.is_empty() { Vec::new() } else { vec![(input::SELECTION, selection)] };
    let setup = Setup { inputs, qemu_args, ..Setup::new(kernel, machine) };
    let limits = Limits::at_work(Limits::QUIET);
    let outcome = run::run(&setup, limits, None, &mut Lines(io::stderr()))?;
    match outcome.ending {
        Ending::Interrupted(signal) => Err(Interrupted(signal).into()),
        _ if outcome.is_success() => Ok(()),
        _ => bail!("{}\n{}", outcome.explain(), outcome.tail.join("\n")),
    }
}

struct Lines(io::Stderr);

impl Watcher for Lines {
    fn console(&mut self) -> &mut dyn Write {
        &mut self.0
    }

    fn report(&mut self, report: &Report) {
        if let Report::Measured { workload, allocator, cpus, operations, instructions, locks, refused } = report {
            let line = serde_json::json!({
                "workload": workload, "allocator": allocator, "cpus": cpus, "operations": operations,
                "instructions": instructions, "locks": locks, "refused": refused,
            });
            println!("{line}");
        }
    }
}
