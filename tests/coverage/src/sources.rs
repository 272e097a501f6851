//! The crate's sources, and what of them is tests.

use std::fs;
use std::io;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// A file of the crate.
#[derive(Debug)]
pub struct Source {
    /// Its path below `src`.
    pub path: PathBuf,
    /// Its lines, without the blanks around them.
    pub lines: Vec<String>,
    /// The numbers of the lines that are tests.
    tests: Vec<RangeInclusive<usize>>,
}

impl Source {
    /// All files below a directory, without those that are nothing but tests.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn all(root: &Path) -> Result<Vec<Self>> {
        let mut sources = Vec::new();
        let mut only_tests = Vec::new();
        for path in files(root).with_context(|| root.display().to_string())? {
            let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
            only_tests.extend(modules_of_tests(&path, &text));
            sources.push((path, text));
        }
        sources.retain(|(path, _)| !only_tests.contains(path));
        sources.iter().map(|(path, text)| Ok(Self::new(path.strip_prefix(root)?, text))).collect()
    }

    /// A file with this text.
    pub fn new(path: &Path, text: &str) -> Self {
        let lines = text.lines().map(|line| line.trim().to_owned()).collect();
        Self { path: path.to_owned(), lines, tests: tests(text) }
    }

    /// Whether a line, by its number from 1 on, is part of a test.
    pub fn is_test(&self, line: usize) -> bool {
        self.tests.iter().any(|tests| tests.contains(&line))
    }

    /// A line, by its number from 1 on.
    pub fn line(&self, number: usize) -> Option<&str> {
        Some(self.lines.get(number.checked_sub(1)?)?)
    }
}

/// All files below a directory.
fn files(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut entries = fs::read_dir(directory)?.collect::<io::Result<Vec<_>>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    let mut found = Vec::new();
    for entry in entries {
        if entry.file_type()?.is_dir() {
            found.extend(files(&entry.path())?);
        } else {
            found.push(entry.path());
        }
    }
    Ok(found)
}

const IS_TEST: &str = "#[cfg(test)]";

/// The files of modules that a file has for tests alone.
fn modules_of_tests(path: &Path, text: &str) -> Vec<PathBuf> {
    let below = match path.file_name().and_then(|name| name.to_str()) {
        Some("mod.rs" | "lib.rs") => path.parent().unwrap_or(path).to_owned(),
        _ => path.with_extension(""),
    };
    let lines: Vec<&str> = text.lines().collect();
    let names = lines.windows(2).filter(|pair| pair[0] == IS_TEST).filter_map(|pair| {
        let (_, module) = pair[1].split_once("mod ")?;
        module.strip_suffix(';')
    });
    names.map(|name| below.join(name).with_extension("rs")).collect()
}

/// The lines that an item with `#[cfg(test)]` takes: up to the brace that ends it, which rustfmt has put below its beginning.
fn tests(text: &str) -> Vec<RangeInclusive<usize>> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (index, line) in lines.iter().enumerate().filter(|(_, line)| line.trim() == IS_TEST) {
        let indent = line.len() - line.trim_start().len();
        let ends = |line: &&str| line.trim_start().len() + indent == line.len() && line.ends_with(['}', ';']);
        let length = lines[index + 1..].iter().position(ends).unwrap_or(lines.len() - index - 2);
        found.push(index + 1..=index + length + 2);
    }
    found
}

#[cfg(test)]
mod tests_of_this {
    use super::*;

    #[test]
    fn what_is_for_tests_is_found() {
        let text = "fn a() {\n    #[cfg(test)]\n    b();\n    c();\n}\n#[cfg(test)]\nmod tests {\n    fn d() {\n    }\n}\nfn e() {}\n#[cfg(test)]\nmod models;\n";
        let source = Source::new(Path::new("slab/mod.rs"), text);
        let tests: Vec<usize> = (1..=13).filter(|line| source.is_test(*line)).collect();
        assert_eq!(tests, [2, 3, 6, 7, 8, 9, 10, 12, 13]);
        assert_eq!(source.line(4), Some("c();"));
        assert_eq!(modules_of_tests(Path::new("slab/mod.rs"), text), [Path::new("slab/models.rs")]);
        assert_eq!(modules_of_tests(Path::new("zone.rs"), text), [Path::new("zone/models.rs")]);
    }
}
