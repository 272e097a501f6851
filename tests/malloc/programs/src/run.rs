//! One program, once, with one allocator.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::mem;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::program::{Program, Scale};

/// How long anything may take: far longer than it does.
const TIME_LIMIT: Duration = Duration::from_secs(600);

/// What there is to preload instead of the C library's own allocator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allocator {
    /// What results call it.
    pub name: &'static str,
    /// The library; `None` for the C library's own.
    pub library: Option<PathBuf>,
}

impl Allocator {
    /// The C library's own.
    pub const GLIBC: Self = Self { name: "glibc", library: None };
}

/// What a program left, all of which must be the same with each allocator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// The exit status, or the signal.
    pub status: String,
    /// What it wrote.
    pub text: Vec<u8>,
    /// The files in the folder `out`.
    pub files: BTreeMap<String, Vec<u8>>,
}

/// How a program ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What it left.
    pub output: Output,
    /// What it said on standard error.
    pub errors: String,
    /// Processor time, of all its threads and children, in seconds.
    pub time: f64,
    /// The most memory that one of its processes had, in MiB; 0 if nobody measured.
    pub peak: f64,
}

/// Where a command is, if it is on `PATH`.
fn find(command: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?).map(|folder| folder.join(command)).find(|path| path.is_file())
}

/// The first Python that has its tests; any, if none has.
fn python_with_tests() -> &'static Path {
    static PYTHON: OnceLock<PathBuf> = OnceLock::new();
    PYTHON.get_or_init(|| {
        let folders = env::var_os("PATH").unwrap_or_default();
        let candidates = env::split_paths(&folders).map(|folder| folder.join("python3")).filter(|path| path.is_file());
        let with_tests = candidates.filter_map(|python| {
            let program = "import sys, test.test_json; print(sys.executable)";
            let output = Command::new(python).args(["-c", program]).output().ok()?;
            output.status.success().then(|| PathBuf::from(String::from_utf8_lossy(&output.stdout).trim_end()))
        });
        with_tests.into_iter().next().unwrap_or_else(|| PathBuf::from("python3"))
    })
}

/// Why a program cannot be run here; `None` if it can.
#[must_use]
pub fn obstacle(program: &Program) -> Option<String> {
    if let Some(missing) = program.needs.iter().find(|command| find(command).is_none()) {
        return Some(format!("{missing} is not installed"));
    }
    let (probe, meaning) = program.probe?;
    let mut command = Command::new("sh");
    command.args(["-c", probe]).env("PYTHON_WITH_TESTS", python_with_tests());
    let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
    (!status.is_ok_and(|status| status.success())).then(|| meaning.to_owned())
}

/// Runs a program in a new folder `folder`, which is gone afterwards. Time and memory are measured if there is a program
/// to do so, whose `main` calls [`meter`].
///
/// # Errors
/// It could not be started, or was killed because it took too long. That it fails is an outcome.
pub fn run(
    program: &Program,
    scale: Scale,
    allocator: &Allocator,
    folder: &Path,
    meter: Option<&Path>,
) -> Result<Outcome> {
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    program.prepare(folder, scale).with_context(|| format!("cannot make the input of {}", program.name))?;
    let (text, errors) = (folder.join("text"), folder.join("errors"));
    let usage = folder.join("usage");
    let mut command = match meter {
        Some(meter) => {
            let mut command = Command::new(meter);
            command.arg(MEASURE).arg(&usage).arg(allocator.library.as_deref().unwrap_or(Path::new("")));
            command
        }
        None => preloading(allocator.library.as_deref()),
    };
    command.args(["-euc", program.script]).current_dir(folder).stdin(Stdio::null());
    command.stdout(File::create(&text)?).stderr(File::create(&errors)?);
    command.env("COUNT", program.count(scale).to_string()).env("LC_ALL", "C.UTF-8").env("PYTHONHASHSEED", "0");
    command.env("PYTHON_WITH_TESTS", python_with_tests()).env_remove("MAKEFLAGS");
    let child = command.spawn().context("cannot start sh")?;
    let status = wait(child).with_context(|| format!("{} with {}", program.name, allocator.name))?;
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder.join("out"))? {
        let entry = entry?;
        files.insert(entry.file_name().to_string_lossy().into_owned(), fs::read(entry.path())?);
    }
    let status = match status.signal() {
        Some(signal) => format!("signal {signal}"),
        None => format!("status {}", status.code().unwrap_or(-1)),
    };
    let usage = fs::read_to_string(usage).unwrap_or_default();
    let mut usage = usage.split(' ').filter_map(|number| number.parse().ok());
    let outcome = Outcome {
        output: Output { status, text: fs::read(&text)?, files },
        errors: String::from_utf8_lossy(&fs::read(&errors)?).into_owned(),
        time: usage.next().unwrap_or(0.0),
        peak: usage.next().unwrap_or(0.0),
    };
    fs::remove_dir_all(folder)?;
    Ok(outcome)
}

/// A shell with a library preloaded.
fn preloading(library: Option<&Path>) -> Command {
    let mut command = Command::new("sh");
    command.env_remove("LD_PRELOAD");
    if let Some(library) = library {
        command.env("LD_PRELOAD", library);
    }
    command
}

/// Waits for a child, which gets killed if it takes too long.
fn wait(mut child: Child) -> Result<ExitStatus> {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if start.elapsed() > TIME_LIMIT {
            child.kill()?;
            child.wait()?;
            bail!("did not end within {} s", TIME_LIMIT.as_secs());
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// What makes this program a [`meter`], in place of other arguments.
pub const MEASURE: &str = "measure";

/// Runs a shell with these arguments and writes down what it and its children used; its exit status.
///
/// To the system a process has had at least the memory of the one that it was started by. So that must be a small one: not
/// the one that compares and sums up, but itself anew, before it has done anything.
///
/// # Errors
/// The shell could not be started, or the file not be written.
pub fn meter(mut arguments: impl Iterator<Item = OsString>) -> Result<ExitStatus> {
    let file = arguments.next().context("there is no file for what is measured")?;
    let library = arguments.next().filter(|library| !library.is_empty()).map(PathBuf::from);
    let child = preloading(library.as_deref()).args(arguments).spawn().context("cannot start sh")?;
    let mut status = 0;
    // SAFETY: all zeros is a value of it, and the pointers are those of what is to be written.
    let (waited, usage) = unsafe {
        let mut usage: libc::rusage = mem::zeroed();
        (libc::wait4(child.id() as libc::pid_t, &raw mut status, 0, &raw mut usage), usage)
    };
    ensure!(waited > 0, "cannot wait for the shell: {}", io::Error::last_os_error());
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    let time = seconds(usage.ru_utime) + seconds(usage.ru_stime);
    fs::write(file, format!("{time} {}", usage.ru_maxrss as f64 / 1024.0))?;
    Ok(ExitStatus::from_raw(status))
}

/// In what two outputs differ; `None` if in nothing.
#[must_use]
pub fn difference(one: &Output, other: &Output) -> Option<String> {
    if one.status != other.status {
        return Some(format!("{} instead of {}", other.status, one.status));
    }
    if one.text != other.text {
        let (one, other) = (String::from_utf8_lossy(&one.text), String::from_utf8_lossy(&other.text));
        let lines = one.lines().map(Some).chain([None]).zip(other.lines().map(Some).chain([None]));
        let (number, (one, other)) = lines.enumerate().find(|(_, (one, other))| one != other)?;
        return Some(format!("line {} of its output is {other:?} instead of {one:?}", number + 1));
    }
    let names = one.files.keys().chain(other.files.keys());
    let name = names.into_iter().find(|name| one.files.get(*name) != other.files.get(*name))?;
    Some(format!("the file {name} that it wrote differs"))
}
