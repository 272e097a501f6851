//! Many files, graded: a line of CSV for each.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use boot::harness::Interrupted;
use labs::lab::Lab;

use crate::build::Source;
use crate::score::Score;
use crate::trial::{self, Trust};

/// A submission: whose it is, and the file.
type Submission = (String, PathBuf);

/// Grades everything that was handed in for a lab: files `NAME.rs` in a folder, and folders `NAME` with a file `lab2.rs` in them. The
/// table goes to `out`, a row as soon as it is known.
///
/// Returns the names of those that could not be graded, for whatever reason: that stands in their rows, and the others are graded all the
/// same.
///
/// # Errors
/// There is nothing to grade, or the table cannot be written. What is wrong with a submission stands in its row.
pub fn grade(
    lab: &'static Lab,
    folder: &Path,
    seed: u64,
    out: &mut dyn Write,
    show: &mut dyn FnMut(&str),
) -> Result<Vec<String>> {
    let all = submissions(lab, folder)?;
    ensure!(
        !all.is_empty(),
        "in {} there is neither a file NAME.rs nor a folder with a lab{}.rs",
        folder.display(),
        lab.number
    );
    let columns: Vec<String> = std::iter::once("name".to_owned()).chain(Score::columns(lab)).collect();
    writeln!(out, "{}", csv(&columns))?;
    let mut left_out = Vec::new();
    for (name, file) in &all {
        let source = Source { file, lab: lab.number, seed };
        let tried = trial::run(lab, source, Trust::Stranger, &mut |what| show(&format!("{name}: {what}")));
        let score = tried.or_else(|error| {
            if error.is::<Interrupted>() {
                return Err(error);
            }
            left_out.push(name.clone());
            let mut score = Score::new(lab);
            score.refuse(format!("could not be graded: {error:#}"));
            Ok(score)
        })?;
        show(&format!("{name}: {} of {}", score.total(), lab.points()));
        let row: Vec<String> = std::iter::once(name.clone()).chain(score.row()).collect();
        writeln!(out, "{}", csv(&row))?;
        out.flush()?;
    }
    Ok(left_out)
}

/// What was handed in, by name.
fn submissions(lab: &Lab, folder: &Path) -> Result<Vec<Submission>> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut all = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let within = path.join(format!("lab{}.rs", lab.number));
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() && within.is_file() {
            all.push((path.file_name().unwrap_or_default().to_string_lossy().into_owned(), within));
        } else if path.extension().is_some_and(|extension| extension == "rs") && path.is_file() {
            all.push((name, path));
        }
    }
    all.sort();
    Ok(all)
}

/// A row of CSV, as RFC 4180 has it.
fn csv(cells: &[String]) -> String {
    let quoted = cells.iter().map(|cell| match cell.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", cell.replace('"', "\"\"")),
        false => cell.clone(),
    });
    quoted.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_with_commas_and_quotes_stay_one_cell() {
        let cells = ["Ada".to_owned(), "a, \"b\"".to_owned(), String::new()];
        assert_eq!(csv(&cells), "Ada,\"a, \"\"b\"\"\",");
    }

    #[test]
    fn files_and_folders_are_found_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("grace")).unwrap();
        fs::create_dir(at("nothing")).unwrap();
        for file in ["grace/lab2.rs", "grace/lab1.rs", "ada.rs", "notes.txt"] {
            fs::write(at(file), "").unwrap();
        }
        let lab = Lab::find(2).unwrap();
        let found = submissions(lab, folder.path()).unwrap();
        assert_eq!(found, [("ada".to_owned(), at("ada.rs")), ("grace".to_owned(), at("grace/lab2.rs"))]);
        // What cannot be graded keeps nobody else from being graded: here neither is even text.
        for file in ["grace/lab2.rs", "ada.rs"] {
            fs::write(at(file), [0xff]).unwrap();
        }
        let mut table = Vec::new();
        assert_eq!(grade(lab, folder.path(), 1, &mut table, &mut |_| {}).unwrap(), ["ada", "grace"]);
        let table = String::from_utf8(table).unwrap();
        assert!(table.lines().count() == 3 && table.contains("could not be graded: cannot read "), "{table}");
        let error = grade(lab, &at("nothing"), 1, &mut Vec::new(), &mut |_| {}).unwrap_err();
        assert!(error.to_string().contains("neither a file NAME.rs nor a folder"), "{error}");
    }
}
