//! The explorer's page, in a real browser: it opens from disk without a complaint, is used by keyboard, and shows what the host's
//! replay knows.

mod page;

use boot::browser::Browser;
use replay::World;
use serde_json::Value;
use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;
use tempfile::TempDir;

/// A trace of a machine that was used: so many operations, on several CPUs.
fn trace(operations: u64) -> Vec<u8> {
    let mut app = explorer::App::new(64, 4).unwrap();
    app.run(&format!(
        "churn {operations} 7; drain; kmalloc 100 900; cpu 1; kmalloc 64 300; kmalloc 20000; alloc 3 MOVABLE; kfree all; shrink; \
         alloc 0; free all; alloc 5; cpu 2; kmalloc 24 2000; alloc 2 RECLAIMABLE"
    ))
    .unwrap();
    app.world().with_trace(<[u8]>::to_vec)
}

/// A browser with the page open, or `None` where there is no browser: then that is said.
fn open(trace: &[u8]) -> Option<(Browser, TempDir, PathBuf)> {
    let program = page::chromium()?;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("explorer.html");
    fs::write(&file, boot::explorer::put_together(&fs::read(page::code()).unwrap(), trace)).unwrap();
    let mut browser = Browser::start(&program).unwrap();
    browser.set(1280, 900, false).unwrap();
    browser.open(&file, "").unwrap();
    if !trace.is_empty() {
        browser.wait_for("document.documentElement.dataset.verified !== undefined").unwrap();
    }
    Some((browser, directory, file))
}

fn text_of(browser: &mut Browser, call: &str) -> String {
    let value = browser.evaluate(&format!("explorer.wasm.{call}, explorer.text()")).unwrap();
    value.as_str().unwrap().to_owned()
}

fn number(browser: &mut Browser, expression: &str) -> u64 {
    browser.evaluate(expression).unwrap().as_f64().unwrap_or_else(|| panic!("{expression} is no number")) as u64
}

/// Three instants of a trace, as the host replays it and as the page does.
#[test]
fn the_page_shows_what_the_host_replays() {
    let trace = trace(20_000);
    let Some((mut browser, ..)) = open(&trace) else { return };
    let mut world = World::open(trace, 1 << 24).unwrap();
    assert_eq!(number(&mut browser, "explorer.wasm.total()"), world.total());
    for part in [3, 2, 1] {
        let moment = world.total() / part - part;
        world.seek(moment).unwrap();
        browser.evaluate(&format!("explorer.seek({moment})")).unwrap();
        assert_eq!(text_of(&mut browser, "hash()"), format!("{:#018x}", world.hash()));
        let gauges: Value = serde_json::from_str(&text_of(&mut browser, "gauges()")).unwrap();
        let zones = world.zones();
        let shown = gauges["zones"].as_array().unwrap();
        for (zone, shown) in zones.iter().filter(|zone| zone.managed > 0).zip(shown) {
            let free = world.frames().free_blocks(zone.kind);
            let counts: Vec<u64> = bifolio::frame::Order::all().map(|order| free.of(order)).collect();
            assert_eq!(shown["free"], zone.free);
            assert_eq!(shown["counts"], serde_json::json!(counts));
        }
    }
    assert_eq!(browser.take_problems(), [""; 0]);
}

#[test]
fn everything_can_be_done_by_keys() {
    let Some((mut browser, ..)) = open(&[]) else { return };
    browser.evaluate("document.getElementById('map').focus()").unwrap();
    let operations = "explorer.wasm.operation()";
    for (key, expected) in
        [("a", 1), ("a", 2), ("f", 3), ("u", 2), ("r", 3), ("[", 2), ("]", 3), ("Home", 0), ("End", 3)]
    {
        browser.press(key).unwrap();
        assert_eq!(number(&mut browser, operations), expected, "after {key}");
    }
    let cursor = number(&mut browser, "explorer.state.cursor");
    browser.press("ArrowRight").unwrap();
    assert!(number(&mut browser, "explorer.state.cursor") > cursor);
    let said = browser.evaluate("document.getElementById('said').textContent").unwrap();
    assert!(said.as_str().unwrap().starts_with("frame 0x"), "{said}");
    let scale = "explorer.wasm.labels(), JSON.parse(explorer.text()).scale";
    let before = number(&mut browser, scale);
    browser.press("+").unwrap();
    assert_eq!(number(&mut browser, scale), before + 1);
    browser.press("-").unwrap();
    assert_eq!(number(&mut browser, scale), before);
    // Every control is reached by Tab, and none keeps the focus for itself.
    let controls = "[...document.querySelectorAll('main button, main select, main input, header summary')]\
                    .filter((one) => one.offsetParent && !one.disabled).length";
    let (count, mut reached) = (number(&mut browser, controls), std::collections::BTreeSet::new());
    let name = "((one) => one.id || one.textContent || one.tagName)(document.activeElement)";
    for _ in 0..count + 20 {
        browser.press("Tab").unwrap();
        reached.insert(browser.evaluate(name).unwrap().to_string());
    }
    for id in ["play", "time", "line", "undo", "zoom-in", "cpu", "kind", "theme"] {
        assert!(reached.contains(&format!("\"{id}\"")), "{id} is not reached by Tab: {reached:?}");
    }
    browser.evaluate("document.getElementById('line').focus()").unwrap();
    for key in ["alloc 4 MOVABLE", "Enter"] {
        match key {
            "Enter" => browser.press(key).unwrap(),
            text => drop(browser.call("Input.insertText", serde_json::json!({ "text": text })).unwrap()),
        }
    }
    assert_eq!(number(&mut browser, operations), 4);
    assert_eq!(browser.take_problems(), [""; 0]);
}

#[test]
fn a_slab_is_shown_slot_by_slot_as_its_words_have_it() {
    let Some((mut browser, ..)) = open(&[]) else { return };
    browser.evaluate("explorer.run('kmalloc 100 70; cpu 1')").unwrap();
    let address =
        browser.evaluate("explorer.run('kmalloc 100 3'), document.getElementById('log').lastChild.textContent");
    let address = address.unwrap().as_str().unwrap().rsplit(' ').next().unwrap().to_owned();
    // An object of another CPU's slab is freed there.
    browser.evaluate(&format!("explorer.run('cpu 0; kfree {address}')")).unwrap();
    browser.evaluate("new Promise((done) => setTimeout(done, 200))").unwrap();
    let count = |browser: &mut Browser, kind: &str| {
        number(browser, &format!("document.querySelectorAll('#slab-card:not([hidden]) .bits .{kind}').length"))
    };
    assert_eq!(["live", "remote"].map(|kind| count(&mut browser, kind)), [2, 1]);
    let pfn = number(&mut browser, "explorer.state.cursor");
    let slab: Value = serde_json::from_str(&text_of(&mut browser, &format!("slab({pfn})"))).unwrap();
    let ones = |place: usize| -> u32 {
        let words = slab["words"].as_array().unwrap();
        words.iter().map(|word| u64::from_str_radix(word[place].as_str().unwrap(), 16).unwrap().count_ones()).sum()
    };
    let slots = slab["slots"].as_u64().unwrap() as u32;
    assert_eq!((slots - ones(0), ones(1), &slab["owner"]), (3, 1, &serde_json::json!("CPU 1")));
    assert_eq!(count(&mut browser, "hand"), u64::from(ones(2)));
    assert_eq!(number(&mut browser, &format!("explorer.run('kfree {address}')")), 0, "twice");
    assert_eq!(browser.take_problems(), [""; 0]);
}

/// The pixel in the middle of a block's first frame.
fn colour(browser: &mut Browser, pfn: u64) -> Value {
    browser
        .evaluate(&format!(
            "(() => {{ explorer.wasm.look({pfn}); const [x, y, w, h] = JSON.parse(explorer.text()).at; \
             const map = document.getElementById('map'); \
             return [...map.getContext('2d').getImageData(x + 5, y + 2, 1, 1).data].slice(0, 3); }})()"
        ))
        .unwrap()
}

#[test]
fn known_frames_have_their_colours() {
    let Some((mut browser, ..)) = open(&[]) else { return };
    for (is_dark, movable, unmovable) in
        [(false, [0x00, 0x72, 0xb2], [0xd5, 0x5e, 0x00]), (true, [0x2c, 0x84, 0xc8], [0xd5, 0x5e, 0x00])]
    {
        browser.set(1280, 900, is_dark).unwrap();
        browser.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))").unwrap();
        for (flags, expected) in [("MOVABLE", movable), ("", unmovable)] {
            browser.evaluate(&format!("explorer.run('free all; alloc 9 {flags}')")).unwrap();
            let pfn = number(&mut browser, "explorer.wasm.touched()");
            assert_eq!(colour(&mut browser, pfn), serde_json::json!(expected), "{flags}, dark: {is_dark}");
        }
    }
}

#[test]
fn a_broken_trace_gets_a_clear_message_and_what_there_was_stays() {
    let mut broken = trace(100);
    broken.truncate(broken.len() - 1);
    let length = broken.len();
    let Some((mut browser, ..)) = open(&[]) else { return };
    browser.evaluate("explorer.run('alloc 3')").unwrap();
    let bytes = serde_json::to_string(&broken).unwrap();
    let opened = browser
        .evaluate(&format!(
            "(async () => {{ const data = new DataTransfer(); data.items.add(new File([new Uint8Array({bytes})], 'x.trace')); \
             const file = document.getElementById('file'); file.files = data.files; await file.onchange(); \
             return document.getElementById('alert').textContent; }})()"
        ))
        .unwrap();
    assert_eq!(opened, format!("the trace ends in the middle of a record, at byte {length:#x}"));
    assert_eq!(number(&mut browser, "explorer.wasm.operation()"), 1);
    assert_eq!(browser.take_problems(), [""; 0]);
}

/// Factor three of what was measured: a slow machine is no mistake, a hundred milliseconds are.
#[test]
fn a_long_trace_is_scrubbed() {
    let trace = trace(200_000);
    let Some((mut browser, ..)) = open(&trace) else { return };
    let times = browser
        .evaluate(
            "(() => { const total = explorer.wasm.total(), bar = document.getElementById('time'), times = []; \
             for (let n = 0; n < 200; n++) { const begun = performance.now(); \
               explorer.wasm.seek((n * 7919) % 200 * total / 200); explorer.wasm.draw(); times.push(performance.now() - begun); } \
             return times.sort((a, b) => a - b); })()",
        )
        .unwrap();
    let times: Vec<f64> = times.as_array().unwrap().iter().map(|time| time.as_f64().unwrap()).collect();
    writeln!(
        io::stdout(),
        "scrubbing: median {:.1} ms, 95 % {:.1} ms, longest {:.1} ms",
        times[100],
        times[190],
        times[199]
    )
    .unwrap();
    assert_eq!(times.len(), 200);
    // What is shown at the end is what a replay from the beginning shows.
    let moment = number(&mut browser, "explorer.wasm.operation()");
    let mut world = World::open(trace, 1 << 24).unwrap();
    world.seek(moment).unwrap();
    assert_eq!(text_of(&mut browser, "hash()"), format!("{:#018x}", world.hash()));
}
