//! The explorer's page: one file with all that it needs, to be opened from disk.

use crate::lessons;
use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

const PAGE: &str = include_str!("../explorer/page/index.html");
const STYLE: &str = include_str!("../explorer/page/style.css");
/// The page's script, in its parts, which share one scope.
const SCRIPT: &str = concat!(
    include_str!("../explorer/page/base.js"),
    include_str!("../explorer/page/draw.js"),
    include_str!("../explorer/page/zones.js"),
    include_str!("../explorer/page/cursor.js"),
    include_str!("../explorer/page/time.js"),
    include_str!("../explorer/page/commands.js"),
    include_str!("../explorer/page/open.js"),
    include_str!("../explorer/page/save.js"),
    include_str!("../explorer/page/map.js"),
    include_str!("../explorer/page/controls.js"),
    include_str!("../explorer/page/lesson.js"),
    include_str!("../explorer/page/exhibits.js"),
    include_str!("../explorer/page/lab.js"),
);
/// The part that a page has beside them which is served while a machine runs, and whom that may ask.
const ATTACHED: &str = include_str!("../explorer/page/attached.js");
const ASKS_ITS_SERVER: &str = "; connect-src 'self'";
const START: &str = include_str!("../explorer/page/start.js");
/// How the page's code is built, for whoever has not.
const BUILD: &str = "cargo rustc -p explorer --lib --crate-type cdylib --target wasm32-unknown-unknown --profile page";

/// Where cargo puts the page's code, given the directory of one profile of this program's.
fn built(profile: &Path) -> Option<PathBuf> {
    Some(profile.parent()?.join("wasm32-unknown-unknown/page/explorer.wasm"))
}

/// The page's code.
fn code() -> Result<Vec<u8>> {
    let program = std::env::current_exe()?;
    let code = program.parent().and_then(built).context("this program lies in no target directory")?;
    ensure!(code.is_file(), "there is no {}.\nBuild it with `{BUILD}`", code.display());
    read(&code)
}

fn read(file: &Path) -> Result<Vec<u8>> {
    fs::read(file).with_context(|| format!("cannot read {}", file.display()))
}

/// The page, with a trace in it or none.
///
/// # Errors
/// Its code was not built, or a file cannot be read.
pub fn page(trace: Option<&Path>) -> Result<String> {
    let trace = trace.map(|trace| -> Result<Vec<u8>> {
        // Whoever opens the page is not to find out that it is broken.
        let world = crate::replay::open(trace)?;
        let mut bytes = read(trace)?;
        bytes.truncate(world.unfinished().map_or(bytes.len(), |(whole, _)| whole));
        Ok(bytes)
    });
    Ok(put_together(&code()?, &trace.transpose()?.unwrap_or_default()))
}

/// The page of what a learner's allocator did, as `make lab` found it: its steps, and what is to be said of them, for `lab.js`.
///
/// # Errors
/// Its code was not built.
pub fn of_lab(found: &Value) -> Result<String> {
    Ok(with_lab(&code()?, found))
}

/// [`of_lab`] with code that is at hand.
#[must_use]
pub fn with_lab(code: &[u8], found: &Value) -> String {
    with(code, &Parts { lab: found.to_string().replace("</", "<\\/"), ..Parts::default() })
}

/// The page that asks whoever serves it for the trace of a machine that runs.
///
/// # Errors
/// Those of [`page`].
pub fn attached() -> Result<String> {
    Ok(with(&code()?, &SERVED))
}

/// The page with its parts where their names stand.
#[must_use]
pub fn put_together(code: &[u8], trace: &[u8]) -> String {
    with(code, &Parts { trace, ..Parts::default() })
}

/// What not every page has.
#[derive(Default)]
struct Parts<'a> {
    trace: &'a [u8],
    script: &'a str,
    may_ask: &'a str,
    /// JSON, with nothing in it that ends a script.
    lab: String,
}

const SERVED: Parts<'static> = Parts { trace: &[], script: ATTACHED, may_ask: ASKS_ITS_SERVER, lab: String::new() };

fn with(code: &[u8], parts: &Parts<'_>) -> String {
    let script = ["\"use strict\";\n(async () => {\n", SCRIPT, parts.script, START, "})();\n"].concat();
    PAGE.replace("/*STYLE*/", STYLE)
        .replace("/*SCRIPT*/", &script)
        .replace("/*MAY-ASK*/", parts.may_ask)
        .replace("<!--LESSONS-->", &lessons::templates())
        .replace("/*WASM*/", &STANDARD.encode(code))
        .replace("/*TRACE*/", &STANDARD.encode(parts.trace))
        .replace("/*LAB*/", &parts.lab)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_all_that_it_needs_and_asks_nobody_for_more() {
        let page = put_together(b"code", b"trace");
        assert!(page.contains(">Y29kZQ==<") && page.contains(">dHJhY2U=<"));
        for placeholder in
            ["/*STYLE*/", "/*SCRIPT*/", "/*MAY-ASK*/", "<!--LESSONS-->", "/*WASM*/", "/*TRACE*/", "/*LAB*/"]
        {
            assert!(!page.contains(placeholder), "{placeholder}");
        }
        // Where a lesson's links lead is asked for by whoever follows them.
        let names = page.replace(&lessons::templates(), "").replace("http://www.w3.org/2000/svg", "");
        for far in
            ["http:", "https:", "//cdn", "@import", "src=", "fetch(", "XMLHttpRequest", "WebSocket", "importScripts"]
        {
            assert!(!names.contains(far), "{far}");
        }
        assert!(page.contains("default-src 'none'") && !page.contains("connect-src"));
    }

    #[test]
    fn a_page_that_is_served_asks_its_server_for_one_thing_and_nobody_else() {
        let page = with(b"code", &SERVED);
        assert!(page.contains("default-src 'none'") && page.contains("connect-src 'self'\""));
        assert_eq!(page.matches("fetch(").count(), 1);
        assert!(page.contains("fetch(\"trace\")"));
    }

    #[test]
    fn the_page_decides_nothing_about_memory() {
        // Words of the allocator's own business; what is shown of it comes as text and pixels.
        for word in ["watermark", "coalesce", "merge(", "allocate(", "freelist", "bitmap", "pageblock", "lowmem"] {
            assert!(![SCRIPT, ATTACHED, START].concat().to_lowercase().contains(word), "{word}");
        }
    }
}
