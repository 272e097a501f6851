//! A learner's file, compiled for the host and for the kernel.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::checkout;

/// Seconds of the processor's time that building may take: a file may have the compiler compute for ever.
const SECONDS: u32 = 600;
/// KiB of address space that it may take: or grow for ever.
const MOST_KIB: u32 = 8 << 20;

/// A file to be built.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// Which file.
    pub file: &'a Path,
    /// For which lab.
    pub lab: u8,
    /// What decides the operations that it is tried with.
    pub seed: u64,
}

/// What building comes to.
#[derive(Clone, Debug)]
pub enum Built {
    /// A program.
    Program(PathBuf),
    /// The compiler's complaints about the file.
    Refused(String),
}

impl Source<'_> {
    /// What tries it on the host.
    ///
    /// # Errors
    /// What is around the file cannot be built.
    pub fn for_host(&self) -> Result<Built> {
        // Named together with the program that runs now, so that what they share is built with the same features, once.
        self.build(&["build", "-p", "lab", "-p", "lab-host", "--bin", "lab-host"], "bin")
    }

    /// The kernel that tries it.
    ///
    /// # Errors
    /// Cargo could not run, or what is around the learner's file cannot be built.
    pub fn for_kernel(&self) -> Result<Built> {
        let arguments =
            ["test", "-p", "lab-kernel", "--test", "learner", "--target", "x86_64-unknown-none", "--no-run"];
        self.build(&arguments, "test")
    }

    /// The kernel whose shell works on it.
    ///
    /// # Errors
    /// Cargo could not run, or what is around the learner's file cannot be built.
    pub fn for_shell(&self) -> Result<Built> {
        let arguments = ["build", "-p", "lab-kernel", "--bin", "lab-shell", "--target", "x86_64-unknown-none"];
        self.build(&arguments, "bin")
    }

    fn build(&self, arguments: &[&str], kind: &str) -> Result<Built> {
        let cargo = env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
        let file = self.file.canonicalize().with_context(|| format!("cannot read {}", self.file.display()))?;
        let limited = format!("ulimit -t {SECONDS} && ulimit -v {MOST_KIB} && exec \"$@\"");
        let mut command = Command::new("sh");
        command.args(["-c", &limited, "sh"]).arg(cargo).args(arguments).args(["--message-format=json", "--offline"]);
        command.env("LAB_FILE", file).env("LAB_NUMBER", self.lab.to_string()).env("LAB_SEED", self.seed.to_string());
        let output = command.current_dir(checkout()).stdin(Stdio::null()).output().context("cannot start cargo")?;
        let text = String::from_utf8_lossy(&output.stdout);
        if output.status.success() {
            let program = boot::suite::executables(&text, kind).pop();
            return program.map(Built::Program).context("cargo built no program");
        }
        let said = String::from_utf8_lossy(&output.stderr);
        match complaints(&text) {
            complaints if !complaints.is_empty() => Ok(Built::Refused(complaints)),
            _ if has_given_up(&said) => Ok(Built::Refused(GIVEN_UP.into())),
            _ => bail!("what is around the file does not build:\n{said}"),
        }
    }
}

/// What the compiler says against a learner's file, among cargo's messages.
fn complaints(messages: &str) -> String {
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let of_piece = messages.filter(|message| {
        let package = message["package_id"].as_str().unwrap_or_default();
        message["reason"] == "compiler-message"
            && message["message"]["level"] == "error"
            && package.contains(PIECE_FOLDER)
    });
    of_piece.filter_map(|message| message["message"]["rendered"].as_str().map(str::to_owned)).collect()
}

/// What is said of a file that ends the compiler.
const GIVEN_UP: &str = "the compiler ended before it was done with this: it ran out of time, memory or stack";

/// Whether the compiler ended by a signal, by what cargo says, while it was at a learner's file.
fn has_given_up(said: &str) -> bool {
    said.lines().any(|line| line.contains("could not compile `lab-piece`")) && said.contains("(signal: ")
}

/// What cargo's name for the package ends with, but for its version: the folder.
const PIECE_FOLDER: &str = "tests/labs/piece#";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_errors_in_the_learners_file_are_the_learners() {
        let message = |package: &str, level: &str, text: &str| {
            format!(
                r#"{{"reason":"compiler-message","package_id":"path+file:///x/{package}","message":{{"level":"{level}","rendered":"{text}"}}}}"#
            )
        };
        let of = |package: &str| message(package, "error", "mismatched types");
        assert_eq!(complaints(&of("tests/labs/piece#lab-piece@0.1.0")), "mismatched types");
        assert_eq!(complaints(&of("tests/labs/host#lab-host@0.1.0")), "");
        assert_eq!(complaints(&message("tests/labs/piece#lab-piece@0.1.0", "warning", "unused")), "");
    }

    #[test]
    fn a_compiler_that_ends_at_a_learners_file_is_the_learners() {
        let said = |package: &str, how: &str| {
            format!(
                "error: could not compile `{package}` (lib)\n\nCaused by:\n  process didn't exit successfully: `rustc` ({how})\n"
            )
        };
        assert!(has_given_up(&said("lab-piece", "signal: 9, SIGKILL: kill")));
        assert!(!has_given_up(&said("lab-piece", "exit status: 1")));
        assert!(!has_given_up(&said("lab-host", "signal: 9, SIGKILL: kill")));
    }
}
