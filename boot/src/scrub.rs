//! `boot scrub`: how long the page takes for a picture while a long trace is scrubbed, against the goal.

use crate::browser::{self, Browser};
use crate::explorer;
use anyhow::{Context, Result, ensure};
use std::fs;

/// Memory of the machine, in MiB, and operations of its trace.
const MEMORY: u64 = 4096;
const OPERATIONS: u64 = 1_000_000;
/// Pictures that are taken: half of them of moments anywhere, half as a hand draws the bar along.
const PICTURES: usize = 400;
/// The goal, in milliseconds of script a picture: for 95 of 100, and for all.
const MOST: f64 = 8.0;
const EVER: f64 = 100.0;

/// What it came to, and whether that is the goal.
///
/// # Errors
/// There is no Chromium here, or the page does not work in it.
pub fn run() -> Result<(String, bool)> {
    let program = browser::find().context("there is no Chromium here (Debian: the package `chromium`)")?;
    let place = tempfile::tempdir()?;
    let page = place.path().join("explorer.html");
    fs::write(&page, explorer::page(None)?)?;
    let mut browser = Browser::start(&program)?;
    browser.set(1280, 900, false)?;
    browser.open(&page, "")?;
    browser.evaluate(&format!(
        "explorer.begin('{MEMORY} MiB', explorer.wasm.machine({MEMORY}, 4)); explorer.run('churn {OPERATIONS} 7')"
    ))?;
    let taken = browser.evaluate(&format!(
        "(async () => {{ const total = explorer.wasm.total(), times = [], done = []; \
         for (let n = 0; n < {PICTURES}; n++) {{ \
           await new Promise((next) => requestAnimationFrame(next)); \
           const at = n % 2 ? (n * 7919 % {PICTURES}) * total / {PICTURES} : n * total / {PICTURES}; \
           const before = explorer.wasm.done(), begun = performance.now(); explorer.glimpse(Math.floor(at)); \
           times.push(performance.now() - begun); done.push(explorer.wasm.done() - before); }} \
         return [times, done, explorer.wasm.interval()]; }})()"
    ))?;
    let numbers = |of: &serde_json::Value| -> Option<Vec<f64>> {
        let mut all = of.as_array()?.iter().map(serde_json::Value::as_f64).collect::<Option<Vec<f64>>>()?;
        all.sort_by(f64::total_cmp);
        (all.len() == PICTURES).then_some(all)
    };
    let times = numbers(&taken[0]).context("the page gives no times")?;
    let done = numbers(&taken[1]).context("the page gives no counts")?;
    let problems = browser.take_problems();
    ensure!(problems.is_empty(), "the page complains: {}", problems.join("; "));
    let (often, longest) = (times[PICTURES * 95 / 100], times[PICTURES - 1]);
    let text = format!(
        "{PICTURES} pictures of {MEMORY} MiB while {OPERATIONS} operations are scrubbed, in ms of script:\n  \
         median {:.1}, 95 of 100 within {often:.1} (goal {MOST}), the longest {longest:.1} (goal {EVER})\n  \
         operations that were done again for one: median {}, most {}, of {} between two checkpoints\n",
        times[PICTURES / 2],
        done[PICTURES / 2],
        done[PICTURES - 1],
        taken[2]
    );
    Ok((text, often <= MOST && longest <= EVER))
}
