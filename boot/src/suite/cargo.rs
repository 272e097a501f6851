//! Cargo as a child: what it wrote, and what it built.

use super::compiler::{self, Compiler};
use crate::harness::Interrupted;
use crate::{options, terminal};
use anyhow::{Context, Result};
use rustix::process::{self, Pid, Signal};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Read, Seek};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;
use std::{env, io, thread};

/// Runs cargo to its end, or to a signal; whether it succeeded, and all it wrote.
pub(super) fn run(arguments: &[&str]) -> Result<(bool, String)> {
    run_to_end(command(arguments))
}

/// Runs cargo with this compiler, which is there, as [`run`].
pub(super) fn run_with(compiler: Compiler, arguments: &[&str]) -> Result<(bool, String)> {
    let command = if compiler == Compiler::Oldest {
        let bin = compiler::find(compiler::oldest()).context("the oldest compiler has gone")?;
        let mut command = command_of(bin.join("cargo").as_os_str(), arguments);
        // Whatever `.cargo/config.toml` says of the second.
        command.env("RUSTC", bin.join("rustc")).env("RUSTC_BOOTSTRAP", "-1");
        command
    } else {
        command(arguments)
    };
    run_to_end(command)
}

fn run_to_end(mut command: Command) -> Result<(bool, String)> {
    let mut output = tempfile::tempfile().context("cannot keep cargo's output")?;
    command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output.try_clone()?);
    let status = wait(&mut command)?;
    Ok((status.success(), read_all(&mut output)?))
}

/// Runs cargo on this terminal; whether it succeeded.
pub(super) fn show(arguments: &[&str]) -> Result<bool> {
    Ok(wait(&mut command(arguments))?.success())
}

fn command(arguments: &[&str]) -> Command {
    command_of(&env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")), arguments)
}

fn command_of(cargo: &OsStr, arguments: &[&str]) -> Command {
    let mut command = Command::new(cargo);
    command.args(arguments).env("RUSTDOCFLAGS", "-D warnings");
    // The machine that make was asked for is no test's.
    let variables = env::vars_os().map(|(name, _)| name);
    variables.filter(|name| name.to_string_lossy().starts_with(options::PREFIX)).for_each(|name| {
        command.env_remove(name);
    });
    command
}

/// Waits for a command to end, or for a signal, which ends it with all that it has started: cargo's compilers and tests, and
/// the machines of those. A signal may be for this process alone, so they are a process group, which hears of none by itself.
fn wait(command: &mut Command) -> Result<ExitStatus> {
    let mut child = command.process_group(0).spawn().with_context(|| {
        format!("cannot start {}. `make setup` installs the toolchain", command.get_program().display())
    })?;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if let Some(signal) = terminal::signals()?.received() {
            kill(&mut child)?;
            return Err(Interrupted(signal).into());
        }
        thread::sleep(Duration::from_millis(50));
    }
}

/// Kills a child that is the first of a process group, and the others of it.
fn kill(child: &mut Child) -> Result<()> {
    process::kill_process_group(Pid::from_child(child), Signal::KILL)?;
    child.wait()?;
    Ok(())
}

fn read_all(file: &mut File) -> io::Result<String> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Takes the paths of programs of this kind (`bin`, `test`) out of the JSON messages that cargo writes with
/// `--message-format=json`.
#[must_use]
pub fn executables(messages: &str, kind: &str) -> Vec<PathBuf> {
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let programs = messages.filter(|message| message["target"]["kind"][0] == kind);
    programs.filter_map(|message| message["executable"].as_str().map(PathBuf::from)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader};

    #[test]
    fn what_a_child_has_started_ends_with_it() {
        let mut shell = Command::new("sh");
        shell.args(["-c", "(sleep 5; echo survived) & echo started; wait"]).stdout(Stdio::piped()).process_group(0);
        let mut child = shell.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        assert_eq!(lines.next().as_deref(), Some("started"));
        kill(&mut child).unwrap();
        // The pipe has an end when no process is left that could write to it.
        assert_eq!(lines.next(), None);
    }

    #[test]
    fn programs_are_found_among_cargos_messages() {
        let messages = r#"   Compiling x
{"reason":"compiler-artifact","target":{"kind":["lib"],"name":"booted"},"executable":null}
{"reason":"compiler-artifact","target":{"kind":["test"],"name":"frames"},"executable":"/t/deps/frames-01ab"}
{"reason":"compiler-artifact","target":{"kind":["bin"],"name":"kernel"},"executable":"/t/kernel"}
{"reason":"build-finished","success":true}"#;
        assert_eq!(executables(messages, "test"), [PathBuf::from("/t/deps/frames-01ab")]);
        assert_eq!(executables(messages, "bin"), [PathBuf::from("/t/kernel")]);
    }
}
