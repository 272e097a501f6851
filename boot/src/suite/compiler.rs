//! What the crate is built by and for, beside what the project itself is: older compilers, other processors. Not each machine has
//! them.

use std::env;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What a check is built by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Compiler {
    /// The project's, with the unstable features that the project allows itself.
    Project,
    /// The oldest that the crate is for, where there is one.
    Oldest,
    /// The project's, which builds core for processors that it did not come with, where it has all of its sources.
    WithCore,
    /// The project's, for programs of this machine with pointers of 32 bits, where those can be linked.
    ThirtyTwoBits,
}

/// The target of those programs.
pub(super) const THIRTY_TWO_BITS: &str = "i686-unknown-linux-gnu";

impl Compiler {
    /// What there is to be for this one, where it is not.
    pub(super) fn lacks(self) -> Option<String> {
        let has = |path: &str| sysroot().is_some_and(|sysroot| sysroot.join("lib/rustlib").join(path).exists());
        match self {
            Self::Project => None,
            Self::Oldest => find(oldest()).is_none().then(|| format!("Rust {}", oldest())),
            Self::WithCore => (!has("src/rust/library/Cargo.lock")).then(|| "all of Rust's sources".into()),
            Self::ThirtyTwoBits if !has(THIRTY_TWO_BITS) => Some(format!("Rust's library for {THIRTY_TWO_BITS}")),
            Self::ThirtyTwoBits => (!links_32_bits()).then(|| "a C library of 32 bits (Debian: gcc-multilib)".into()),
        }
    }
}

/// Where the compiler has its libraries.
fn sysroot() -> Option<PathBuf> {
    let output = Command::new("rustc").args(["--print", "sysroot"]).output().ok()?;
    Some(PathBuf::from(String::from_utf8(output.stdout).ok()?.trim()))
}

fn links_32_bits() -> bool {
    let mut cc = Command::new("cc");
    cc.args(["-m32", "-x", "c", "-", "-o", "/dev/null"]).stdin(Stdio::piped()).stderr(Stdio::null());
    let linked = cc.spawn().and_then(|mut cc| {
        cc.stdin.take().map_or(Ok(()), |mut source| source.write_all(b"int main(void) { return 0; }"))?;
        cc.wait()
    });
    linked.is_ok_and(|status| status.success())
}

/// The manifest of the crate, which names that one.
const MANIFEST: &str = include_str!("../../../kernel/mm/Cargo.toml");

/// The series of the oldest compiler that the crate is for, such as `1.85`.
pub(super) fn oldest() -> &'static str {
    let line = MANIFEST.lines().find_map(|line| line.strip_prefix("rust-version = "));
    line.expect("the crate says what it is built by").trim_matches('"')
}

/// The directory with cargo and rustc of a series: among rustup's toolchains, or the system's own.
pub(super) fn find(series: &str) -> Option<PathBuf> {
    let home = env::var_os("HOME").map(PathBuf::from);
    let rustup = env::var_os("RUSTUP_HOME").map(PathBuf::from).or_else(|| Some(home?.join(".rustup")));
    let toolchains = rustup.and_then(|rustup| rustup.join("toolchains").read_dir().ok());
    let mut found: Vec<PathBuf> =
        toolchains.into_iter().flatten().flatten().map(|entry| entry.path().join("bin")).collect();
    found.sort();
    found.push("/usr/bin".into());
    found.into_iter().find(|bin| is_of(&bin.join("rustc"), series) && is_of(&bin.join("cargo"), series))
}

/// Whether that is a program of Rust of this series. rustup's proxies, which would fetch one, are none.
fn is_of(program: &Path, series: &str) -> bool {
    let is_proxy = program.canonicalize().is_ok_and(|path| path.ends_with("rustup"));
    let output = (!is_proxy).then(|| Command::new(program).arg("--version").output().ok()).flatten();
    output.is_some_and(|output| is_version(&String::from_utf8_lossy(&output.stdout), series))
}

/// Whether a program says that it is of this series.
fn is_version(line: &str, series: &str) -> bool {
    let version = line.split(' ').nth(1).and_then(|version| version.strip_prefix(series));
    version.is_some_and(|rest| rest.starts_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_is_told_from_those_that_begin_alike() {
        assert!(is_version("rustc 1.85.1 (4eb161250 2025-03-15)", "1.85"));
        assert!(!is_version("rustc 1.96.0 (0123 2026-01-01)", "1.85") && !is_version("rustc 1.850.0", "1.85"));
        assert!(!is_version("", "1.85"));
    }

    #[test]
    fn the_oldest_compiler_is_a_series() {
        assert!(oldest().split('.').count() == 2 && oldest().split('.').all(|part| part.parse::<u32>().is_ok()));
    }
}
