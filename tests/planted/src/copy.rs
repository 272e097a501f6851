//! Copies of sources, but for what is planted in them.

use std::fs;
use std::io;
use std::path::Path;

use anyhow::{Context, Result, ensure};

/// A text with `new` in the one place where it has `old`. `of` says whose text it is.
///
/// # Errors
/// If what is to be changed is not there, or is there twice.
pub fn replaced(text: &str, old: &str, new: &str, of: &str) -> Result<String> {
    let found = text.matches(old).count();
    ensure!(found == 1, "{of} has {found} times `{old}`");
    Ok(text.replace(old, new))
}

/// Copies a file, or all files of a directory. `change` is told a file's path and text, and returns the text for the copy, or
/// `None` if the file is not to be written.
///
/// # Errors
/// If there is no such file, or it is no text.
pub fn copy(
    from: &Path,
    to: &Path,
    part: &Path,
    change: &dyn Fn(&Path, String) -> Result<Option<String>>,
) -> Result<()> {
    let source = from.join(part);
    if source.is_dir() {
        let entries = fs::read_dir(&source)?.collect::<io::Result<Vec<_>>>()?;
        return entries.iter().try_for_each(|entry| copy(from, to, &part.join(entry.file_name()), change));
    }
    let text = fs::read_to_string(&source).with_context(|| source.display().to_string())?;
    change(part, text)?.map_or(Ok(()), |text| write(&to.join(part), &text))
}

/// Writes a file, unless that is what it has in it: cargo builds anew what was written.
///
/// # Errors
/// If it cannot be written.
pub fn write(path: &Path, text: &str) -> Result<()> {
    if fs::read_to_string(path).is_ok_and(|old| old == text) {
        return Ok(());
    }
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    fs::write(path, text).with_context(|| path.display().to_string())
}
