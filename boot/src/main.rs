//! The command line of the host program.

use anyhow::{Context, Result, ensure};
use boot::harness::{self, Interrupted, Plan};
use boot::machine::{Firmware, Machine, Memory};
use boot::qemu::{self, Setup};
use boot::report::Report;
use boot::run::{self, Ending, Limits, Outcome, Stage, Watcher};
use boot::terminal::Keys;
use boot::{events, image, measure, suite};
use clap::{Args, Parser, Subcommand};
use protocol::input;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Makes disk images of Bifolio's kernel, runs them in QEMU and runs booted tests
#[derive(Parser)]
#[command(version, propagate_version = true, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make a disk image that boots a kernel
    Image(ImageArguments),
    /// Run a kernel in QEMU, with its console on this terminal
    Run(RunArguments),
    /// Run what cargo built for the kernel's target: a test kernel as tests, another one as `run` does
    Runner(RunnerArguments),
    /// Boot a benchmark and write what it measures as lines of JSON
    Measure(MeasureArguments),
    /// Run everything that `make test` runs
    Suite,
}

#[derive(Args)]
struct ImageArguments {
    /// The kernel's ELF file
    elf: PathBuf,
    /// What is to boot it
    #[arg(long)]
    firmware: Firmware,
    /// Where the image goes
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

#[derive(Args)]
struct RunArguments {
    /// The kernel's ELF file [default: the one that `cargo build -p kernel` makes]
    #[arg(long, value_name = "ELF")]
    kernel: Option<PathBuf>,
    #[command(flatten)]
    machine: Machine,
    /// Shell commands, separated by `;`: run them, switch off, and fail if one of them failed
    #[arg(long, value_name = "COMMANDS")]
    cmd: Option<String>,
    /// Show the machine's display in a window
    #[arg(long)]
    window: bool,
    /// Wait for gdb before the first instruction
    #[arg(long)]
    gdb: bool,
    /// End a run that has not ended by itself after so many seconds [default: none]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    timeout: Option<Duration>,
}

#[derive(Args)]
struct MeasureArguments {
    /// The benchmark's ELF file
    elf: PathBuf,
    /// Number of CPUs
    #[arg(long = "smp", value_name = "N", default_value = "1", value_parser = clap::value_parser!(u32).range(1..=64))]
    processors: u32,
    /// Only workloads whose name contains one of these
    filters: Vec<String>,
}

/// Cargo's runner: the arguments of a test program as far as a booted one has a use for them.
#[derive(Args)]
struct RunnerArguments {
    /// The ELF file that cargo built
    elf: PathBuf,
    #[command(flatten)]
    machine: Machine,
    /// Run only tests whose name contains one of these; for a kernel that is no test, its shell commands
    filters: Vec<String>,
    /// Take filters and skips for whole names
    #[arg(long)]
    exact: bool,
    /// Leave out tests whose name contains this
    #[arg(long, value_name = "FILTER")]
    skip: Vec<String>,
    /// List the tests instead
    #[arg(long)]
    list: bool,
    /// Show what tests print while they run
    #[arg(long, alias = "no-capture")]
    nocapture: bool,
    /// Accepted and without effect: a machine runs its tests one after another
    #[arg(long, value_name = "N")]
    test_threads: Option<u32>,
    /// Accepted and without effect: the report is short as it is
    #[arg(long, short)]
    quiet: bool,
    /// The longest that a test may take, in seconds of the machine's own time: each is eight million instructions
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "600")]
    timeout: Duration,
}

fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(seconds @ 1..) => Ok(Duration::from_secs(seconds)),
        _ => Err("must be a whole number of seconds, at least 1".into()),
    }
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Image(arguments) => {
            image::make(&arguments.elf, arguments.firmware, &arguments.out).map(|()| ExitCode::SUCCESS)
        }
        Command::Run(arguments) => run(&arguments),
        Command::Runner(arguments) => runner(arguments),
        Command::Measure(arguments) => {
            // Enough for the metadata of a TiB; what else the machine has makes no difference to a count.
            let machine = Machine::new(Firmware::Bios, Memory::from_mib(1024), arguments.processors);
            measure::run(&arguments.elf, machine, selection(&arguments.filters, &[], false)).map(|()| ExitCode::SUCCESS)
        }
        Command::Suite => {
            suite::run().map(|count| if count.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
    };
    result.unwrap_or_else(|error| match error.downcast_ref::<Interrupted>() {
        Some(interrupted) => {
            eprintln!("\n{interrupted}");
            signalled(interrupted.0)
        }
        None => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    })
}

/// The exit status of a program that a signal ended, as shells have it.
fn signalled(signal: i32) -> ExitCode {
    ExitCode::from(u8::try_from(128 + signal).unwrap_or(1))
}

/// Shows a run on the terminal as it happens.
struct OnTerminal(io::Stdout);

impl Watcher for OnTerminal {
    fn console(&mut self) -> &mut dyn Write {
        &mut self.0
    }

    fn report(&mut self, _: &events::Report) {}
}

fn run(arguments: &RunArguments) -> Result<ExitCode> {
    let kernel = match &arguments.kernel {
        Some(kernel) => kernel.clone(),
        None => default_kernel()?,
    };
    let is_interactive = arguments.cmd.is_none();
    let inputs = arguments.cmd.iter().map(|commands| (input::COMMANDS, commands.clone())).collect();
    let setup = Setup {
        kernel: &kernel,
        machine: arguments.machine,
        inputs,
        window: arguments.window,
        gdb: arguments.gdb,
        interactive: is_interactive,
    };
    let limits = if arguments.gdb {
        // A machine that waits for gdb takes as long as its user does.
        Limits::default()
    } else {
        let quiet = (!is_interactive).then_some(Limits::COMMANDS);
        Limits { boot: Some(Limits::BOOT), quiet, wish: arguments.timeout }
    };
    eprintln!("Booting {} ({}; QEMU {})", kernel.display(), arguments.machine, qemu::abilities()?.version);
    if arguments.gdb {
        eprintln!("The machine waits for gdb. In another terminal:\n  {}", qemu::gdb_command(&kernel));
    }
    let keys = is_interactive.then(Keys::take).transpose()?;
    let outcome = run::run(&setup, limits, keys.as_ref(), &mut OnTerminal(io::stdout()));
    drop(keys);
    Ok(conclude(&outcome?))
}

fn runner(arguments: RunnerArguments) -> Result<ExitCode> {
    // Cargo keeps test programs, and nothing else that it runs, in this directory.
    let is_test = arguments.elf.parent().is_some_and(|directory| directory.ends_with("deps"));
    if !is_test {
        return run(&RunArguments {
            kernel: Some(arguments.elf),
            machine: arguments.machine,
            cmd: (!arguments.filters.is_empty()).then(|| arguments.filters.join(" ")),
            window: false,
            gdb: false,
            timeout: None,
        });
    }
    let plan = Plan {
        kernel: &arguments.elf,
        machine: arguments.machine,
        selection: selection(&arguments.filters, &arguments.skip, arguments.exact),
        time_limit: arguments.timeout,
    };
    if arguments.list {
        let names = harness::list(&plan)?;
        names.iter().for_each(|name| println!("{name}: test"));
        println!("\n{} tests, 0 benchmarks", names.len());
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("     Booting {} ({}; QEMU {})", arguments.elf.display(), arguments.machine, qemu::abilities()?.version);
    let stdout = io::stdout();
    let in_colours = stdout.is_terminal();
    let mut report = Report::new(stdout, in_colours, arguments.nocapture);
    let tests = harness::run(&plan, &mut report)?;
    report.conclude(&tests);
    // The status that Rust's own test programs fail with.
    Ok(if tests.failed() == 0 { ExitCode::SUCCESS } else { ExitCode::from(101) })
}

/// What `cargo test`'s arguments select, in the protocol's words.
fn selection(filters: &[String], skips: &[String], exact: bool) -> String {
    let (take, leave_out) = if exact { ('=', '!') } else { ('~', '-') };
    let taken = filters.iter().map(|filter| format!("{take}{filter}\n"));
    taken.chain(skips.iter().map(|skip| format!("{leave_out}{skip}\n"))).collect()
}

/// The kernel that was built beside this program, in the same profile.
fn default_kernel() -> Result<PathBuf> {
    let program = std::env::current_exe()?;
    let profile = program.parent().context("this program lies nowhere")?;
    let (target, name) =
        profile.parent().zip(profile.file_name()).context("this program lies in no target directory")?;
    let kernel = target.join("x86_64-unknown-none").join(name).join("kernel");
    ensure!(
        kernel.is_file(),
        "there is no kernel at {}.\nBuild it with `cargo build -p kernel --target x86_64-unknown-none`, or name one with \
         --kernel",
        kernel.display()
    );
    Ok(kernel)
}

/// Says how a run failed, if it did, and turns it into this program's exit status.
fn conclude(outcome: &Outcome) -> ExitCode {
    if outcome.is_success() {
        return ExitCode::SUCCESS;
    }
    if let Ending::Interrupted(signal) = outcome.ending {
        eprintln!("\n{}", outcome.ending);
        return signalled(signal);
    }
    eprintln!("\nerror: {}", outcome.explain());
    if outcome.stage == Stage::Firmware {
        // Nothing has been shown yet.
        eprintln!("\nThe last lines on the serial console:");
        outcome.tail.iter().for_each(|line| eprintln!("  {line}"));
    }
    ExitCode::FAILURE
}
