//! The kernel's part: boots the benchmark's kernel through the host program, and reads what it measures.

use crate::case::is_named;
use crate::results::{Figure, Suite, Unit};
use anyhow::{Context, Result, ensure};
use indicatif::ProgressBar;
use serde::Deserialize;
use std::env;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// A line of the host program's.
#[derive(Deserialize)]
struct Line {
    workload: String,
    allocator: String,
    cpus: usize,
    operations: u64,
    instructions: u64,
    locks: Option<u64>,
    refused: u64,
}

/// CPUs of the machine on which it is measured what they cost each other.
const CPUS: &str = "8";
/// What is measured there.
pub const OF_CPUS: [&str; 8] = [
    "smp-page-pair",
    "smp-page-alloc",
    "smp-page-free",
    "smp-page-bulk-alloc",
    "smp-page-bulk-free",
    "smp-page-cross-free",
    "smp-heap-pair64",
    "smp-heap-remote-free",
];

/// The two files that it takes: the host program, and the kernel.
pub struct Guest {
    program: PathBuf,
    kernel: PathBuf,
}

impl Guest {
    /// Finds them where `make bench` builds them: beside this program, in the target directory.
    ///
    /// # Errors
    /// One is missing.
    pub fn find() -> Result<Self> {
        let own = env::current_exe()?;
        let target = own.ancestors().nth(2).context("this program lies in no target directory")?;
        let guest = Self {
            program: target.join("debug/boot"),
            kernel: target.join("x86_64-unknown-none/release/bench-kernel"),
        };
        for (file, command) in [
            (&guest.program, "cargo build -p boot"),
            (&guest.kernel, "cargo build --release -p bench-kernel --target x86_64-unknown-none"),
        ] {
            ensure!(
                file.is_file(),
                "{} is not there, and the kernel's part needs it.\n`make bench` builds it, or `{command}`; --suite host \
                 does without",
                file.display()
            );
        }
        Ok(guest)
    }

    /// Boots and measures, with all allocators in the same boot; then once more with several CPUs.
    ///
    /// # Errors
    /// The machine cannot be started or does not come to a good end.
    pub fn run(&self, workloads: &[String], bar: &ProgressBar) -> Result<Vec<Figure>> {
        let mut figures = Vec::new();
        // A filter that is about many CPUs alone is about nothing else.
        if workloads.is_empty() || workloads.iter().any(|filter| !filter.starts_with("smp-")) {
            figures.extend(self.boot("1", workloads, bar)?);
        }
        if OF_CPUS.iter().any(|workload| is_named(workload, workloads)) {
            figures.extend(self.boot(CPUS, workloads, bar)?);
        }
        Ok(figures)
    }

    fn boot(&self, cpus: &str, workloads: &[String], bar: &ProgressBar) -> Result<Vec<Figure>> {
        bar.set_message("booting the kernel");
        let mut command = Command::new(&self.program);
        command.arg("measure").args(["--smp", cpus]).arg(&self.kernel).args(workloads).stdin(Stdio::null());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let mut figures = Vec::new();
        for line in BufReader::new(child.stdout.take().expect("it is piped")).lines() {
            let line: Line = serde_json::from_str(&line?).context("the host program said something else")?;
            bar.set_message(format!("{}, in the kernel: {}", line.workload, line.allocator));
            bar.tick();
            let per_operation = |count: u64| count as f64 / line.operations.max(1) as f64;
            let Line { workload, allocator, cpus, instructions, locks, refused, .. } = &line;
            let value = per_operation(*instructions);
            if let Some(locks) = locks {
                let of_cpus = |unit, value| Figure::of_cpus(workload, allocator, *cpus, unit, value);
                figures.push(of_cpus(Unit::InstructionsPerOp, value));
                figures.push(of_cpus(Unit::LocksPerOp, per_operation(*locks)));
            } else {
                figures.push(Figure::instructions(Suite::Kernel, workload, allocator, value, *refused));
            }
        }
        let end = child.wait_with_output()?;
        ensure!(
            end.status.success(),
            "the kernel's part failed ({}):\n{}",
            end.status,
            String::from_utf8_lossy(&end.stderr)
        );
        Ok(figures)
    }
}
