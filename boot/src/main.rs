//! The host program: what each of its commands does.

mod arguments;

use anyhow::{Context, Result, ensure};
use arguments::{Cli, Command, MeasureArguments, RunArguments, RunnerArguments, StressArguments};
use boot::attached::Recording;
use boot::harness::{self, Interrupted, Plan};
use boot::machine::{Firmware, Machine, Memory};
use boot::options::{self, Debugging};
use boot::qemu::Setup;
use boot::report::Report;
use boot::run::{self, Ending, Limits, Outcome, Stage, Watcher};
use boot::suite::Scope;
use boot::terminal::{self, Keys};
use boot::{debugger, events, explorer, image, matrix, measure, minimise, pictures, qemu, replay, scrub, soak, suite};
use clap::{CommandFactory, FromArgMatches};
use protocol::input;
use std::fs;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

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
        eprintln!("{}", debugger::instructions(&kernel, gdb, "allocate_in")?);
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
