//! The copies with all mistakes in them, and their tests with one of them in force.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};
use std::{fs, io};

use anyhow::{Context, Result, bail, ensure};

use crate::copy::{copy, write};
use crate::plants::{Home, Plant, plants_of};
use crate::switch::{self, VARIABLE};

/// What differs between the copies.
struct Build {
    /// Its directory, below the project's `target/planted`.
    name: &'static str,
    /// The packages of its workspace.
    members: &'static [&'static str],
    /// The package that has the tests, where the name of a test's program does not say another.
    package: &'static str,
    /// What else cargo is told of how they are built.
    target: &'static [&'static str],
    /// The flags of the compiler, as cargo's configuration calls them: what is planted may leave something unused.
    flags: &'static str,
    /// Cheaper to build than the workspace's, and no less strict.
    profile: &'static str,
    /// What it asks whether a mistake is in force.
    switch: &'static str,
}

const OF_THE_CRATE: Build = Build {
    name: "copy",
    members: &["kernel/mm", "kernel/trace", "tests/kit", "tests/model", "tests/bench/workloads"],
    package: "bifolio",
    target: &[],
    flags: "build.rustflags",
    profile: "[profile.dev]\nopt-level = 0\ndebug = false\nincremental = false\n",
    switch: switch::OF_THE_CRATE,
};

/// As fast as the kernel is otherwise, since an emulator runs it.
const OF_THE_KERNEL: Build = Build {
    name: "kernel",
    members: &[
        "kernel",
        "kernel/mm",
        "kernel/line",
        "kernel/trace",
        "kernel/stress",
        "boot/protocol",
        "tests/kit",
        "tests/framework",
        "tests/booted",
    ],
    package: "booted",
    target: &["--target", "x86_64-unknown-none"],
    flags: "target.x86_64-unknown-none.rustflags",
    profile: "[profile.dev]\nopt-level = 1\ndebug = false\nincremental = false\n[profile.dev.package.bifolio]\nopt-level = 3\n",
    switch: switch::OF_THE_KERNEL,
};

impl Build {
    const fn of(home: Home) -> &'static Self {
        match home {
            Home::Crate => &OF_THE_CRATE,
            Home::Kernel => &OF_THE_KERNEL,
        }
    }

    /// The package that a program is of, and its name there.
    fn split<'p>(&self, program: &'p str) -> (&'p str, &'p str) {
        program.split_once('/').unwrap_or((self.package, program))
    }
}

/// What became of a mistake.
pub struct Outcome {
    /// Whether the test that is to find it failed.
    pub is_caught: bool,
    /// What the test said.
    pub output: String,
    /// How long that took.
    pub time: Duration,
}

/// A workspace with a copy, built.
pub struct Copy {
    home: Home,
    /// The project's directory, and the copy's.
    root: PathBuf,
    path: PathBuf,
    /// The programs with tests, by name.
    programs: Vec<(String, PathBuf)>,
}

impl Copy {
    /// Makes a copy of what is there in the project at `root`, below its `target`, with all mistakes, and builds the tests that are to
    /// find these.
    ///
    /// # Errors
    /// If a mistake has no place in the sources, or the copy does not build.
    pub fn build(root: &Path, home: Home, plants: &[&Plant]) -> Result<Self> {
        let build = Build::of(home);
        let path = root.join("target/planted").join(build.name);
        write(&path.join("Cargo.toml"), &manifest(&fs::read_to_string(root.join("Cargo.toml"))?, build)?)?;
        for part in ["Cargo.lock"].iter().chain(build.members) {
            copy(root, &path, Path::new(part), &|file, text| Ok(Some(switched(home, file, text)?)))?;
        }
        let mut copy = Self { home, root: root.into(), path, programs: Vec::new() };
        let programs: BTreeSet<(&'static str, &'static str)> =
            plants.iter().map(|plant| build.split(plant.program())).collect();
        let packages: BTreeSet<&str> = programs.iter().map(|program| program.0).collect();
        for package in packages {
            copy.build_tests(package, programs.iter().filter(|program| program.0 == package).map(|program| program.1))?;
        }
        Ok(copy)
    }

    /// Builds programs of a package.
    fn build_tests(&mut self, package: &str, programs: impl Iterator<Item = &'static str>) -> Result<()> {
        let build = Build::of(self.home);
        let targets = programs.flat_map(|name| match name {
            "lib" => vec!["--lib"],
            name => vec!["--test", name],
        });
        let cargo = Command::new("cargo")
            .args(["test", "--no-run", "--offline", "--message-format=json-render-diagnostics", "--config"])
            .arg(format!("{}=['-Awarnings']", build.flags))
            .args(["-p", package])
            .args(build.target)
            .args(targets)
            .env("CARGO_TARGET_DIR", self.root.join("target/planted/built"))
            .current_dir(&self.path)
            .stderr(Stdio::inherit())
            .output()
            .context("cargo cannot be run")?;
        ensure!(cargo.status.success(), "the copy does not build");
        let output = String::from_utf8_lossy(&cargo.stdout);
        let full = |name: String| if package == build.package { name } else { format!("{package}/{name}") };
        self.programs.extend(output.lines().filter_map(program).map(|(name, path)| (full(name), path)));
        Ok(())
    }

    /// Runs tests of one program, with this mistake in force, if any.
    fn run(&self, program: &str, tests: &[&str], plant: Option<usize>) -> Result<(bool, String)> {
        let found = self.programs.iter().find(|(name, _)| name == program);
        let (_, executable) = found.with_context(|| format!("there is no program `{program}`"))?;
        let output = match self.home {
            Home::Crate => self.run_here(executable, tests, plant),
            Home::Kernel => self.boot(executable, tests, plant),
        };
        let Output { status, stdout, stderr } = output.with_context(|| executable.display().to_string())?;
        let text = [stdout, stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
        Ok((status.success(), text))
    }

    fn run_here(&self, executable: &Path, tests: &[&str], plant: Option<usize>) -> io::Result<Output> {
        let mut command = Command::new(executable);
        command.args(tests).arg("--exact").current_dir(self.path.join("kernel/mm")).env_remove(VARIABLE);
        plant.into_iter().for_each(|number| _ = command.env(VARIABLE, number.to_string()));
        command.output()
    }

    /// Has the host program boot a kernel on a machine on which CPUs meet.
    fn boot(&self, kernel: &Path, tests: &[&str], plant: Option<usize>) -> io::Result<Output> {
        let mut command = Command::new("cargo");
        command.args(["run", "--quiet", "--package", "boot", "--", "runner"]).arg(kernel);
        command.args(["--mem", "512M", "--smp", "4", "--exact"]).args(tests).current_dir(&self.root);
        plant.into_iter().for_each(|number| _ = command.arg("--qemu-args").arg(switch::for_qemu(number)));
        command.output()
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

/// The workspace's manifest, for a copy.
fn manifest(original: &str, build: &Build) -> Result<String> {
    let (head, _) = original.split_once("# The kernel manages memory").context("the manifest has profiles")?;
    let lines = head.lines().map(|line| match line.split_once(" = ") {
        Some(("members", _)) => format!("members = {:?}", build.members),
        Some(("default-members", _)) => String::new(),
        _ => line.to_owned(),
    });
    Ok(lines.chain([build.profile.to_owned()]).collect::<Vec<_>>().join("\n"))
}

/// A file of a copy: with a switch for each of its mistakes.
fn switched(home: Home, file: &Path, text: String) -> Result<String> {
    let Ok(source) = file.strip_prefix(home.sources()) else { return Ok(text) };
    let text = if source == Path::new("lib.rs") { text + Build::of(home).switch } else { text };
    plants_of(home).filter(|plant| source == Path::new(plant.file)).try_fold(text, |text, plant| plant.switched(&text))
}

/// The program that a line of cargo's tells of.
fn program(line: &str) -> Option<(String, PathBuf)> {
    let behind = |key: &str| Some(line.rsplit_once(key)?.1.split_once('"')?.0.to_owned());
    let executable = PathBuf::from(behind("\"executable\":\"")?);
    let name = executable.file_name()?.to_string_lossy().rsplit_once('-')?.0.to_owned();
    Some((if name == "bifolio" { "lib".to_owned() } else { name }, executable))
}
