//! What the host program is told on its command line.

use boot::attached::Recording;
use boot::machine::{Firmware, Machine};
use boot::options::{self, Debugging, Emulator};
use clap::{ArgAction, Args, Parser, Subcommand};
use std::path::PathBuf;
use std::time::Duration;

/// Makes disk images of Bifolio's kernel, runs them in QEMU and runs booted tests
#[derive(Parser)]
#[command(version, propagate_version = true, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Make a disk image that boots a kernel
    Image(ImageArguments),
    /// Run a kernel in QEMU, with its console on this terminal
    Run(RunArguments),
    /// Do again what a trace says, and name the first thing that is not as it was
    Replay(ReplayArguments),
    /// Make the page that shows the allocator in a browser
    Explorer(ExplorerArguments),
    /// Take the documentation's pictures of that page
    Pictures(PicturesArguments),
    /// Measure how long the page takes for a picture while a long trace is scrubbed, and fail if that is too long
    Scrub,
    /// Boot again and again, each time to have all CPUs work allocator and heap at once
    Stress(StressArguments),
    /// Run what cargo built for the kernel's target: a test kernel as tests, another one as `run` does
    #[command(after_help = RUNNER_EXAMPLES)]
    Runner(RunnerArguments),
    /// Boot a benchmark and write what it measures as lines of JSON
    Measure(MeasureArguments),
    /// Have four CPUs work allocator and heap for so many minutes, and see that nothing is lost and nothing grows
    Soak(SoakArguments),
    /// Boot the kernel on machines of every kind, with a line for each
    Matrix(MatrixArguments),
    /// Run everything that `make test` runs
    Suite(SuiteArguments),
    /// Lint everything as the suite does; warnings are errors
    Lints,
}

const RUNNER_EXAMPLES: &str = "\
Cargo calls this; what follows its `--` are these options:
  cargo test -p booted --target x86_64-unknown-none -- --smp 4 --firmware uefi
  cargo test -p booted --target x86_64-unknown-none --test heap -- --gdb --exact a_test";

#[derive(Args)]
pub(crate) struct ImageArguments {
    /// The kernel's ELF file
    pub(crate) elf: PathBuf,
    /// What is to boot it
    #[arg(long)]
    pub(crate) firmware: Firmware,
    /// Where the image goes
    #[arg(long, value_name = "FILE")]
    pub(crate) out: PathBuf,
}

#[derive(Args, Clone)]
pub(crate) struct RunArguments {
    /// The kernel's ELF file [default: the one that `cargo build -p kernel` makes]
    #[arg(long, value_name = "ELF")]
    pub(crate) kernel: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) machine: Machine,
    /// Shell commands, separated by `;`: run them, switch off, and fail if one of them failed
    #[arg(long, env = "BIFOLIO_CMD", value_name = "COMMANDS", allow_hyphen_values = true)]
    pub(crate) cmd: Option<String>,
    /// Boot parameters of the kernel, as on Linux's command line: `init_on_alloc=1 init_on_free=1 slab_debug=ZPU`
    #[arg(long, env = "BIFOLIO_APPEND", value_name = "PARAMETERS")]
    pub(crate) append: Option<String>,
    /// Show the machine's display in a window
    #[arg(long = "display-window", alias = "window", env = "BIFOLIO_DISPLAY_WINDOW", value_parser = options::switch,
          action = ArgAction::SetTrue)]
    pub(crate) window: bool,
    #[command(flatten)]
    pub(crate) debugging: Debugging,
    #[command(flatten)]
    pub(crate) emulator: Emulator,
    /// End a run that has not ended by itself after so many seconds [default: none]
    #[arg(long, env = "BIFOLIO_TIMEOUT", value_name = "SECONDS", value_parser = options::seconds)]
    pub(crate) timeout: Option<Duration>,
    #[command(flatten)]
    pub(crate) recording: Recording,
}

#[derive(Args)]
pub(crate) struct ReplayArguments {
    /// The trace, from `run --trace`
    pub(crate) trace: PathBuf,
    /// Leave out what can be left out of a trace that panics, violates an invariant or differs, and print the rest as a Rust test
    #[arg(long)]
    pub(crate) minimise: bool,
    /// List the operations instead, each with the place in the kernel that asked for it
    #[arg(long, conflicts_with = "minimise")]
    pub(crate) list: bool,
}

#[derive(Args)]
pub(crate) struct ExplorerArguments {
    /// Where the page goes
    #[arg(long, value_name = "FILE")]
    pub(crate) out: PathBuf,
    /// A trace to be in it
    #[arg(long, value_name = "FILE")]
    pub(crate) trace: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct PicturesArguments {
    /// Where they go
    pub(crate) directory: PathBuf,
}

#[derive(Args)]
pub(crate) struct StressArguments {
    #[command(flatten)]
    pub(crate) machine: Machine,
    #[command(flatten)]
    pub(crate) emulator: Emulator,
    /// How many boots
    #[arg(long, value_name = "N", default_value = "10")]
    pub(crate) boots: u32,
}

#[derive(Args)]
pub(crate) struct SoakArguments {
    /// By this host's clock; the boot that is under way then is the last
    #[arg(long, env = "BIFOLIO_MINUTES", value_name = "N", default_value = "60",
          value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) minutes: u64,
    #[command(flatten)]
    pub(crate) emulator: Emulator,
}

#[derive(Args)]
pub(crate) struct MatrixArguments {
    /// Only the machine with this number, and show what it says
    #[arg(long, env = "BIFOLIO_MACHINE", value_name = "N")]
    pub(crate) machine: Option<usize>,
    #[command(flatten)]
    pub(crate) emulator: Emulator,
}

#[derive(Args)]
pub(crate) struct MeasureArguments {
    /// The benchmark's ELF file
    pub(crate) elf: PathBuf,
    /// Number of CPUs
    #[arg(long = "smp", value_name = "N", default_value = "1", value_parser = options::processors)]
    pub(crate) processors: u32,
    #[command(flatten)]
    pub(crate) emulator: Emulator,
    /// Only workloads whose name contains one of these
    pub(crate) filters: Vec<String>,
}

/// Cargo's runner: the arguments of a test program as far as a booted one has a use for them.
#[derive(Args)]
pub(crate) struct RunnerArguments {
    /// The ELF file that cargo built
    pub(crate) elf: PathBuf,
    #[command(flatten)]
    pub(crate) machine: Machine,
    #[command(flatten)]
    pub(crate) debugging: Debugging,
    #[command(flatten)]
    pub(crate) emulator: Emulator,
    /// Run only tests whose name contains one of these; for a kernel that is no test, its shell commands
    pub(crate) filters: Vec<String>,
    /// Take filters and skips for whole names
    #[arg(long)]
    pub(crate) exact: bool,
    /// Leave out tests whose name contains this
    #[arg(long, value_name = "FILTER")]
    pub(crate) skip: Vec<String>,
    /// List the tests instead
    #[arg(long)]
    pub(crate) list: bool,
    /// Show what tests print while they run
    #[arg(long, alias = "no-capture")]
    pub(crate) nocapture: bool,
    /// Accepted and without effect: a machine runs its tests one after another
    #[arg(long, value_name = "N")]
    pub(crate) test_threads: Option<u32>,
    /// Accepted and without effect: the report is short as it is
    #[arg(long, short)]
    pub(crate) quiet: bool,
    /// The longest that a test may take, in seconds of the machine's own time: each is eight million instructions
    #[arg(long, value_name = "SECONDS", value_parser = options::seconds, default_value = "600")]
    pub(crate) timeout: Duration,
    /// Record each boot, and leave the traces, 1.trace and so on, in this directory
    #[arg(long, value_name = "DIRECTORY")]
    pub(crate) traces: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct SuiteArguments {
    /// Only what is to be looked at after each change: format, lints, the allocator's tests, one booted machine
    #[arg(long, env = "BIFOLIO_QUICK", value_parser = options::switch, action = ArgAction::SetTrue)]
    pub(crate) quick: bool,
    /// Only what boots machines, so many times, as often at once
    #[arg(long, value_name = "TIMES", conflicts_with = "quick", value_parser = clap::value_parser!(u8).range(1..=9))]
    pub(crate) booted: Option<u8>,
    /// Beside so many processes that keep the host busy
    #[arg(long, env = "BIFOLIO_BUSY", value_name = "N", default_value = "0", value_parser = clap::value_parser!(u8).range(..=99))]
    pub(crate) busy: u8,
    /// Only jobs whose names contain one of these
    #[arg(long, env = "BIFOLIO_JOB", value_name = "PART;PART", value_delimiter = ';')]
    pub(crate) job: Vec<String>,
    #[command(flatten)]
    pub(crate) emulator: Emulator,
}
