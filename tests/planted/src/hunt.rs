//! The copy with all mistakes in it, and its tests with one of them in force.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::copy::{copy, write};
use crate::plants::{PLANTS, Plant};

/// What a copy consists of: the crate with its tests, and what says how they are built.
const PARTS: [&str; 3] = ["Cargo.lock", "kernel/mm", "tests/kit"];
/// Says to the copy which mistake is in force, by its number; none, if it is not set.
const VARIABLE: &str = "BIFOLIO_PLANTED";

/// What the copy asks whether a mistake is in force.
const SWITCH: &str = r#"
#[doc(hidden)]
#[allow(missing_docs)]
pub mod planted {
    extern crate std;
    static PLANTED: std::sync::OnceLock<usize> = std::sync::OnceLock::new();
    pub fn is(number: usize) -> bool {
        let planted = || std::env::var("BIFOLIO_PLANTED").ok().and_then(|number| number.parse().ok()).unwrap_or(0);
        *PLANTED.get_or_init(planted) == number
    }
}
"#;

/// Cheaper to build than the workspace's, and no less strict.
const PROFILE: &str = "[profile.dev]\nopt-level = 0\ndebug = false\nincremental = false\n";

/// What became of a mistake.
pub struct Outcome {
    /// Whether the test that is to find it failed.
    pub is_caught: bool,
    /// What the test said.
    pub output: String,
    /// How long that took.
    pub time: Duration,
}

/// A workspace with the copy, built.
pub struct Copy {
    path: PathBuf,
    /// The programs with tests, by name.
    programs: Vec<(String, PathBuf)>,
}

impl Copy {
    /// Makes and builds the copy of the project at `root`, below its `target`.
    ///
    /// # Errors
    /// If a mistake has no place in the sources, or the copy does not build.
    pub fn build(root: &Path) -> Result<Self> {
        let path = root.join("target/planted/copy");
        write(&path.join("Cargo.toml"), &manifest(&fs::read_to_string(root.join("Cargo.toml"))?)?)?;
        for part in PARTS {
            copy(root, &path, Path::new(part), &|file, text| Ok(Some(planted(file, text)?)))?;
        }
        let mut names: Vec<&str> = PLANTS.iter().map(|plant| plant.program()).collect();
        names.sort_unstable();
        names.dedup();
        let targets = names.iter().flat_map(|name| match *name {
            "lib" => vec!["--lib"],
            name => vec!["--test", name],
        });
        let cargo = Command::new("cargo")
            .args(["test", "-p", "bifolio", "--no-run", "--offline", "--message-format=json-render-diagnostics"])
            .args(targets)
            .env("CARGO_TARGET_DIR", root.join("target/planted/built"))
            .env("RUSTFLAGS", "-Awarnings")
            .current_dir(&path)
            .stderr(Stdio::inherit())
            .output()
            .context("cargo cannot be run")?;
        ensure!(cargo.status.success(), "the copy does not build");
        let output = String::from_utf8_lossy(&cargo.stdout);
        let programs = output.lines().filter_map(program).collect();
        Ok(Self { path, programs })
    }

    /// Runs tests of one program, with this mistake in force, if any.
    fn run(&self, program: &str, tests: &[&str], plant: Option<usize>) -> Result<(bool, String)> {
        let found = self.programs.iter().find(|(name, _)| name == program);
        let (_, executable) = found.with_context(|| format!("there is no program `{program}`"))?;
        let mut command = Command::new(executable);
        command.args(tests).arg("--exact").current_dir(self.path.join("kernel/mm")).env_remove(VARIABLE);
        plant.into_iter().for_each(|number| _ = command.env(VARIABLE, number.to_string()));
        let output = command.output().with_context(|| executable.display().to_string())?;
        let text = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
        Ok((output.status.success(), text))
    }

    /// Runs all tests that are to find something, with no mistake in force.
    ///
    /// # Errors
    /// If one fails, or is not there.
    pub fn try_sound(&self, plants: &[&Plant]) -> Result<()> {
        for (program, _) in &self.programs {
            let mut tests: Vec<&str> =
                plants.iter().filter(|plant| plant.program() == program).map(|plant| plant.test()).collect();
            tests.sort_unstable();
            tests.dedup();
            if tests.is_empty() {
                continue;
            }
            let (succeeded, output) = self.run(program, &tests, None)?;
            if !succeeded || !output.contains(&format!("ok. {} passed", tests.len())) {
                bail!("without a mistake, of {} tests of `{program}` not all pass:\n{output}", tests.len());
            }
        }
        Ok(())
    }

    /// Runs the test that is to find a mistake, with that in force.
    ///
    /// # Errors
    /// If it cannot be run.
    pub fn hunt(&self, plant: &Plant) -> Result<Outcome> {
        let begin = Instant::now();
        let (succeeded, output) = self.run(plant.program(), &[plant.test()], Some(plant.number()))?;
        // A test that dies of the mistake has found it as well as one that says so; one that did not begin has not.
        let is_caught = !succeeded && output.contains("running 1 test");
        Ok(Outcome { is_caught, output, time: begin.elapsed() })
    }
}

/// The workspace's manifest, for the copy.
fn manifest(original: &str) -> Result<String> {
    let (head, _) = original.split_once("# The kernel manages memory").context("the manifest has profiles")?;
    let lines = head.lines().map(|line| match line.split_once(" = ") {
        Some(("members", _)) => "members = [\"kernel/mm\", \"tests/kit\"]",
        Some(("default-members", _)) => "",
        _ => line,
    });
    Ok(lines.chain([PROFILE]).collect::<Vec<_>>().join("\n"))
}

/// A file of the copy: with a switch for each of its mistakes.
fn planted(file: &Path, text: String) -> Result<String> {
    let Ok(source) = file.strip_prefix(Plant::SOURCES) else { return Ok(text) };
    let text = if source == Path::new("lib.rs") { text + SWITCH } else { text };
    PLANTS.iter().filter(|plant| source == Path::new(plant.file)).try_fold(text, |text, plant| plant.switched(&text))
}

/// The program that a line of cargo's tells of.
fn program(line: &str) -> Option<(String, PathBuf)> {
    let behind = |key: &str| Some(line.rsplit_once(key)?.1.split_once('"')?.0.to_owned());
    let executable = PathBuf::from(behind("\"executable\":\"")?);
    let name = executable.file_name()?.to_string_lossy().rsplit_once('-')?.0.to_owned();
    Some((if name == "bifolio" { "lib".to_owned() } else { name }, executable))
}
