//! One QEMU: its command line, its process, the ends of its sockets.
//!
//! The machine is `q35`, unless somebody wants [other hardware](Hardware), without QEMU's default devices: it boots a fifth to a
//! third faster than `pc` with either firmware, and it is the one whose memory can lie where big machines have it. Unless its CPUs are to run in parallel,
//! instructions are its clock (`-icount`): the time-stamp counter advances by the same amount with each, so a count repeats
//! exactly, for about a tenth more host time. The clock runs at 128 ns an instruction because firmware waits by polling timers; at 1 ns UEFI
//! takes minutes to boot. While all CPUs sleep it jumps to what they wait for (`sleep=off`), so that this host has no say in
//! the machine's time at all; only where a person types, idle time passes as it does for people.
//!
//! Written for QEMU from 7.2 on. What differs between versions is asked for ([`abilities`]), or is done in the way that
//! all of them understand.

use crate::firmware::Ovmf;
use crate::hardware::Hardware;
use crate::machine::{Apic, Firmware, Machine};
use crate::qmp::Qmp;
use crate::threads::Threads;
use crate::{image, processor};
use anyhow::{Context, Result, bail, ensure};
use command_fds::{CommandFdExt, FdMapping};
use protocol::{TRACE_PORT, exit, input};
use rustix::io::ioctl_fionbio;
use serde_json::Value;
use std::ffi::{OsStr, OsString};
use std::io::{self, ErrorKind, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::{env, fs};
use tempfile::TempDir;

/// The clock advances by two to the power of this, in ns, with each instruction.
const CLOCK_SHIFT: u32 = 7;
/// The numbers that the sockets have in QEMU's process.
const EVENTS_FD: i32 = 3;
const QMP_FD: i32 = 4;
const GDB_FD: i32 = 5;

/// What a machine is started with.
#[derive(Clone, Debug)]
pub struct Setup<'a> {
    /// The kernel's unstripped ELF file.
    pub kernel: &'a Path,
    /// The machine it runs on.
    pub machine: Machine,
    /// What that is made of.
    pub hardware: Hardware,
    /// What the guest finds in `fw_cfg`: names of [`protocol::input`] and contents.
    pub inputs: Vec<(&'static str, String)>,
    /// Show the machine's display in a window.
    pub window: bool,
    /// Wait for gdb before the first instruction, at this port.
    pub gdb: Option<&'a TcpListener>,
    /// Somebody may type: while all CPUs sleep, a second takes a second.
    pub interactive: bool,
    /// Where a trace of all operations on page frames goes.
    pub trace: Option<&'a Path>,
    /// Further arguments for QEMU.
    pub qemu_args: &'a [String],
}

impl<'a> Setup<'a> {
    /// A kernel on a machine, and nothing else.
    #[must_use]
    pub fn new(kernel: &'a Path, machine: Machine) -> Setup<'a> {
        Setup {
            kernel,
            machine,
            hardware: Hardware::USUAL,
            inputs: Vec::new(),
            window: false,
            gdb: None,
            trace: None,
            qemu_args: &[],
            interactive: false,
        }
    }
}

/// A running QEMU; gone when this is dropped.
pub struct Qemu {
    child: Child,
    /// Keys for COM1; never blocks.
    pub keys: ChildStdin,
    /// COM1's text; never blocks.
    pub console: ChildStdout,
    /// COM2's events; never blocks.
    pub events: UnixStream,
    /// Control.
    pub qmp: Qmp,
    /// What the machine gets of this host.
    pub threads: Threads,
    /// QEMU's log and its complaints.
    files: TempDir,
}

impl Qemu {
    /// Makes the image if needed and switches the machine on.
    ///
    /// # Errors
    /// Something is missing on this host or full, the machine cannot boot, or the kernel cannot be read.
    pub fn start(setup: &Setup<'_>) -> Result<Qemu> {
        setup.machine.check()?;
        let program = program();
        abilities()?.check(setup.machine)?;
        if let Some(model) = processor::chosen(setup.qemu_args) {
            processor::check(model, &ask(&program, &processor::question(model))?)?;
        }
        let image = image::cached(setup.kernel, setup.machine.firmware)?;
        let ovmf = match setup.machine.firmware {
            Firmware::Bios => None,
            Firmware::Uefi => Some(Ovmf::find()?),
        };
        if setup.window {
            check_window(&program)?;
        }
        let files = tempfile::tempdir().context("cannot make a directory for QEMU's log")?;
        let (events, their_events) = UnixStream::pair()?;
        let (qmp, their_qmp) = UnixStream::pair()?;
        let mut descriptors = vec![
            FdMapping { parent_fd: their_events.into(), child_fd: EVENTS_FD },
            FdMapping { parent_fd: their_qmp.into(), child_fd: QMP_FD },
        ];
        if let Some(listener) = setup.gdb {
            descriptors.push(FdMapping { parent_fd: listener.try_clone()?.into(), child_fd: GDB_FD });
        }
        let mut command = Command::new(&program);
        command
            .args(arguments(setup, &image, ovmf.as_ref()))
            .arg("-D")
            .arg(files.path().join(LOG))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(fs::File::create(files.path().join(COMPLAINTS))?)
            .fd_mappings(descriptors)?;
        let mut child = command.spawn().map_err(|error| not_started(&program, error))?;
        // `command` still owns the other ends of the sockets, and with them open nobody would see QEMU close its own.
        drop(command);
        let (keys, console) = (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
        ioctl_fionbio(&keys, true)?;
        ioctl_fionbio(&console, true)?;
        events.set_nonblocking(true)?;
        let mut qemu = match Qmp::new(qmp) {
            Ok(qmp) => Qemu { threads: Threads::of(child.id()), child, keys, console, events, qmp, files },
            Err(error) => {
                child.kill()?;
                child.wait()?;
                return Err(error);
            }
        };
        // A bad option or a missing device ends QEMU at once: that is its message, not the guest's silence.
        if let Some(status) = qemu.child.try_wait()? {
            bail!("QEMU ended with {status}:\n{}", qemu.complaints());
        }
        Ok(qemu)
    }

    /// Waits for QEMU, which has closed its console, to be gone.
    ///
    /// # Errors
    /// The system's.
    pub fn wait(&mut self) -> io::Result<ExitStatus> {
        self.child.wait()
    }

    /// Whether the machine's log tells of a triple fault.
    #[must_use]
    pub fn has_triple_faulted(&self) -> bool {
        fs::read_to_string(self.files.path().join(LOG)).is_ok_and(|log| log.lines().any(|line| line == "Triple fault"))
    }

    /// What QEMU itself had to say.
    #[must_use]
    pub fn complaints(&self) -> String {
        fs::read(self.files.path().join(COMPLAINTS))
            .map(|bytes| String::from_utf8_lossy(&bytes).trim_end().to_owned())
            .unwrap_or_default()
    }
}

const LOG: &str = "log";
const COMPLAINTS: &str = "complaints";

impl Drop for Qemu {
    fn drop(&mut self) {
        // Both fail only when it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What this host's QEMU is and can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Abilities {
    /// Its version, such as `10.0.13`.
    pub version: String,
    /// It emulates local APICs in x2APIC mode.
    pub x2apic: bool,
}

impl Abilities {
    /// Reads QEMU's answers, of which one is what its fullest processor has.
    fn parse(answers: &str) -> Option<Abilities> {
        let messages: Vec<Value> = answers.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let version = messages.iter().map(|message| &message["QMP"]["version"]["qemu"]).find(|it| it.is_object())?;
        let [major, minor, micro] = ["major", "minor", "micro"].map(|part| version[part].as_u64());
        let properties =
            messages.iter().map(|message| &message["return"]["model"]["props"]).find(|it| it.is_object())?;
        Some(Abilities {
            version: format!("{}.{}.{}", major?, minor?, micro?),
            x2apic: properties["x2apic"].as_bool()?,
        })
    }

    /// Refuses a machine that this QEMU does not emulate.
    fn check(&self, machine: Machine) -> Result<()> {
        ensure!(
            machine.apic != Apic::X2Apic || self.x2apic,
            "this is QEMU {}, which does not emulate x2APIC (9.0 and later do). Leave APIC=x2apic out, or set QEMU to a newer one",
            self.version
        );
        Ok(())
    }
}

/// What a QEMU is told, on a machine that never runs, to answer a question about itself.
fn questions(question: &str) -> String {
    format!("{{\"execute\": \"qmp_capabilities\"}}\n{question}\n{{\"execute\": \"quit\"}}\n")
}

/// What this host's QEMU can do. It is asked once.
///
/// # Errors
/// There is none, or it does not answer as QEMU does.
pub fn abilities() -> Result<&'static Abilities> {
    static ABILITIES: OnceLock<Abilities> = OnceLock::new();
    if let Some(abilities) = ABILITIES.get() {
        return Ok(abilities);
    }
    let abilities = abilities_of(&program())?;
    Ok(ABILITIES.get_or_init(|| abilities))
}

fn abilities_of(program: &OsStr) -> Result<Abilities> {
    let answers = ask(program, &processor::question("max"))?;
    Abilities::parse(&answers)
        .with_context(|| format!("{} does not answer as QEMU 7.2 and later do:\n{answers}", program.display()))
}

/// All that a QEMU says to a question. What it complains of is said too.
fn ask(program: &OsStr, question: &str) -> Result<String> {
    let mut child = Command::new(program)
        .args([
            "-machine",
            "q35,accel=tcg",
            "-nodefaults",
            "-no-user-config",
            "-display",
            "none",
            "-S",
            "-qmp",
            "stdio",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| not_started(program, error))?;
    // One that ends before it has read all of it has something to say about that.
    let _ = child.stdin.take().expect("piped").write_all(questions(question).as_bytes());
    let output = child.wait_with_output().context("cannot read what QEMU answers")?;
    let [answers, complaints] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    Ok(format!("{answers}{complaints}"))
}

/// The emulator: `QEMU` in the environment, or the usual name on the path.
fn program() -> OsString {
    env::var_os("QEMU").filter(|value| !value.is_empty()).unwrap_or_else(|| "qemu-system-x86_64".into())
}

fn not_started(program: &OsStr, error: io::Error) -> anyhow::Error {
    let name = program.display();
    match error.kind() {
        ErrorKind::NotFound => anyhow::anyhow!(
            "{name} is not on this machine.\n\
             Run `make setup`, or install QEMU yourself (Debian, Ubuntu: the package `qemu-system-x86`; Fedora: `qemu-system-x86-core`; Arch: \
             `qemu-system-x86`),\n\
             or set QEMU to the program"
        ),
        _ => anyhow::Error::new(error).context(format!("cannot start {name}")),
    }
}

/// A QEMU without any window would show nothing and say nothing about it.
fn check_window(program: &OsStr) -> Result<()> {
    let output =
        Command::new(program).args(["-display", "help"]).output().map_err(|error| not_started(program, error))?;
    let kinds = String::from_utf8_lossy(&output.stdout);
    if !kinds.lines().any(|kind| matches!(kind.trim(), "gtk" | "sdl" | "cocoa")) {
        bail!("this QEMU cannot show windows.\nInstall its display (Debian, Ubuntu: the package `qemu-system-gui`)");
    }
    Ok(())
}

/// A value in one of QEMU's comma-separated options: a comma in it is written twice.
fn value(text: impl AsRef<OsStr>) -> String {
    text.as_ref().to_string_lossy().replace(',', ",,")
}

fn arguments(setup: &Setup<'_>, image: &Path, ovmf: Option<&Ovmf>) -> Vec<String> {
    let mut arguments: Vec<String> = setup.hardware.arguments(setup.machine);
    let mut add = |option: &str, value: String| arguments.extend([option.to_owned(), value]);
    if setup.machine.parallel {
        add("-accel", "tcg,thread=multi".into());
    } else {
        let sleep = if setup.interactive { "on" } else { "off" };
        add("-icount", format!("shift={CLOCK_SHIFT},sleep={sleep}"));
    }
    // What it shows is how far the machine is, which can be asked for.
    add("-rtc", "clock=vm".into());
    add("-vga", "std".into());
    if !setup.window {
        add("-display", "none".into());
    }
    if let Some(Ovmf { code, variables }) = ovmf {
        add("-drive", format!("if=pflash,format=raw,unit=0,readonly=on,file={}", value(code)));
        // The machine's own variables: its writes go to an overlay that QEMU throws away.
        add("-drive", format!("if=pflash,format=raw,unit=1,snapshot=on,file={}", value(variables)));
    }
    // Told what to boot from, firmware does not look at everything else first.
    add("-drive", format!("if=none,id=disk,format=raw,snapshot=on,file={}", value(image)));
    add("-device", "ide-hd,drive=disk,bootindex=0".into());
    add("-chardev", "stdio,id=console,signal=off".into());
    add("-serial", "chardev:console".into());
    add("-chardev", format!("socket,id=events,fd={EVENTS_FD}"));
    add("-serial", "chardev:events".into());
    add("-chardev", format!("socket,id=control,fd={QMP_FD}"));
    add("-mon", "chardev=control,mode=control".into());
    add("-device", format!("isa-debug-exit,iobase={:#x},iosize=4", exit::PORT));
    // A machine that would reset or end stands still instead, and can be asked why. Some versions take a guest's exit for
    // such an end, others end at once: with the same status, once they are told to quit.
    add("-action", "reboot=shutdown,shutdown=pause".into());
    add("-d", "cpu_reset".into());
    let clock = (!setup.machine.parallel).then(|| (input::CLOCK_SHIFT, CLOCK_SHIFT.to_string()));
    for (name, content) in setup.inputs.iter().chain(&clock) {
        add("-fw_cfg", format!("name={name},string={}", value(content)));
    }
    if setup.window {
        add("-fw_cfg", format!("name={},string=1", input::SCREEN));
    }
    if let Some(trace) = setup.trace {
        add("-fw_cfg", format!("name={},string=1", input::TRACE));
        add("-chardev", format!("file,id=trace,path={}", value(trace)));
        add("-device", format!("isa-debugcon,iobase={TRACE_PORT:#x},chardev=trace"));
    }
    if setup.gdb.is_some() {
        // The listening socket itself, so that the port is free whenever the machine is started.
        add("-chardev", format!("socket,id=gdb,fd={GDB_FD},server=on,wait=off"));
        add("-gdb", "chardev:gdb".into());
        arguments.push("-S".into());
    }
    arguments.extend(["-nodefaults", "-no-user-config"].map(Into::into));
    // The user's last: of two that contradict each other QEMU mostly takes the last one.
    arguments.extend_from_slice(setup.qemu_args);
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(setup: &Setup<'_>, ovmf: Option<&Ovmf>) -> String {
        arguments(setup, Path::new("/tmp/a,b.img"), ovmf).join(" ")
    }

    fn setup() -> Setup<'static> {
        let machine = Machine::new(Firmware::Bios, "6G".parse().unwrap(), 2);
        Setup::new(Path::new("kernel"), machine)
    }

    #[test]
    fn the_machine_is_the_one_that_was_asked_for() {
        let text = line(&setup(), None);
        for part in ["size=6144M,reserve=off", "-m 6144M", "-smp 2", "-display none", "iobase=0xf4"] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert!(!text.contains("pflash") && !text.contains("-S"));
        let ovmf = Ovmf { code: "/code".into(), variables: "/vars".into() };
        assert!(line(&setup(), Some(&ovmf)).contains("readonly=on,file=/code"));
        let window = line(&Setup { window: true, ..setup() }, None);
        assert!(window.contains(input::SCREEN) && !window.contains("-display"));
    }

    #[test]
    fn what_the_user_adds_comes_last() {
        let qemu_args = ["-d".to_owned(), "int".to_owned()];
        let text = line(&Setup { qemu_args: &qemu_args, ..setup() }, None);
        assert!(text.ends_with(" -d int"), "{text}");
    }

    #[test]
    fn a_machine_waits_for_gdb_only_where_it_is_told_to() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let text = line(&Setup { gdb: Some(&listener), ..setup() }, None);
        assert!(text.contains("fd=5,server=on,wait=off -gdb chardev:gdb -S "), "{text}");
        assert!(!line(&setup(), None).contains("gdb"));
    }

    #[test]
    fn a_trace_goes_where_it_is_wanted_and_nowhere_else() {
        let text = line(&Setup { trace: Some(Path::new("/tmp/a,b.trace")), ..setup() }, None);
        assert!(text.contains("path=/tmp/a,,b.trace -device isa-debugcon,iobase=0xe9,chardev=trace"), "{text}");
        assert!(text.contains(input::TRACE) && !line(&setup(), None).contains("debugcon"));
    }

    #[test]
    fn cpus_run_in_parallel_or_instructions_are_counted() {
        let counted = line(&setup(), None);
        assert!(counted.contains("-icount shift=7,sleep=off") && counted.contains(input::CLOCK_SHIFT), "{counted}");
        let machine = Machine { parallel: true, ..setup().machine };
        let parallel = line(&Setup { machine, ..setup() }, None);
        assert!(parallel.contains("thread=multi"), "{parallel}");
        assert!(!parallel.contains("-icount") && !parallel.contains(input::CLOCK_SHIFT), "{parallel}");
    }

    #[test]
    fn the_cpus_have_the_apic_that_was_asked_for() {
        let cpu = |apic| line(&Setup { machine: Machine { apic, ..setup().machine }, ..setup() }, None);
        assert!(cpu(Apic::Auto).contains("-cpu max,phys-bits=40 "));
        assert!(cpu(Apic::XApic).contains("-cpu max,phys-bits=40,-x2apic "));
        assert!(cpu(Apic::X2Apic).contains("-cpu max,phys-bits=40,+x2apic "));
    }

    #[test]
    fn idle_time_passes_at_once_unless_somebody_types() {
        let text = line(&Setup { interactive: true, ..setup() }, None);
        assert!(text.contains("-icount shift=7,sleep=on"), "{text}");
    }

    #[test]
    fn a_qemu_says_what_it_is_and_can_do() {
        let answers = |x2apic: &str| {
            format!(
                "{{\"QMP\": {{\"version\": {{\"qemu\": {{\"micro\": 22, \"minor\": 2, \"major\": 7}}}}}}}}\r\n\
                 {{\"return\": {{}}}}\r\n{{\"return\": {{\"model\": {{\"name\": \"max\", \"props\": {{{x2apic}}}}}}}}}\r\n"
            )
        };
        let old = Abilities::parse(&answers("\"x2apic\": false")).unwrap();
        assert_eq!(old, Abilities { version: "7.2.22".into(), x2apic: false });
        let machine = Machine { apic: Apic::X2Apic, ..setup().machine };
        assert!(old.check(machine).unwrap_err().to_string().contains("QEMU 7.2.22"));
        assert!(old.check(setup().machine).is_ok());
        assert!(Abilities { x2apic: true, ..old }.check(machine).is_ok());
        assert_eq!(Abilities::parse(&answers("")), None);
        assert_eq!(Abilities::parse("GNU nano"), None);
        let error = abilities_of(OsStr::new("true")).unwrap_err().to_string();
        assert!(error.contains("true does not answer as QEMU"), "{error}");
    }

    #[test]
    fn commas_in_values_do_not_end_them() {
        let inputs = vec![(input::COMMANDS, "alloc 3 DMA,HIGH; free 1".to_owned())];
        let text = line(&Setup { inputs, ..setup() }, None);
        assert!(text.contains("name=opt/bifolio/cmd,string=alloc 3 DMA,,HIGH; free 1"), "{text}");
        assert!(text.contains("file=/tmp/a,,b.img"));
    }
}
