//! One machine from power-on to its end, and what it came to.
//!
//! Everything about a run comes together in one loop that waits for whatever is next: text, an event, a word from QEMU,
//! a key, a signal, or the time to look how far the machine is ([`patience`](crate::patience)). Each way to end is an
//! [`Ending`] of its own, because "it did not work" is no help to somebody who writes a kernel.

use crate::console::Console;
use crate::events::{Decoder, Report};
use crate::look::Observer;
use crate::patience::Stuck;
use crate::qemu::{Qemu, Setup};
use crate::qmp::{self, Stopped};
use crate::sites;
use crate::symbols::Symbols;
use crate::terminal::{self, Keys, Leaving};
use anyhow::{Context, Result};
use protocol::ExitCode;
use protocol::event::SYNC;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use signal_hook::consts::SIGTERM;
use std::collections::VecDeque;
use std::fmt;
use std::io::{self, ErrorKind, Write};
use std::time::{Duration, Instant};

/// How long a machine may take. `None` is for ever.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limits {
    /// By the machine's own time, which is that of its clock where instructions drive that, and what it has computed where
    /// they do not: from power-on to [`Report::Ready`].
    pub boot: Option<Duration>,
    /// By the machine's own time: from there, and again from every report, to the next one or the end.
    pub quiet: Option<Duration>,
    /// By this host's clock, from power-on to the end: somebody's wish.
    pub wish: Option<Duration>,
}

impl Limits {
    /// Boots were seen to take up to 146 s of the machine's time: with UEFI and 4 TiB.
    pub const BOOT: Duration = Duration::from_secs(1200);
    /// The longest that a test or a measurement may take, unless somebody says otherwise. Where instructions are the clock,
    /// that is 4.7 billion of them; the longest test takes half of that.
    pub const QUIET: Duration = Duration::from_secs(600);
    /// The longest that shell commands may take: one of them works for as long as it is told to.
    pub const COMMANDS: Duration = Duration::from_secs(7200);

    /// The limits of a machine that is to get something done.
    #[must_use]
    pub fn at_work(quiet: Duration) -> Limits {
        Limits { boot: Some(Limits::BOOT), quiet: Some(quiet), wish: None }
    }
}

/// What is told of all that happens during a run.
pub trait Watcher {
    /// The guest's text, from its first line on, is written here.
    fn console(&mut self) -> &mut dyn Write;

    /// The guest reports something; all text that it printed before has been written.
    fn report(&mut self, report: &Report);
}

/// How a machine ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The guest ended it and said how it went.
    Exited(ExitCode),
    /// It cannot be expected to do anything more.
    Hung(Stuck),
    /// It was not done in the time that somebody gave it.
    OutOfTime(Duration),
    /// An exception that could not be handled, nor the one about that: the CPU gave up.
    TripleFault,
    /// The guest reset the machine.
    Reset,
    /// The guest switched the machine off without a word of how it went.
    PoweredOff,
    /// The user closed the window.
    Closed,
    /// Ctrl-A x.
    Left,
    /// A signal to this program.
    Interrupted(i32),
    /// QEMU itself failed: its status, and what it wrote.
    QemuFailed(String),
}

/// How far a kernel got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Firmware and boot loader ran, and no kernel was seen.
    Firmware,
    /// The kernel has begun.
    Started,
    /// The kernel has set itself up.
    Ready,
}

/// What is known of a run after it.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// How it ended.
    pub ending: Ending,
    /// How far the kernel got.
    pub stage: Stage,
    /// The panic's message and location, if there was one.
    pub panic: Option<(String, String)>,
    /// Something on the events' port that was no event.
    pub garbage: Option<Vec<u8>>,
    /// Where the CPUs stood, if the machine hung or reset.
    pub cpus: Vec<String>,
    /// The last lines of the console.
    pub tail: Vec<String>,
    /// From the kernel's first act to its being ready.
    pub setup_time: Option<Duration>,
}

impl Outcome {
    /// Whether the guest did all that it was asked for.
    #[must_use]
    pub fn is_success(&self) -> bool {
        self.ending == Ending::Exited(ExitCode::Success) && self.garbage.is_none()
    }

    /// What happened, in sentences for a person, one a line.
    #[must_use]
    pub fn explain(&self) -> String {
        let mut text = match &self.ending {
            Ending::Exited(ExitCode::Panic) | Ending::Exited(ExitCode::Failure) | Ending::Exited(ExitCode::Success)
                if self.panic.is_some() =>
            {
                "the kernel panicked".to_owned()
            }
            ending => ending.to_string(),
        };
        text.push_str(match self.stage {
            Stage::Firmware => ", before the kernel's first sign of life",
            Stage::Started => ", while the kernel set itself up",
            Stage::Ready => "",
        });
        if let Some((message, location)) = &self.panic {
            text += &format!("\n  {message}\n  at {location}");
        }
        for cpu in &self.cpus {
            text += &format!("\n  {cpu}");
        }
        if let Some(bytes) = &self.garbage {
            let start = bytes[..bytes.len().min(32)].escape_ascii();
            text += &format!(
                "\n  it sent what is not an event of this version of the protocol ({} bytes: \"{start}\")",
                bytes.len()
            );
        }
        text
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ending::Exited(ExitCode::Success) => f.write_str("the kernel ended with success"),
            Ending::Exited(ExitCode::Failure) => f.write_str("the kernel ended with a failure"),
            Ending::Exited(ExitCode::Panic) => f.write_str("the kernel ended with a panic"),
            Ending::Hung(Stuck::Busy(limit)) => {
                write!(f, "the machine hung: no sign of life for {} s of its own time", limit.as_secs_f32())
            }
            Ending::Hung(Stuck::Asleep) => {
                f.write_str("the machine hung: all CPUs wait for an interrupt, and none comes that they wait for")
            }
            Ending::Hung(Stuck::Silent(limit)) => write!(f, "QEMU has not answered for {} s", limit.as_secs_f32()),
            Ending::OutOfTime(limit) => write!(f, "it was not done within {} s", limit.as_secs_f32()),
            Ending::TripleFault => f.write_str("the machine reset by a triple fault"),
            Ending::Reset => f.write_str("the kernel reset the machine"),
            Ending::PoweredOff => f.write_str("the kernel switched the machine off without saying how it went"),
            Ending::Closed => f.write_str("the machine's window was closed"),
            Ending::Left => f.write_str("left by Ctrl-A x"),
            Ending::Interrupted(signal) => write!(f, "interrupted by {}", terminal::signal_name(*signal)),
            Ending::QemuFailed(message) => write!(f, "QEMU failed: {message}"),
        }
    }
}

/// Runs a machine until it ends or a limit is reached. `keys` go to the guest once it is ready.
///
/// # Errors
/// The machine could not be started, or this host fails while it runs. However the guest fares is an [`Outcome`].
pub fn run(setup: &Setup<'_>, limits: Limits, keys: Option<&Keys>, watcher: &mut dyn Watcher) -> Result<Outcome> {
    let signals = terminal::signals()?;
    let mut run = Run {
        qemu: Qemu::start(setup)?,
        limits,
        observer: Observer::new(!setup.machine.parallel, limits.boot),
        end: limits.wish.map(|wish| Instant::now() + wish),
        console: Console::new(Symbols::of(setup.kernel)),
        text: VecDeque::new(),
        decoder: Decoder::default(),
        reports: VecDeque::new(),
        unsent: Vec::new(),
        last_key: None,
        leaving: Leaving::default(),
        started: None,
        watcher,
        outcome: Outcome {
            ending: Ending::PoweredOff,
            stage: Stage::Firmware,
            panic: None,
            garbage: None,
            cpus: Vec::new(),
            tail: Vec::new(),
            setup_time: None,
        },
    };
    run.outcome.ending = run.until_it_ends(signals, keys)?;
    run.flush()?;
    let mut outcome = run.outcome;
    outcome.tail = run.console.tail();
    drop(run.qemu);
    if let Some(trace) = setup.trace
        && let Err(error) = sites::name(trace, setup.kernel)
    {
        // It can be replayed all the same.
        eprintln!("where the trace's operations were asked for cannot be told: {error:#}");
    }
    Ok(outcome)
}

struct Run<'a> {
    qemu: Qemu,
    limits: Limits,
    observer: Observer,
    /// When it ends, done or not.
    end: Option<Instant>,
    console: Console,
    /// Text that waits for the event whose place it has reached.
    text: VecDeque<u8>,
    decoder: Decoder,
    /// Events that wait for the text to reach their place.
    reports: VecDeque<Report>,
    /// Keys that the guest has not taken yet.
    unsent: Vec<u8>,
    last_key: Option<u8>,
    leaving: Leaving,
    started: Option<Instant>,
    watcher: &'a mut dyn Watcher,
    outcome: Outcome,
}

impl Run<'_> {
    fn until_it_ends(&mut self, signals: &terminal::Signals, mut keys: Option<&Keys>) -> Result<Ending> {
        loop {
            let wanted = keys.filter(|keys| self.unsent.is_empty() || keys.is_terminal() && self.unsent.len() < AHEAD);
            let ready = self.wait(signals, wanted)?;

            if let Some(signal) = signals.received() {
                return Ok(Ending::Interrupted(signal));
            }
            let mut bytes = Vec::new();
            let console_is_open = drain(&mut self.qemu.console, &mut bytes)?;
            self.text.extend(bytes.drain(..));
            let events_are_open = drain(&mut self.qemu.events, &mut bytes)?;
            self.decoder.push(&bytes, |report| self.reports.push_back(report));
            self.deliver()?;
            if !console_is_open || !events_are_open {
                return self.qemu_ended();
            }
            if ready.qmp && !self.qemu.qmp.receive()? {
                return self.qemu_ended();
            }
            if let Some(stopped) = self.qemu.qmp.stopped() {
                return self.stopped(stopped);
            }
            if ready.key {
                match self.read_keys(wanted.expect("only then it was waited for"))? {
                    Read::Some => {}
                    Read::All => keys = None,
                    Read::Left => return Ok(Ending::Left),
                }
            }
            self.send_keys()?;
            if let Err(ending) = self.look() {
                self.look_at_cpus();
                return Ok(ending);
            }
        }
    }

    /// Waits until something is there to be read, the guest takes pending keys, or the deadline.
    fn wait(&self, signals: &terminal::Signals, keys: Option<&Keys>) -> Result<Ready> {
        let mut sources = vec![
            PollFd::new(self.qemu.qmp.stream(), PollFlags::IN),
            PollFd::new(signals.stream(), PollFlags::IN),
            PollFd::new(&self.qemu.console, PollFlags::IN),
            PollFd::new(&self.qemu.events, PollFlags::IN),
        ];
        if self.can_send() {
            sources.push(PollFd::new(&self.qemu.keys, PollFlags::OUT));
        }
        sources.extend(keys.map(|keys| PollFd::new(keys.stdin(), PollFlags::IN)));
        let next = self.observer.next().into_iter().chain(self.end).min();
        let left = next.map(|next| next.saturating_duration_since(Instant::now()));
        let timeout = left.map(Timespec::try_from).transpose()?;
        match poll(&mut sources, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error).context("cannot wait for the machine"),
        }
        let is_ready = |source: Option<&PollFd<'_>>| source.is_some_and(|source| !source.revents().is_empty());
        Ok(Ready { qmp: is_ready(sources.first()), key: keys.is_some() && is_ready(sources.last()) })
    }

    /// Passes on text and events in the order in which the guest sent them, as far as that is known yet.
    fn deliver(&mut self) -> Result<()> {
        loop {
            let place = self.text.iter().position(|&byte| byte == SYNC);
            let text: Vec<u8> = self.text.drain(..place.unwrap_or(self.text.len())).collect();
            self.show(&text)?;
            if place.is_none() {
                return Ok(());
            }
            let Some(report) = self.reports.pop_front() else {
                return Ok(());
            };
            self.text.pop_front();
            self.handle(report);
        }
    }

    /// Passes on what still waits, after the end.
    fn flush(&mut self) -> Result<()> {
        self.deliver()?;
        let text: Vec<u8> = self.text.drain(..).filter(|&byte| byte != SYNC).collect();
        self.show(&text)?;
        while let Some(report) = self.reports.pop_front() {
            self.handle(report);
        }
        Ok(())
    }

    /// Firmware's text is kept for the report of a failure and not shown: it clears the screen.
    fn show(&mut self, text: &[u8]) -> Result<()> {
        let result = if self.outcome.stage == Stage::Firmware {
            self.console.push(text, &mut io::sink())
        } else {
            self.console.push(text, self.watcher.console())
        };
        result.context("cannot show the machine's console")
    }

    fn handle(&mut self, report: Report) {
        match &report {
            Report::Started => {
                self.outcome.stage = Stage::Started;
                self.started = Some(Instant::now());
            }
            Report::Ready => {
                self.outcome.stage = Stage::Ready;
                self.outcome.setup_time = self.started.map(|started| started.elapsed());
            }
            Report::Panicked { message, location } => {
                // The first panic is the cause; one that follows from it is not.
                self.outcome.panic.get_or_insert_with(|| (message.clone(), location.clone()));
            }
            Report::Garbage(bytes) => {
                self.outcome.garbage.get_or_insert_with(|| bytes.clone());
            }
            _ => {}
        }
        if self.outcome.stage == Stage::Ready {
            self.observer.report(self.limits.quiet);
        }
        self.watcher.report(&report);
    }

    /// Keys wait until the guest is ready for them: firmware would take them for its own.
    fn can_send(&self) -> bool {
        !self.unsent.is_empty() && self.outcome.stage == Stage::Ready
    }

    fn read_keys(&mut self, keys: &Keys) -> Result<Read> {
        const END_OF_TRANSMISSION: u8 = 4;
        let mut buffer = [0; 256];
        let count = match rustix::io::read(keys.stdin(), &mut buffer) {
            Err(Errno::INTR | Errno::AGAIN) => return Ok(Read::Some),
            // A terminal that has gone; the hangup's signal follows.
            Err(Errno::IO) => 0,
            result => result.context("cannot read standard input")?,
        };
        if keys.is_terminal() && self.leaving.is_among(&buffer[..count]) {
            return Ok(Read::Left);
        }
        self.last_key = buffer[..count].last().copied().or(self.last_key);
        // The guest's echo of this one would pass for the place of an event.
        self.unsent.extend(buffer[..count].iter().filter(|&&byte| byte != SYNC));
        if count == 0 {
            // The end of a file or a pipe, as a terminal would tell it: on a line of its own.
            if self.last_key.is_some_and(|key| key != b'\n' && key != b'\r') {
                self.unsent.push(b'\r');
            }
            self.unsent.push(END_OF_TRANSMISSION);
        }
        Ok(if count > 0 { Read::Some } else { Read::All })
    }

    /// Sends as many keys as QEMU takes now.
    fn send_keys(&mut self) -> Result<()> {
        if !self.can_send() {
            return Ok(());
        }
        match self.qemu.keys.write(&self.unsent) {
            Ok(count) => drop(self.unsent.drain(..count)),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            // QEMU ends at this moment: the loop sees that next.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => self.unsent.clear(),
            Err(error) => return Err(error).context("cannot send keys to QEMU"),
        }
        Ok(())
    }

    fn stopped(&mut self, stopped: Stopped) -> Result<Ending> {
        Ok(match stopped {
            Stopped::PoweredOff => {
                // With what status, only its end tells. It may be gone already.
                let _ = self.qemu.qmp.quit();
                return self.qemu_ended();
            }
            // The same signal is on its way to this program, and QEMU's was merely faster.
            Stopped::Killed => Ending::Interrupted(SIGTERM),
            Stopped::Quit => Ending::Closed,
            Stopped::Reset => {
                self.look_at_cpus();
                if self.qemu.has_triple_faulted() { Ending::TripleFault } else { Ending::Reset }
            }
        })
    }

    /// Looks whether anything is to be expected of the machine still.
    fn look(&mut self) -> Result<(), Ending> {
        match (self.end, self.limits.wish) {
            (Some(end), Some(wish)) if Instant::now() >= end => Err(Ending::OutOfTime(wish)),
            _ => self.observer.look(&mut self.qemu).map_err(Ending::Hung),
        }
    }

    /// Notes where the CPUs stand.
    fn look_at_cpus(&mut self) {
        let Ok(registers) = self.qemu.qmp.registers() else { return };
        let symbols = self.console.symbols();
        let places = qmp::cpus(&registers).into_iter().map(|cpu| {
            let halted = if cpu.halted { " (waiting for an interrupt)" } else { "" };
            let name = symbols.describe(cpu.rip).map_or_else(String::new, |name| format!(" {name}"));
            format!("CPU {} at {:#018x}{halted}{name}", cpu.number, cpu.rip)
        });
        self.outcome.cpus = places.collect();
    }

    fn qemu_ended(&mut self) -> Result<Ending> {
        let status = self.qemu.wait()?;
        // What it sent last may have come after the last look.
        let mut bytes = Vec::new();
        drain(&mut self.qemu.console, &mut bytes)?;
        self.text.extend(bytes.drain(..));
        drain(&mut self.qemu.events, &mut bytes)?;
        self.decoder.push(&bytes, |report| self.reports.push_back(report));
        Ok(match status.code() {
            Some(0) => Ending::PoweredOff,
            code => code
                .and_then(ExitCode::from_qemu_status)
                .map_or_else(|| Ending::QemuFailed(format!("{status}\n{}", self.qemu.complaints())), Ending::Exited),
        })
    }
}

/// Keys that are kept of those that were typed before the guest takes them.
const AHEAD: usize = 4096;

/// What reading keys came to.
enum Read {
    Some,
    /// There are no more.
    All,
    /// Ctrl-A x was among them.
    Left,
}

/// What [`Run::wait`] found, where that cannot be learnt by trying.
struct Ready {
    qmp: bool,
    key: bool,
}

/// Reads all that is there without waiting; `false` at the end of the stream.
fn drain(stream: &mut impl io::Read, bytes: &mut Vec<u8>) -> Result<bool> {
    match stream.read_to_end(bytes) {
        Ok(_) => Ok(false),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(true),
        Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(false),
        Err(error) => Err(error).context("cannot read from QEMU"),
    }
}
