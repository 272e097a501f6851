//! The tools, and how cargo runs tests under each.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

/// The machine that runs these programs: ThreadSanitizer comes for a named target, so that what cargo itself runs is built without.
const HOST: &str = "x86_64-unknown-linux-gnu";
/// Nothing here takes nearly as long.
const PATIENCE: Duration = Duration::from_secs(600);

/// What looks for mistakes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Tool {
    Loom,
    Shuttle,
    Threads,
}

/// What became of tests.
pub struct Outcome {
    /// Whether they passed; `None` if they came to no end.
    pub passed: Option<bool>,
    pub output: String,
}

impl Outcome {
    pub fn passed(&self) -> bool {
        self.passed == Some(true)
    }

    /// What the tests say of how much they did.
    pub fn explored(&self) -> impl Iterator<Item = &str> {
        self.output.lines().filter_map(|line| Some(line.split_once("explored: ")?.1))
    }
}

impl Tool {
    pub const ALL: [Self; 3] = [Self::Loom, Self::Shuttle, Self::Threads];

    pub fn name(self) -> &'static str {
        match self {
            Self::Loom => "loom",
            Self::Shuttle => "shuttle",
            Self::Threads => "threads",
        }
    }

    pub fn title(self) -> &'static str {
        match self {
            Self::Loom => "loom",
            Self::Shuttle => "shuttle",
            Self::Threads => "ThreadSanitizer",
        }
    }

    /// What it prints when it has found something, and when its tests fail for another reason does not: loom has no words
    /// of its own, and has the model panic.
    pub fn cry(self) -> &'static str {
        match self {
            Self::Loom => "panicked at",
            Self::Shuttle => "failing schedule:",
            Self::Threads => "WARNING: ThreadSanitizer: ",
        }
    }

    /// How often it may look for a mistake: what real threads happen to do is chance, and on a host that is busy they seldom
    /// meet.
    pub fn tries(self) -> usize {
        if self == Self::Threads { 10 } else { 1 }
    }

    /// What the compiler must be told.
    fn flags(self) -> Result<String> {
        Ok(match self {
            Self::Loom => "--cfg bifolio_loom".into(),
            Self::Shuttle => "--cfg bifolio_shuttle".into(),
            Self::Threads => sanitizer_flags()?,
        })
    }

    /// The tests that the tool has a part in, and arguments for whoever runs them.
    fn tests(self) -> &'static [&'static str] {
        match self {
            Self::Loom => &["loom"],
            Self::Shuttle | Self::Threads => &["frames", "heap"],
        }
    }

    /// `cargo test` for the workspace at `root`, or for one test in it, as `file::test`.
    fn cargo(self, root: &Path, target: &Path, only: Option<&str>) -> Result<Command> {
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
        cargo.current_dir(root).args(["test", "--quiet", "--package", "concurrency"]);
        if self == Self::Threads {
            cargo.args(["--target", HOST]);
        }
        cargo.arg("--target-dir").arg(target.join(self.name()));
        cargo.env("RUSTFLAGS", self.flags()?).env_remove("CARGO_ENCODED_RUSTFLAGS").env("RUST_BACKTRACE", "0");
        match only.and_then(|only| only.split_once("::")) {
            Some((file, test)) => cargo.args(["--test", file, test]),
            None => cargo.args(self.tests().iter().flat_map(|test| ["--test", test])),
        };
        Ok(cargo)
    }

    /// Builds the tests.
    ///
    /// # Errors
    /// If they do not compile.
    pub fn build(self, root: &Path, target: &Path, only: Option<&str>) -> Result<()> {
        let output = self.cargo(root, target, only)?.arg("--no-run").output().context("cargo")?;
        ensure!(output.status.success(), "the tests do not compile:\n{}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }

    /// Runs the tests, which have been built.
    pub fn run(self, root: &Path, target: &Path, only: Option<&str>) -> Result<Outcome> {
        let (log, known) = (target.join("log"), target.join("known"));
        // The library is built without the sanitizer, which so sees neither that the test harness sends a result before it is
        // received, nor that a thread that prints has a lock.
        fs::write(&known, "race:CompletedTest\nrace:Stdout\n")?;
        let file = fs::File::create(&log)?;
        let mut child = self
            .cargo(root, target, only)?
            .args(["--", "--nocapture"])
            .env("TSAN_OPTIONS", format!("suppressions={}", known.display()))
            .stdout(file.try_clone()?)
            .stderr(file)
            .stdin(Stdio::null())
            .process_group(0)
            .spawn()
            .context("cargo")?;
        let begin = Instant::now();
        let passed = loop {
            if let Some(status) = child.try_wait()? {
                break Some(status.success());
            }
            if begin.elapsed() > PATIENCE {
                // SAFETY: the call takes no pointers; the group is the child's, which has not been waited for.
                unsafe { libc::kill(-(child.id() as libc::pid_t), libc::SIGKILL) };
                child.wait()?;
                break None;
            }
            thread::sleep(Duration::from_millis(50));
        };
        Ok(Outcome { passed, output: String::from_utf8_lossy(&fs::read(&log)?).into_owned() })
    }
}

/// Flags for ThreadSanitizer: Rust's own, where it is installed with the compiler, or else GCC's.
fn sanitizer_flags() -> Result<String> {
    const COMMON: &str = "-Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer";
    let rustc = std::env::var_os("RUSTC").unwrap_or("rustc".into());
    let sysroot = Command::new(rustc).args(["--print", "sysroot"]).output().context("rustc")?.stdout;
    let libraries = Path::new(String::from_utf8_lossy(&sysroot).trim()).join("lib/rustlib").join(HOST).join("lib");
    let is_runtime = |name: &str| name.starts_with("librustc") && name.ends_with("_rt.tsan.a");
    let has_own = fs::read_dir(libraries).is_ok_and(|mut files| {
        files.any(|file| file.is_ok_and(|file| is_runtime(&file.file_name().to_string_lossy())))
    });
    if has_own {
        return Ok(COMMON.into());
    }
    let found = Command::new("cc").arg("-print-file-name=libtsan.so").output().context("cc")?.stdout;
    if !Path::new(String::from_utf8_lossy(&found).trim()).is_absolute() {
        bail!(
            "ThreadSanitizer's library is missing: it comes with rustup's compilers, and with GCC (Debian: libtsan2)"
        );
    }
    // It must be loaded before libc.
    Ok(format!(
        "--cfg gcc_tsan {COMMON} -Zexternal-clangrt -Zpre-link-arg=-Wl,--push-state,--no-as-needed,-ltsan,--pop-state"
    ))
}
