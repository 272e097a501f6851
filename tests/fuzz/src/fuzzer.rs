//! The program with libFuzzer and counters in it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// Counters of edges, and comparisons of which libFuzzer learns what is looked for: what `cargo fuzz` has the compiler told, but for
/// AddressSanitizer, which is not there with every compiler, and takes several times as long. It is `make sanitize` that replays the corpora
/// with it.
const FLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
     -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
     -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1";

/// That program, built.
pub struct Fuzzer {
    program: PathBuf,
    /// Where campaigns are.
    pub directory: PathBuf,
}

impl Fuzzer {
    /// Builds it; or what is missing for that.
    ///
    /// # Errors
    /// If it does not compile.
    pub fn build() -> Result<Result<Self, &'static str>> {
        if !Command::new("c++").arg("--version").output().is_ok_and(|output| output.status.success()) {
            return Ok(Err("libFuzzer is built by a C++ compiler, and there is no `c++`"));
        }
        let root =
            Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).context("the crate is where it was built")?;
        let directory = root.join("target/fuzz");
        let host = host()?;
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
        cargo.current_dir(root).args(["build", "--quiet", "--package", "fuzz", "--bin", "fuzzer"]);
        // With a target named, what cargo itself runs is built without counters.
        cargo.args(["--features", "libfuzzer", "--profile", "fuzzed", "--target", &host]);
        cargo.arg("--target-dir").arg(directory.join("build"));
        cargo.env("RUSTFLAGS", FLAGS).env_remove("CARGO_ENCODED_RUSTFLAGS");
        ensure!(cargo.status().context("cargo")?.success(), "the fuzzer does not build");
        let program = directory.join("build").join(host).join("fuzzed/fuzzer");
        Ok(Ok(Self { program, directory }))
    }

    /// That program, at a target.
    pub fn at(&self, target: &str) -> Command {
        let mut command = Command::new(&self.program);
        command.env("TARGET", target).env("RUST_BACKTRACE", "0");
        command
    }
}

/// What the compiler compiles for.
fn host() -> Result<String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or("rustc".into());
    let output = Command::new(rustc).arg("-vV").output().context("rustc")?.stdout;
    let said = String::from_utf8_lossy(&output);
    Ok(said.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc names no host")?.to_owned())
}
