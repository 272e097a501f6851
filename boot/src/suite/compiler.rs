//! Compilers beside the project's own: what the crate owes to those who have an older one.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What a check is built by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Compiler {
    /// The project's, with the unstable features that the project allows itself.
    Project,
    /// The same without them, as anybody else's.
    Stable,
    /// The oldest that the crate is for, where there is one.
    Oldest,
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
