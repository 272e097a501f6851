//! The command line of the host program.

use anyhow::{Context, Result, ensure};
use boot::machine::{Firmware, Machine};
use boot::qemu::{self, Setup};
use boot::run::{self, Ending, Limits, Outcome, Stage, Watcher};
use boot::terminal::Keys;
use boot::{events::Report, image};
use clap::{Args, Parser, Subcommand};
use protocol::input;
use std::io::{self, Write};
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
    /// End a run whose kernel does not end it after so many seconds [default: 120 with --cmd, else none]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    timeout: Option<u64>,
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Image(arguments) => {
            image::make(&arguments.elf, arguments.firmware, &arguments.out).map(|()| ExitCode::SUCCESS)
        }
        Command::Run(arguments) => run(&arguments),
    };
    result.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

/// Shows a run on the terminal as it happens.
struct OnTerminal(io::Stdout);

impl Watcher for OnTerminal {
    fn console(&mut self) -> &mut dyn Write {
        &mut self.0
    }

    fn report(&mut self, _: &Report) {}
}

fn run(arguments: &RunArguments) -> Result<ExitCode> {
    let kernel = match &arguments.kernel {
        Some(kernel) => kernel.clone(),
        None => default_kernel()?,
    };
    let is_interactive = arguments.cmd.is_none();
    let inputs = arguments
        .cmd
        .iter()
        .map(|commands| (input::COMMANDS, commands.clone()))
        .collect();
    let setup = Setup {
        kernel: &kernel,
        machine: arguments.machine,
        inputs,
        window: arguments.window,
        gdb: arguments.gdb,
    };
    let quiet = arguments
        .timeout
        .or((!is_interactive).then_some(120))
        .map(Duration::from_secs);
    // A machine that waits for gdb takes as long as its user does.
    let limits = if arguments.gdb {
        Limits {
            boot: None,
            quiet: None,
        }
    } else {
        Limits {
            boot: Some(Limits::BOOT),
            quiet,
        }
    };
    eprintln!("Booting {} ({})", kernel.display(), arguments.machine);
    if arguments.gdb {
        eprintln!(
            "The machine waits for gdb. In another terminal:\n  {}",
            qemu::gdb_command(&kernel)
        );
    }
    let keys = is_interactive.then(Keys::take).transpose()?;
    let outcome = run::run(&setup, limits, keys.as_ref(), &mut OnTerminal(io::stdout()));
    drop(keys);
    Ok(conclude(&outcome?))
}

/// The kernel that was built beside this program, in the same profile.
fn default_kernel() -> Result<PathBuf> {
    let program = std::env::current_exe()?;
    let profile = program.parent().context("this program lies nowhere")?;
    let (target, name) = profile
        .parent()
        .zip(profile.file_name())
        .context("this program lies in no target directory")?;
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
        return ExitCode::from(u8::try_from(128 + signal).unwrap_or(1));
    }
    eprintln!("\nerror: {}", outcome.explain());
    if outcome.stage == Stage::Firmware {
        // Nothing has been shown yet.
        eprintln!("\nThe last lines on the serial console:");
        outcome.tail.iter().for_each(|line| eprintln!("  {line}"));
    }
    ExitCode::FAILURE
}
