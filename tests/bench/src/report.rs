//! Everything that is left behind: tables on the terminal, results, plots, and the page in the documentation.

use crate::peers::ABSENT;
use crate::plots;
use crate::results::{self, Figure};
use crate::tables::{self, Medium};
use crate::thread;
use anyhow::{Context, Result};
use std::fs;
use std::path::Path;
use std::process::Command;

const BEGIN: &str = "<!-- begin: written by make bench -->";
const END: &str = "<!-- end -->";

/// Prints the tables and writes the files.
///
/// # Errors
/// A file cannot be written.
pub fn write(figures: &[Figure], is_quick: bool, directory: &Path) -> Result<()> {
    fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
    println!("{}", tables::all(figures, Medium::Terminal));
    println!("{}\n{}\n{ABSENT}", tables::verdicts(figures), machine());
    if is_quick {
        println!("This was a fast look, with few operations and rounds: its times prove nothing.\n");
    }
    results::write(figures, &directory.join("results.json"))?;
    let mut plots = String::new();
    for (name, plot) in plots::all(figures)? {
        plots += &plot;
        save(&directory.join(name), &plot)?;
    }
    let tables = tables::all(figures, Medium::Terminal);
    let tables = tables.replace('&', "&amp;").replace('<', "&lt;");
    let page = format!(
        "<!doctype html><meta charset=\"utf-8\"><title>Bifolio: make bench</title>\n\
         <style>body {{ font-family: sans-serif; margin: 2em }} svg {{ display: block; margin: 1em 0 }}</style>\n\
         {plots}\n<pre>{tables}</pre>\n"
    );
    let path = directory.join("index.html");
    save(&path, &page)?;
    println!("{}, results.json beside it", path.display());
    Ok(())
}

/// Puts the tables between the markers of a page, and the plots that it shows into its folder.
///
/// # Errors
/// The page cannot be read or written, or has no markers.
pub fn update(figures: &[Figure], page: &Path) -> Result<()> {
    let text = fs::read_to_string(page).with_context(|| format!("cannot read {}", page.display()))?;
    let verdicts = tables::verdicts(figures).trim_end().replace('\n', "\n\n");
    let tables = format!("{}.\n\n{verdicts}\n\n{}", machine(), tables::all(figures, Medium::Markdown));
    let text = replaced(&text, &tables)
        .with_context(|| format!("{} lacks the lines \"{BEGIN}\" and \"{END}\"", page.display()))?;
    save(page, &text)?;
    let folder = page.with_extension("");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    for (name, plot) in plots::all(figures)? {
        save(&folder.join(name), &plot)?;
    }
    println!("{} is up to date", page.display());
    Ok(())
}

/// What the figures were measured on.
fn machine() -> String {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| cpuinfo.lines().find(|line| line.starts_with(name)).and_then(|line| line.split_once(": "));
    let model = field("model name").map_or("unknown processor", |(_, model)| model);
    let is_virtual = field("flags").is_some_and(|(_, flags)| flags.split(' ').any(|flag| flag == "hypervisor"));
    let processors = format!("{} {}processors", thread::cpus(), if is_virtual { "virtual " } else { "" });
    let linux = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let version = |program: &str| {
        let output = Command::new(program).arg("--version").output().ok()?;
        let text = String::from_utf8_lossy(&output.stdout);
        Some(text.lines().next()?.split(" (").next()?.to_owned())
    };
    let programs = ["rustc", "valgrind", "qemu-system-x86_64"].into_iter().filter_map(version);
    let all = [processors, format!("Linux {}", linux.trim())].into_iter().chain(programs);
    format!("Measured on {model}, {}", all.collect::<Vec<_>>().join(", "))
}

fn save(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

fn replaced(page: &str, tables: &str) -> Option<String> {
    let (before, rest) = page.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n\n{}\n\n{END}{after}", tables.trim_end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_markers_changes() {
        let page = format!("before\n{BEGIN}\nold\n{END}\nafter\n");
        let new = replaced(&page, "new\n").unwrap();
        assert_eq!(new, format!("before\n{BEGIN}\n\nnew\n\n{END}\nafter\n"));
        assert_eq!(replaced(&new, "new\n").unwrap(), new);
        assert!(replaced("no markers", "new").is_none());
    }
}
