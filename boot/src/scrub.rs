//! `boot scrub`: how long the page takes to load, and for a picture while a long trace is scrubbed, against the goals.

use crate::browser::{self, Browser};
use crate::explorer;
use anyhow::{Context, Result, ensure};
use serde_json::json;
use std::fs;
use std::path::Path;

/// Memory of the machine, in MiB, and operations of its trace.
const MEMORY: u64 = 4096;
const OPERATIONS: u64 = 1_000_000;
/// Pictures that are taken: half of them of moments anywhere, half as a hand draws the bar along.
const PICTURES: usize = 400;
/// The goal, in milliseconds of script a picture, of the processor's time: for 95 of 100, and for all.
const MOST: f64 = 8.0;
const EVER: f64 = 100.0;
/// How often the page is loaded, and the goal, in milliseconds by the clock until it can be used: for half of the times.
const LOADS: usize = 9;
const LOADED: f64 = 2000.0;

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
    let mut loads = (0..LOADS).map(|_| load(&mut browser, &page)).collect::<Result<Vec<_>>>()?;
    browser.evaluate(&format!(
        "explorer.begin('{MEMORY} MiB', explorer.wasm.machine({MEMORY}, 4)); explorer.run('churn {OPERATIONS} 7')"
    ))?;
    browser.call("Performance.enable", json!({ "timeDomain": "threadTicks" }))?;
    let (mut times, mut waits, mut done) = (Vec::new(), Vec::new(), Vec::new());
    for nth in 0..PICTURES {
        let before = script(&mut browser)?;
        let (wait, operations) = picture(&mut browser, nth)?;
        times.push(script(&mut browser)? - before);
        waits.push(wait);
        done.push(operations);
    }
    [&mut loads, &mut times, &mut waits, &mut done].into_iter().for_each(|all| all.sort_by(f64::total_cmp));
    let interval = browser.evaluate("explorer.wasm.interval()")?;
    let problems = browser.take_problems();
    ensure!(problems.is_empty(), "the page complains: {}", problems.join("; "));
    let (half, most, last) = (PICTURES / 2, PICTURES * 95 / 100, PICTURES - 1);
    let loaded = loads[LOADS / 2];
    let text = format!(
        "the page is loaded and drawn in ms by the clock, of {LOADS} times: median {loaded:.0} (goal {LOADED}), the longest {:.0}\n\
         {PICTURES} pictures of {MEMORY} MiB while {OPERATIONS} operations are scrubbed, in ms of script:\n  \
         of the processor's time, median {:.1}, 95 of 100 within {:.1} (goal {MOST}), the longest {:.1} (goal {EVER})\n  \
         by the clock, beside all else that the host does, median {:.1}, 95 of 100 within {:.1}, the longest {:.1}\n  \
         operations that were done again for one: median {}, most {}, of {interval} between two checkpoints\n",
        loads[LOADS - 1],
        times[half],
        times[most],
        times[last],
        waits[half],
        waits[most],
        waits[last],
        done[half],
        done[last]
    );
    Ok((text, loaded <= LOADED && times[most] <= MOST && times[last] <= EVER))
}

/// Loads the page: milliseconds from its address until the first picture is there and it can be used.
fn load(browser: &mut Browser, page: &Path) -> Result<f64> {
    browser.open(page, "")?;
    let ready = browser.evaluate("performance.getEntriesByName('ready')[0].startTime")?;
    ready.as_f64().context("the page does not say when it was ready")
}

/// Takes a picture: milliseconds by the clock, and operations that were done again for it.
fn picture(browser: &mut Browser, nth: usize) -> Result<(f64, f64)> {
    let at = if nth.is_multiple_of(2) { nth } else { nth * 7919 % PICTURES };
    let taken = browser.evaluate(&format!(
        "new Promise((tell) => requestAnimationFrame(() => {{ \
           const at = Math.floor({at} * explorer.wasm.total() / {PICTURES}), before = explorer.wasm.done(), begun = performance.now(); \
           explorer.glimpse(at); tell([performance.now() - begun, explorer.wasm.done() - before]); }}))"
    ))?;
    taken[0].as_f64().zip(taken[1].as_f64()).context("the page gives no times")
}

/// Milliseconds of script so far, of the processor's time: what else the host does is not in them.
fn script(browser: &mut Browser) -> Result<f64> {
    let metrics = browser.call("Performance.getMetrics", json!({}))?;
    let mut all = metrics["metrics"].as_array().into_iter().flatten();
    let script = all.find(|metric| metric["name"] == "ScriptDuration");
    Ok(script.and_then(|metric| metric["value"].as_f64()).context("the browser has no such measure")? * 1000.0)
}
