//! Building the tests with counters, running them, and having LLVM's tools put the counts together.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// Counters for regions, and for both ways of each condition.
const FLAGS: &str = "-Cinstrument-coverage -Zcoverage-options=branch";
/// The packages whose tests count: the crate's own, and those of what does its recordings again.
const PACKAGES: &[&str] = &["-p", "bifolio", "-p", "replay"];

/// Builds and runs the tests of the project at `root`; what LLVM says of the files below `sources`, each as often as programs have it.
///
/// # Errors
/// If a test fails, or a tool is missing.
pub fn measure(root: &Path, sources: &Path) -> Result<Vec<Value>> {
    let target = root.join("target/coverage");
    let counts = target.join("counts");
    if counts.exists() {
        fs::remove_dir_all(&counts)?;
    }
    fs::create_dir_all(&counts)?;
    let cargo = |last: &[&str]| {
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
        cargo.current_dir(root).args(["test", "--tests", "--target-dir"]).arg(&target).args(PACKAGES).args(last);
        cargo.args(["--config", "profile.dev.package.bifolio.opt-level=1"]).env("CARGO_PROFILE_DEV_DEBUG", "false");
        cargo.env("RUSTFLAGS", FLAGS).env_remove("CARGO_ENCODED_RUSTFLAGS").env("CARGO_INCREMENTAL", "0");
        // CPUs that count in the same places are many times as slow as without counters: these lines need no million races.
        cargo.env("RACES", "8000");
        // One file for each program, into which all its processes count.
        cargo.env("LLVM_PROFILE_FILE", counts.join("%m.profraw"));
        cargo
    };
    let built = cargo(&["--no-run", "--message-format=json"]).stderr(Stdio::inherit()).output().context("cargo")?;
    ensure!(built.status.success(), "the tests do not build");
    let messages = String::from_utf8_lossy(&built.stdout);
    let programs: Vec<PathBuf> = messages.lines().filter_map(executable).collect();
    ensure!(!programs.is_empty(), "there are no tests");
    // What was counted while building is none of the tests'.
    fs::remove_dir_all(&counts)?;
    fs::create_dir_all(&counts)?;
    ensure!(cargo(&["--no-fail-fast"]).status().context("cargo")?.success(), "not all tests pass");
    let tools = Tools::find()?;
    export(&tools, &merged(&tools, &target, &counts)?, &programs, sources)
}

/// The test program that a message of cargo's tells of.
fn executable(message: &str) -> Option<PathBuf> {
    let message: Value = serde_json::from_str(message).ok()?;
    Some(message.get("executable")?.as_str()?.into())
}

/// Where LLVM's tools are: those of the compiler, which alone read what it writes.
struct Tools(PathBuf);

impl Tools {
    fn find() -> Result<Self> {
        let rustc = std::env::var_os("RUSTC").unwrap_or("rustc".into());
        let said = |arguments: &[&str]| -> Result<String> {
            let output = Command::new(&rustc).args(arguments).output().context("rustc")?.stdout;
            Ok(String::from_utf8_lossy(&output).into_owned())
        };
        let (sysroot, version) = (said(&["--print", "sysroot"])?, said(&["-vV"])?);
        let host = version.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc names no host")?;
        let directory = Path::new(sysroot.trim()).join("lib/rustlib").join(host).join("bin");
        for tool in ["llvm-profdata", "llvm-cov"] {
            ensure!(
                directory.join(tool).exists(),
                "not run: {tool} is missing. It comes with rustup's llvm-tools; of Debian's packages, set-up links it \
                 (rm -r target/tools/rust; make setup)"
            );
        }
        Ok(Self(directory))
    }

    fn run(&self, tool: &str, arguments: impl FnOnce(&mut Command)) -> Result<Vec<u8>> {
        let mut command = Command::new(self.0.join(tool));
        arguments(&mut command);
        let output = command.stderr(Stdio::inherit()).output().with_context(|| tool.to_owned())?;
        ensure!(output.status.success(), "{tool} failed");
        Ok(output.stdout)
    }
}

/// The counts of all programs in one file.
fn merged(tools: &Tools, target: &Path, counts: &Path) -> Result<PathBuf> {
    let merged = target.join("merged.profdata");
    tools.run("llvm-profdata", |command| {
        command.args(["merge", "--sparse", "--failure-mode=any"]).arg(counts).arg("--output").arg(&merged);
    })?;
    Ok(merged)
}

/// What LLVM says of each file below `sources`, for each program: of several at once it may tell of a function only that the first
/// of them, which has it and does not call it, never runs it.
fn export(tools: &Tools, counts: &Path, programs: &[PathBuf], sources: &Path) -> Result<Vec<Value>> {
    let mut all = Vec::new();
    for program in programs {
        let output = tools.run("llvm-cov", |command| {
            command.args(["export", "--format=text", "--skip-functions", "--skip-expansions"]);
            command.arg("--instr-profile").arg(counts).arg(program).arg("--sources").arg(sources);
        })?;
        let mut export: Value = serde_json::from_slice(&output).context("llvm-cov's output")?;
        let files = export.pointer_mut("/data/0/files").and_then(Value::as_array_mut);
        all.append(files.context("llvm-cov names no files")?);
    }
    Ok(all)
}
