//! The libraries to preload: ours, which cargo builds, and mimalloc, built from the source of its package.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::run::Allocator;

/// The workspace.
fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../.."))
}

fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root()).env_remove("LD_PRELOAD");
    command
}

/// Runs a command; what it said is the error if it fails.
fn output(command: &mut Command) -> Result<Vec<u8>> {
    let output = command.output().with_context(|| format!("cannot start {:?}", command.get_program()))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{:?} failed, with\n{}", command.get_program(), said.trim_end());
    Ok(output.stdout)
}

/// What cargo knows of the workspace.
fn metadata(more: &[&str]) -> Result<serde_json::Value> {
    let text = output(cargo().args(["metadata", "--format-version=1"]).args(more))?;
    serde_json::from_slice(&text).context("cargo's metadata cannot be read")
}

fn target(metadata: &serde_json::Value) -> Result<PathBuf> {
    metadata["target_directory"].as_str().map(PathBuf::from).context("cargo does not say where it builds")
}

/// Builds the library with the heap.
///
/// # Errors
/// It cannot be built.
pub fn bifolio() -> Result<Allocator> {
    let arguments = ["rustc", "-q", "-p", "malloc", "--profile", "preloaded", "--", "-Ztls-model=initial-exec"];
    output(cargo().args(arguments)).context("the library with the heap does not build")?;
    let library = target(&metadata(&["--no-deps"])?)?.join("preloaded/libmalloc.so");
    ensure!(library.is_file(), "cargo has built no {}", library.display());
    Ok(Allocator { name: "bifolio", library: Some(library) })
}

/// Builds mimalloc as the library that its own build makes, if its package and a C compiler are there.
///
/// # Errors
/// One of them is not, or it does not build.
pub fn mimalloc() -> Result<Allocator> {
    let metadata = metadata(&[])?;
    let packages = metadata["packages"].as_array().context("cargo names no packages")?;
    let package = packages.iter().find(|package| package["name"] == "libmimalloc-sys");
    let manifest = package.and_then(|package| package["manifest_path"].as_str()).context("its package is not used")?;
    let source = Path::new(manifest).with_file_name("c_src").join("mimalloc");
    // The folder of the version that the package has as its default.
    let version = ["v2", "v3", "v1", "."].into_iter().map(|version| source.join(version));
    let source = version.into_iter().find(|folder| folder.join("src/static.c").is_file());
    let source = source.context("its package has another layout than was expected")?;
    let library = target(&metadata)?.join("preloaded/libmimalloc.so");
    if !library.is_file() {
        let mut command = Command::new("cc");
        command.args(["-O3", "-DNDEBUG", "-DMI_MALLOC_OVERRIDE", "-DMI_SHARED_LIB", "-DMI_SHARED_LIB_EXPORT"]);
        command.args(["-std=gnu11", "-fPIC", "-fvisibility=hidden", "-ftls-model=initial-exec", "-fno-builtin-malloc"]);
        command.arg("-I").arg(source.join("include")).arg(source.join("src/static.c"));
        output(command.args(["-shared", "-pthread", "-o"]).arg(&library)).context("mimalloc does not build")?;
    }
    Ok(Allocator { name: "mimalloc", library: Some(library) })
}
