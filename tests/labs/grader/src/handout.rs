//! The tree that a class is given: this checkout, without what would spoil the labs.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::checkout;

/// What a class does not get: solutions, the mistakes that are planted in them, and what is about those.
const KEPT_BACK: &[&str] =
    &["tests/labs/solutions/", "tests/labs/specimens/", "tests/labs/grader/tests/", "docs/labs/lecturers.md"];
/// The same among the packages of the workspace.
const PACKAGES: &[&str] = &["tests/labs/specimens", "tests/labs/specimens/booted"];

/// Writes the tree to a folder that is not there yet, or empty. How many files it has.
///
/// # Errors
/// The folder has something in it, or what git knows of this checkout cannot be read.
pub fn write(folder: &Path) -> Result<usize> {
    let is_empty = match fs::read_dir(folder) {
        Ok(mut entries) => entries.next().is_none(),
        Err(_) => !folder.exists(),
    };
    ensure!(is_empty, "{} is there already: nothing is written over what a folder has in it", folder.display());
    let output = Command::new("git").arg("-C").arg(checkout()).args(["ls-files", "-z", "--cached"]).output();
    let output = output.context("cannot start git, which knows the files of this checkout")?;
    ensure!(
        output.status.success(),
        "this is no checkout of git's: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    let names = String::from_utf8(output.stdout).context("a file has a name that is no text")?;
    let mut count = 0;
    for name in names.split('\0').filter(|name| !name.is_empty() && is_for_class(name)) {
        let (from, to) = (checkout().join(name), folder.join(name));
        fs::create_dir_all(to.parent().unwrap_or(folder))?;
        fs::copy(&from, &to).with_context(|| format!("cannot copy {name}"))?;
        count += 1;
    }
    let manifest = folder.join("Cargo.toml");
    fs::write(&manifest, without_packages(&fs::read_to_string(&manifest)?)?)?;
    Ok(count)
}

fn is_for_class(name: &str) -> bool {
    !KEPT_BACK.iter().any(|kept| name.starts_with(kept))
}

/// The workspace's manifest without the packages that are kept back.
fn without_packages(manifest: &str) -> Result<String> {
    let mut text = manifest.to_owned();
    for package in PACKAGES {
        let member = format!(", \"{package}\"");
        if !text.contains(&member) {
            bail!("the workspace has no package {package}");
        }
        text = text.replace(&member, "");
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_gets_what_it_needs_and_no_solution() {
        let folder = tempfile::tempdir().unwrap();
        let to = folder.path().join("class");
        let count = write(&to).unwrap();
        assert!(count > 400, "{count} files");
        for file in
            ["Makefile", "tests/labs/pieces/lab1.rs", "tests/labs/src/piece.rs", "kernel/src/main.rs", "boot/setup.sh"]
        {
            assert!(to.join(file).is_file(), "{file}");
        }
        assert!(!to.join("tests/labs/solutions").exists() && !to.join("tests/labs/specimens").exists());
        assert!(!fs::read_to_string(to.join("Cargo.toml")).unwrap().contains("tests/labs/specimens"), "kept back");
        // A line of a solution, which no file may have: nor this one.
        let line = concat!("fn is_", "inside_free");
        let output = Command::new("grep").args(["-rl", line]).arg(&to).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "");
        assert!(write(&to).unwrap_err().to_string().contains("is there already"));
    }
}
