//! Many files, graded: a line of CSV for each.

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use boot::harness::Interrupted;
use labs::lab::Lab;

use crate::build::Source;
use crate::score::{Score, plain};
use crate::trial::{self, Trust};

/// The largest file that is looked at: a hundred times what anybody writes.
const MOST_BYTES: u64 = 1 << 20;

/// Who handed something in: the name, and the file, or why there is none.
type Submission = (String, Result<PathBuf, String>);

/// A folder of what was handed in for a lab: files `NAME.rs`, and folders `NAME` with a file `lab2.rs` in them.
#[derive(Debug)]
pub struct Class {
    lab: &'static Lab,
    all: Vec<Submission>,
    /// What else is in the folder, which nobody looks at.
    pub left_alone: Vec<String>,
}

impl Class {
    /// Looks through a folder.
    ///
    /// # Errors
    /// There is nothing to grade, or a name is there twice.
    pub fn find(lab: &'static Lab, folder: &Path) -> Result<Self> {
        let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
        let (mut all, mut left_alone): (Vec<Submission>, _) = (Vec::new(), Vec::new());
        let within = format!("lab{}.rs", lab.number);
        for entry in entries {
            let entry = entry?;
            let path = entry.path();
            if entry.file_type()?.is_dir() {
                all.push((shown(path.file_name()), plain_file(path.join(&within))));
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                all.push((shown(path.file_stem()), plain_file(path)));
            } else {
                left_alone.push(shown(path.file_name()));
            }
        }
        ensure!(
            all.iter().any(|(_, file)| file.is_ok()),
            "in {} there is neither a file NAME.rs nor a folder with a {within}",
            folder.display()
        );
        all.sort();
        left_alone.sort();
        let twice = all.windows(2).find(|two| two[0].0 == two[1].0);
        ensure!(twice.is_none(), "{} is there twice: as a file and as a folder", twice.map_or("", |two| &two[0].0));
        Ok(Self { lab, all, left_alone })
    }

    /// Grades it. The table goes to `out`, a row as soon as it is known, and to the folder `sheets` what each author is to be shown: what
    /// `make lab` says, in a file `NAME.txt`.
    ///
    /// Returns the names of those that could not be graded, for whatever reason: that stands in their rows, and the others are graded all
    /// the same.
    ///
    /// # Errors
    /// The table or a sheet cannot be written. What is wrong with a submission stands in its row.
    pub fn grade(
        &self,
        seed: u64,
        out: &mut dyn Write,
        sheets: &Path,
        show: &mut dyn FnMut(&str),
    ) -> Result<Vec<String>> {
        let lab = self.lab;
        let columns: Vec<String> = std::iter::once("name".to_owned()).chain(Score::columns(lab)).collect();
        writeln!(out, "{}", csv(&columns))?;
        fs::create_dir_all(sheets).with_context(|| format!("cannot make {}", sheets.display()))?;
        let mut left_out = Vec::new();
        for (name, file) in &self.all {
            let score = match file {
                Ok(file) => self.score(name, Source { file, lab: lab.number, seed }, show, &mut left_out)?,
                Err(why) => Score::refused(lab, why.clone()),
            };
            show(&format!("{name}: {} of {}", score.total(), lab.points()));
            let row: Vec<String> = std::iter::once(name.clone()).chain(score.row()).collect();
            writeln!(out, "{}", csv(&row))?;
            out.flush()?;
            let sheet = sheets.join(format!("{name}.txt"));
            fs::write(&sheet, score.to_string()).with_context(|| format!("cannot write {}", sheet.display()))?;
        }
        Ok(left_out)
    }

    /// What a submission is worth. One that cannot be graded is worth nothing, and its name is noted.
    fn score(
        &self,
        name: &str,
        source: Source<'_>,
        show: &mut dyn FnMut(&str),
        left_out: &mut Vec<String>,
    ) -> Result<Score> {
        let tried = trial::run(self.lab, source, Trust::Stranger, &mut |what| show(&format!("{name}: {what}")));
        tried.or_else(|error| {
            if error.is::<Interrupted>() {
                return Err(error);
            }
            left_out.push(name.to_owned());
            Ok(Score::refused(self.lab, format!("could not be graded: {error:#}")))
        })
    }
}

/// A file as it was handed in: no link, which could lead to somebody else's, and nothing that never ends.
fn plain_file(path: PathBuf) -> Result<PathBuf, String> {
    let name = shown(path.file_name());
    match fs::symlink_metadata(&path) {
        Err(_) => Err(format!("there is no {name} in the folder")),
        Ok(found) if !found.is_file() => Err(format!("{name} is no plain file")),
        Ok(found) if found.len() > MOST_BYTES => Err(format!("{name} has more than {} KiB", MOST_BYTES >> 10)),
        Ok(_) => Ok(path),
    }
}

/// A name as it can be shown anywhere: a terminal and a spreadsheet do what some signs say.
fn shown(name: Option<&OsStr>) -> String {
    let name = plain(&name.unwrap_or_default().to_string_lossy()).replace('\n', "\u{fffd}");
    // A file with what belongs to it has a name that is a little longer, and the system wants no more than 255 bytes.
    name.chars().take(60).collect()
}

/// A row of CSV, as RFC 4180 has it. What a spreadsheet would take for a formula gets a `'` in front, which it takes away.
fn csv(cells: &[String]) -> String {
    let quoted = cells.iter().map(|cell| {
        let cell = if cell.starts_with(['=', '+', '-', '@']) { format!("'{cell}") } else { cell.clone() };
        match cell.contains([',', '"', '\n', '\r']) {
            true => format!("\"{}\"", cell.replace('"', "\"\"")),
            false => cell,
        }
    });
    quoted.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_with_commas_and_quotes_stay_one_cell_and_none_is_a_formula() {
        let cells = ["Ada".to_owned(), "a, \"b\"".to_owned(), String::new(), "=1+1".to_owned()];
        assert_eq!(csv(&cells), "Ada,\"a, \"\"b\"\"\",,'=1+1");
    }

    fn found(folder: &Path) -> Result<Class> {
        Class::find(Lab::find(2).unwrap(), folder)
    }

    #[test]
    fn files_and_folders_are_found_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let error = found(folder.path()).unwrap_err();
        assert!(error.to_string().contains("neither a file NAME.rs nor a folder with a lab2.rs"), "{error}");
        assert!(found(&at("nowhere")).unwrap_err().to_string().starts_with("cannot read "));
        fs::create_dir(at("grace")).unwrap();
        fs::create_dir(at("nothing")).unwrap();
        for file in ["grace/lab2.rs", "grace/lab1.rs", "ada.rs", "notes.txt", "\u{1b}[2J\n.rs"] {
            fs::write(at(file), "").unwrap();
        }
        let class = found(folder.path()).unwrap();
        let names: Vec<&str> = class.all.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["ada", "grace", "nothing", "\u{fffd}[2J\u{fffd}"]);
        assert_eq!(class.all[1].1, Ok(at("grace/lab2.rs")));
        assert_eq!(class.left_alone, ["notes.txt"]);
        fs::create_dir(at("ada")).unwrap();
        assert_eq!(found(folder.path()).unwrap_err().to_string(), "ada is there twice: as a file and as a folder");
    }

    /// Here none can be tried, and one is gone when it is looked at.
    #[test]
    fn what_cannot_be_graded_keeps_nobody_else_from_being_graded() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("nothing")).unwrap();
        for (file, length) in [("ada.rs", 1), ("large.rs", MOST_BYTES as usize + 1), ("zoe.rs", 0)] {
            fs::write(at(file), vec![0xff; length]).unwrap();
        }
        // A link to what never ends: somebody else's file would do as well.
        std::os::unix::fs::symlink("/dev/zero", at("eve.rs")).unwrap();
        let class = found(folder.path()).unwrap();
        fs::remove_file(at("zoe.rs")).unwrap();
        let mut table = Vec::new();
        assert_eq!(class.grade(1, &mut table, &at("sheets"), &mut |_| {}).unwrap(), ["zoe"]);
        let table = String::from_utf8(table).unwrap();
        assert_eq!(table.lines().count(), 6, "{table}");
        for (name, why) in [
            ("ada", "this is not text in UTF-8"),
            ("eve", "eve.rs is no plain file"),
            ("large", "large.rs has more than 1024 KiB"),
            ("nothing", "there is no lab2.rs in the folder"),
        ] {
            let row = table.lines().find(|line| line.starts_with(name)).unwrap();
            assert!(row.ends_with(why), "{row}");
            let sheet = fs::read_to_string(at(&format!("sheets/{name}.txt"))).unwrap();
            assert!(sheet.contains(why) && sheet.contains("Total: 0 of 100 points"), "{sheet}");
        }
    }
}
