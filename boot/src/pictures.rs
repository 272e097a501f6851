//! `boot pictures`: takes the pictures of the README and the documentation, of the real page in a real browser.

use crate::browser::{self, Browser};
use crate::explorer;
use anyhow::{Context, Result};
use std::fs;
use std::path::Path;

/// What is done before the picture of a name, in a window so many pixels wide and high, light or dark.
const PICTURES: [(&str, u32, u32, bool, &str); 6] = [
    ("explorer-light", 1280, 1130, false, USED),
    ("explorer-dark", 1280, 1130, true, USED),
    ("explorer-narrow-light", 400, 2060, false, USED),
    ("explorer-narrow-dark", 400, 2060, true, USED),
    ("slab-light", 1280, 1130, false, SLAB),
    ("slab-narrow-dark", 400, 2060, true, SLAB),
];
/// A machine that has been used: blocks of all kinds and sizes, between free ones.
const USED: &str = "explorer.run('churn 2600 5; drain'); explorer.run('alloc 3 MOVABLE')";

/// A slab, most of whose objects were freed, some of them by another CPU.
const SLAB: &str = "explorer.run('churn 2600 5; drain; kmalloc 100 30; cpu 1; kfree all; cpu 0; kmalloc 100 9'); \
                    explorer.run('explain kmalloc 100')";

/// Takes all of them into a directory.
///
/// # Errors
/// There is no Chromium here, or the page does not work in it.
pub fn take(directory: &Path) -> Result<()> {
    let program = browser::find().context("there is no Chromium here (Debian: the package `chromium`)")?;
    let place = tempfile::tempdir()?;
    let page = place.path().join("explorer.html");
    fs::write(&page, explorer::page(None)?)?;
    fs::create_dir_all(directory)?;
    let mut browser = Browser::start(&program)?;
    for (name, width, height, is_dark, before) in PICTURES {
        browser.set(width, height, is_dark)?;
        browser.open(&page, "")?;
        browser.evaluate(before)?;
        browser.evaluate("new Promise((done) => setTimeout(done, 300))")?;
        browser.picture(&directory.join(format!("{name}.png")))?;
        let problems = browser.take_problems();
        anyhow::ensure!(problems.is_empty(), "the page complains: {}", problems.join("; "));
    }
    Ok(())
}
