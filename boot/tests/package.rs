//! What the registry would be given: the crate by itself, which is all that a user of it has.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// What comes with the crate's code.
const BESIDE: [&str; 4] = ["README.md", "CHANGELOG.md", "LICENSE-APACHE", "LICENSE-MIT"];

/// Runs cargo, without the unstable features that the project allows itself.
fn cargo(arguments: &[&str]) {
    let mut cargo = Command::new(env!("CARGO"));
    // Whatever `.cargo/config.toml` says.
    cargo.args(arguments).current_dir(ROOT).env("RUSTC_BOOTSTRAP", "-1").env("RUSTFLAGS", "-D warnings");
    let output = cargo.output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo {}\n{text}", arguments.join(" "));
}

/// Packs the crate as for the registry, which has it built from that, and unpacks it.
fn publish() -> PathBuf {
    cargo(&["publish", "--dry-run", "-p", "bifolio", "--allow-dirty", "--target-dir", "target/registry"]);
    let package = Path::new(ROOT).join("target/registry/package");
    let is_crate = |path: &PathBuf| path.is_dir() && path.join("Cargo.toml.orig").exists();
    let mut found: Vec<PathBuf> =
        package.read_dir().unwrap().map(|entry| entry.unwrap().path()).filter(is_crate).collect();
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

/// What its documents show is in it; its examples, in the documentation too, run with nothing but it and what the registry has.
#[test]
fn the_package_stands_by_itself() {
    let package = publish();
    for name in BESIDE {
        let text = fs::read_to_string(package.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        let links = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        for link in links.filter(|link| !link.contains("://") && !link.starts_with('#')) {
            assert!(package.join(link).exists(), "{name}: a link leads out of the package, to {link}");
        }
    }
    let manifest = package.join("Cargo.toml");
    let within = ["--manifest-path", manifest.to_str().unwrap(), "--target-dir", "target/registry/trial", "--quiet"];
    cargo(&[&["test", "--doc", "--features", "allocator-api2"], &within[..]].concat());
    let examples = package.join("examples").read_dir().unwrap().map(|entry| entry.unwrap().path());
    let examples: Vec<String> = examples.map(|path| path.file_stem().unwrap().to_string_lossy().into_owned()).collect();
    assert!(!examples.is_empty(), "there are examples");
    for example in examples {
        cargo(&[&["run", "--example", &example], &within[..]].concat());
    }
}
