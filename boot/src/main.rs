//! The command line of the host program.

use anyhow::{Context, Result, ensure};
use boot::attached::Recording;
use boot::harness::{self, Interrupted, Plan};
use boot::machine::{Firmware, Machine, Memory};
use boot::options::{self, Debugging, Emulator};
use boot::qemu::Setup;
use boot::report::Report;
use boot::run::{self, Ending, Limits, Outcome, Stage, Watcher};
use boot::suite::Scope;
use boot::terminal::{self, Keys};
use boot::{debugger, events, explorer, image, matrix, measure, minimise, pictures, qemu, replay, scrub, soak, suite};
use clap::{ArgAction, Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use protocol::input;
use std::fs;
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

#[derive(Args, Clone)]
struct RunArguments {
    /// The kernel's ELF file [default: the one that `cargo build -p kernel` makes]
    #[arg(long, value_name = "ELF")]
    kernel: Option<PathBuf>,
    #[command(flatten)]
    machine: Machine,
    /// Shell commands, separated by `;`: run them, switch off, and fail if one of them failed
    #[arg(long, env = "BIFOLIO_CMD", value_name = "COMMANDS", allow_hyphen_values = true)]
    cmd: Option<String>,
    /// Boot parameters of the kernel, as on Linux's command line: `init_on_alloc=1 init_on_free=1 slab_debug=ZPU`
    #[arg(long, env = "BIFOLIO_APPEND", value_name = "PARAMETERS")]
    append: Option<String>,
    /// Show the machine's display in a window
    #[arg(long = "display-window", alias = "window", env = "BIFOLIO_DISPLAY_WINDOW", value_parser = options::switch,
          action = ArgAction::SetTrue)]
    window: bool,
    #[command(flatten)]
    debugging: Debugging,
    #[command(flatten)]
    emulator: Emulator,
    /// End a run that has not ended by itself after so many seconds [default: none]
    #[arg(long, env = "BIFOLIO_TIMEOUT", value_name = "SECONDS", value_parser = options::seconds)]
    timeout: Option<Duration>,
    #[command(flatten)]
    recording: Recording,
}

#[derive(Args)]
struct ReplayArguments {
    /// The trace, from `run --trace`
    trace: PathBuf,
    /// Leave out what can be left out of a trace that panics or violates an invariant, and print the rest as a Rust test
    #[arg(long)]
    minimise: bool,
    /// List the operations instead, each with the place in the kernel that asked for it
    #[arg(long, conflicts_with = "minimise")]
    list: bool,
}

#[derive(Args)]
struct ExplorerArguments {
    /// Where the page goes
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// A trace to be in it
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
}

#[derive(Args)]
struct PicturesArguments {
    /// Where they go
    directory: PathBuf,
}

#[derive(Args)]
struct StressArguments {
    #[command(flatten)]
    machine: Machine,
    #[command(flatten)]
    emulator: Emulator,
    /// How many boots
    #[arg(long, value_name = "N", default_value = "10")]
    boots: u32,
}

#[derive(Args)]
struct SoakArguments {
    /// By this host's clock; the boot that is under way then is the last
    #[arg(long, env = "BIFOLIO_MINUTES", value_name = "N", default_value = "60",
          value_parser = clap::value_parser!(u64).range(1..))]
    minutes: u64,
    #[command(flatten)]
    emulator: Emulator,
}

#[derive(Args)]
struct MatrixArguments {
    /// Only the machine with this number, and show what it says
    #[arg(long, env = "BIFOLIO_MACHINE", value_name = "N")]
    machine: Option<usize>,
    #[command(flatten)]
    emulator: Emulator,
}

#[derive(Args)]
struct MeasureArguments {
    /// The benchmark's ELF file
    elf: PathBuf,
    /// Number of CPUs
    #[arg(long = "smp", value_name = "N", default_value = "1", value_parser = options::processors)]
    processors: u32,
    #[command(flatten)]
    emulator: Emulator,
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
    #[command(flatten)]
    debugging: Debugging,
    #[command(flatten)]
    emulator: Emulator,
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
    #[arg(long, value_name = "SECONDS", value_parser = options::seconds, default_value = "600")]
    timeout: Duration,
    /// Record each boot, and leave the traces, 1.trace and so on, in this directory
    #[arg(long, value_name = "DIRECTORY")]
    traces: Option<PathBuf>,
}

#[derive(Args)]
struct SuiteArguments {
    /// Only what is to be looked at after each change: format, lints, the allocator's tests, one booted machine
    #[arg(long, env = "BIFOLIO_QUICK", value_parser = options::switch, action = ArgAction::SetTrue)]
    quick: bool,
    /// Only what boots machines, so many times, as often at once
    #[arg(long, value_name = "TIMES", conflicts_with = "quick", value_parser = clap::value_parser!(u8).range(1..=9))]
    booted: Option<u8>,
    /// Beside so many processes that keep the host busy
    #[arg(long, env = "BIFOLIO_BUSY", value_name = "N", default_value = "0", value_parser = clap::value_parser!(u8).range(..=99))]
    busy: u8,
    /// Only jobs whose names contain one of these
    #[arg(long, env = "BIFOLIO_JOB", value_name = "PART;PART", value_delimiter = ';')]
    job: Vec<String>,
    #[command(flatten)]
    emulator: Emulator,
}

fn main() -> ExitCode {
    // All that its CPUs could do to each other takes many of them.
    let command = Cli::command()
        .mut_subcommand("stress", |stress| stress.mut_arg("processors", |processors| processors.default_value("16")));
    let cli = Cli::from_arg_matches(&options::parse(command)).unwrap_or_else(|error| error.exit());
    execute(cli.command).unwrap_or_else(|error| match error.downcast_ref::<Interrupted>() {
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

fn execute(command: Command) -> Result<ExitCode> {
    match command {
        Command::Image(arguments) => {
            image::make(&arguments.elf, arguments.firmware, &arguments.out)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Run(arguments) => run(&arguments),
        Command::Replay(arguments) => {
            let run = match (arguments.minimise, arguments.list) {
                (true, _) => minimise::run,
                (_, true) => replay::list,
                _ => replay::run,
            };
            print!("{}", run(&arguments.trace)?);
            Ok(ExitCode::SUCCESS)
        }
        Command::Explorer(arguments) => {
            let page = explorer::page(arguments.trace.as_deref())?;
            fs::write(&arguments.out, page).with_context(|| format!("cannot write {}", arguments.out.display()))?;
            println!("Open {} in a browser.", arguments.out.display());
            Ok(ExitCode::SUCCESS)
        }
        Command::Pictures(arguments) => pictures::take(&arguments.directory).map(|()| ExitCode::SUCCESS),
        Command::Scrub => {
            let (text, is_met) = scrub::run()?;
            print!("{text}");
            Ok(success_if(is_met))
        }
        Command::Stress(arguments) => stress(&arguments),
        Command::Runner(arguments) => runner(arguments),
        Command::Measure(arguments) => measure(&arguments),
        Command::Soak(arguments) => {
            soak::run(&default_kernel()?, arguments.minutes, &arguments.emulator.qemu_args.0).map(success_if)
        }
        Command::Matrix(arguments) => {
            let (kernel, qemu_args) = (default_kernel()?, &arguments.emulator.qemu_args.0);
            let watcher = &mut OnTerminal(io::stdout());
            match arguments.machine {
                Some(number) => Ok(conclude(&matrix::run_one(&kernel, number, qemu_args, watcher)?)),
                None => matrix::run(&kernel, qemu_args).map(success_if),
            }
        }
        Command::Suite(arguments) => {
            let scope = match arguments.booted {
                Some(times) => Scope::Booted(times.into()),
                None if arguments.quick => Scope::Quick,
                None => Scope::Whole,
            };
            let count = suite::run(scope, &arguments.job, arguments.busy.into(), &arguments.emulator.qemu_args.0)?;
            Ok(success_if(count.failed == 0))
        }
        Command::Lints => suite::lint().map(success_if),
    }
}

fn success_if(is_success: bool) -> ExitCode {
    if is_success { ExitCode::SUCCESS } else { ExitCode::FAILURE }
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
    Ok(conclude(&power_on(arguments)?))
}

/// Runs a kernel to its end.
fn power_on(arguments: &RunArguments) -> Result<Outcome> {
    arguments.machine.check()?;
    if arguments.window {
        options::check_display()?;
    }
    let gdb = arguments.debugging.listen()?;
    let kernel = match &arguments.kernel {
        Some(kernel) => kernel.clone(),
        None => default_kernel()?,
    };
    let recorded = arguments.recording.begin(&kernel)?;
    let is_interactive = arguments.cmd.is_none();
    let keys = is_interactive.then(Keys::take).transpose()?;
    let setup = Setup {
        inputs: inputs(arguments, keys.as_ref()),
        window: arguments.window,
        gdb: gdb.as_ref(),
        qemu_args: &arguments.emulator.qemu_args.0,
        interactive: is_interactive,
        trace: recorded.trace(),
        ..Setup::new(&kernel, arguments.machine)
    };
    let limits = if gdb.is_some() {
        // A machine that waits for gdb takes as long as its user does.
        Limits::default()
    } else {
        let quiet = (!is_interactive).then_some(Limits::COMMANDS);
        Limits { boot: Some(Limits::BOOT), quiet, wish: arguments.timeout }
    };
    eprintln!("Booting {} ({}; QEMU {})", kernel.display(), arguments.machine, qemu::abilities()?.version);
    if let Some(gdb) = &gdb {
        eprintln!("{}", debugger::instructions(&kernel, gdb, "allocate_at_length")?);
    }
    if let Some(address) = recorded.address() {
        eprintln!("Its memory is shown at http://{address}/ while it runs");
    }
    let outcome = run::run(&setup, limits, keys.as_ref(), &mut OnTerminal(io::stdout()));
    drop(keys);
    outcome
}

/// What the guest is told of this run.
fn inputs(arguments: &RunArguments, keys: Option<&Keys>) -> Vec<(&'static str, String)> {
    let commands = arguments.cmd.iter().map(|commands| (input::COMMANDS, commands.clone()));
    let terminal = terminal::on_stdout().map(|terminal| (input::TERMINAL, terminal.to_string()));
    let script = keys.filter(|keys| !keys.is_terminal()).map(|_| (input::SCRIPT, "1".to_owned()));
    let parameters = arguments.append.iter().map(|parameters| (input::PARAMETERS, parameters.clone()));
    commands.chain(parameters).chain(terminal).chain(script).collect()
}

/// Ends with the first boot that fails.
fn stress(arguments: &StressArguments) -> Result<ExitCode> {
    for seed in 1..=arguments.boots {
        let outcome = power_on(&RunArguments {
            kernel: None,
            machine: arguments.machine,
            cmd: Some(format!("stress 5 {} {seed}; validate; lockdep", arguments.machine.processors)),
            append: None,
            window: false,
            debugging: Debugging::default(),
            emulator: arguments.emulator.clone(),
            timeout: None,
            recording: Recording::default(),
        })?;
        if !outcome.is_success() {
            return Ok(conclude(&outcome));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn runner(arguments: RunnerArguments) -> Result<ExitCode> {
    // Cargo keeps test programs, and nothing else that it runs, in this directory.
    let is_test = arguments.elf.parent().is_some_and(|directory| directory.ends_with("deps"));
    if !is_test {
        return run(&RunArguments {
            kernel: Some(arguments.elf),
            machine: arguments.machine,
            cmd: (!arguments.filters.is_empty()).then(|| arguments.filters.join(" ")),
            append: None,
            window: false,
            debugging: arguments.debugging,
            emulator: arguments.emulator,
            timeout: None,
            recording: Recording::default(),
        });
    }
    arguments.machine.check()?;
    let selection = selection(&arguments.filters, &arguments.skip, arguments.exact);
    let time_limit = arguments.timeout;
    let gdb = if arguments.list { None } else { arguments.debugging.listen()? };
    let plan = Plan {
        selection,
        time_limit,
        gdb: gdb.as_ref(),
        qemu_args: &arguments.emulator.qemu_args.0,
        traces: arguments.traces.as_deref(),
        ..Plan::new(&arguments.elf, arguments.machine)
    };
    if arguments.list {
        let names = harness::list(&plan)?;
        names.iter().for_each(|name| println!("{name}: test"));
        println!("\n{} tests, 0 benchmarks", names.len());
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("     Booting {} ({}; QEMU {})", arguments.elf.display(), arguments.machine, qemu::abilities()?.version);
    if let Some(gdb) = &gdb {
        let function = debugger::stop_for(arguments.filters.first().map(String::as_str), &arguments.elf)?;
        eprintln!("{}", debugger::instructions(&arguments.elf, gdb, &function)?);
    }
    let stdout = io::stdout();
    let in_colours = stdout.is_terminal();
    let mut report = Report::new(stdout, in_colours, arguments.nocapture);
    let tests = harness::run(&plan, &mut report)?;
    report.conclude(&tests);
    // The status that Rust's own test programs fail with.
    Ok(if tests.failed() == 0 { ExitCode::SUCCESS } else { ExitCode::from(101) })
}

fn measure(arguments: &MeasureArguments) -> Result<ExitCode> {
    // Enough for the metadata of a TiB; what else the machine has makes no difference to a count.
    let machine = Machine::new(Firmware::Bios, Memory::from_mib(1024), arguments.processors);
    let selection = selection(&arguments.filters, &[], false);
    measure::run(&arguments.elf, machine, selection, &arguments.emulator.qemu_args.0)?;
    Ok(ExitCode::SUCCESS)
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
    if outcome.ending == Ending::Left {
        eprintln!("\n{}", outcome.ending);
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
