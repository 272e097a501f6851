//! What catches each mistake, as `docs/assurance.md` has it.

use std::fmt::Write;

use crate::plants::{Home, plants};

const BEGIN: &str = "<!-- planted: written by `make planted UPDATE=1` -->\n";
const END: &str = "<!-- end of planted -->\n";

/// A line for each mistake: what, where, and by which test it is found.
pub fn table() -> String {
    let mut table = String::from("| | planted | in | found by |\n|---:|---|---|---|\n");
    for plant in plants() {
        let (number, program) = (plant.number(), plant.program());
        let test = plant.test().rsplit("::").next().unwrap_or_default();
        let folder = if plant.home == Home::Kernel { "kernel/src/" } else { "" };
        writeln!(table, "| {number} | {} | `{folder}{}` | `{program}`: `{test}` |", plant.what, plant.file)
            .expect("a string takes all");
    }
    table
}

/// The document with the table that it is to have; `None` if it has no place for it.
pub fn in_document(document: &str) -> Option<String> {
    let (before, rest) = document.split_once(BEGIN)?;
    let (_, behind) = rest.split_once(END)?;
    Some([before, BEGIN, &table(), END, behind].concat())
}
