//! What is kept of the page: pictures, and links to moments.

use super::{number, open, page, text_of, trace};
use boot::browser::Browser;
use serde_json::Value;
use std::fs;

/// A picture that is saved: as an image of its own, and if it is an SVG, its text.
fn saved(browser: &mut Browser, button: &str) -> (Value, String) {
    let saved = browser
        .evaluate(&format!(
            "(async () => {{ const make = URL.createObjectURL; \
             const blob = await new Promise((done) => {{ URL.createObjectURL = (blob) => {{ done(blob); return make.call(URL, blob); }}; \
               document.getElementById('{button}').click(); }}); \
             URL.createObjectURL = make; const image = new Image(); image.src = make.call(URL, blob); await image.decode(); \
             const canvas = document.createElement('canvas'), {{ naturalWidth: width, naturalHeight: height }} = image; \
             Object.assign(canvas, {{ width, height }}); const context = canvas.getContext('2d'); context.drawImage(image, 0, 0); \
             const seen = JSON.parse((explorer.wasm.look(explorer.wasm.touched()), explorer.text())).at, map = document.getElementById('map'); \
             const pixel = [...context.getImageData(seen[0] + seen[2] - 8, seen[1] + seen[3] - 8, 1, 1).data].slice(0, 3); \
             return [[blob.type, width === map.width && height === map.height, pixel], await blob.text()]; }})()"
        ))
        .unwrap();
    (saved[0].clone(), saved[1].as_str().unwrap().to_owned())
}

#[test]
fn a_picture_can_be_kept_with_what_is_written_on_it() {
    let Some((mut browser, ..)) = open(&[]) else { return };
    browser.evaluate("explorer.run('alloc 4 MOVABLE')").unwrap();
    let pfn = number(&mut browser, "explorer.wasm.touched()");
    let (_, whole) = saved(&mut browser, "save-svg");
    assert!(["<title>64 MiB", ">zone DMA · 16 MiB", ">zone DMA32 · 48 MiB"].iter().all(|part| whole.contains(part)));
    // Blocks have names where frames are large enough for them.
    browser
        .evaluate(
            "for (let n = 0; n < 20 && !explorer.state.labels.blocks.length; n++) \
             document.getElementById('map').dispatchEvent(new KeyboardEvent('keydown', { key: '+' }))",
        )
        .unwrap();
    let movable = [0x00, 0x72, 0xb2];
    let (png, _) = saved(&mut browser, "save-png");
    assert_eq!(png, serde_json::json!(["image/png", true, movable]));
    let (svg, near) = saved(&mut browser, "save-svg");
    assert_eq!(svg, serde_json::json!(["image/svg+xml", true, movable]));
    assert!(near.contains(&format!(">{pfn:#x}+4</text>")), "{}", near.rsplit("pixelated").next().unwrap());
    assert_eq!(browser.take_problems(), [""; 0]);
}

/// The part of the page's address that names a moment, once the button for it was pressed.
fn link(browser: &mut Browser) -> String {
    let hash = browser.evaluate("(document.getElementById('save-link').click(), location.hash)").unwrap();
    hash.as_str().unwrap().to_owned()
}

#[test]
fn a_moment_is_a_link_to_a_page_that_has_the_trace_or_to_any() {
    let trace = trace(500);
    let Some((mut browser, _directory, file)) = open(&trace) else { return };
    let seen = |browser: &mut Browser| {
        let hash = text_of(browser, "hash()");
        (hash, number(browser, "explorer.wasm.operation()"), number(browser, "explorer.state.cursor"))
    };
    let verified = "document.documentElement.dataset.verified !== undefined";
    browser.evaluate("explorer.seek(321)").unwrap();
    let (there, short) = (seen(&mut browser), link(&mut browser));
    assert!(short.len() < 40, "{short}");
    browser.evaluate("explorer.seek(0)").unwrap();
    browser.open(&file, &format!("?again{short}")).unwrap();
    browser.wait_for(verified).unwrap();
    assert_eq!(seen(&mut browser), there);
    // What is done in the page is in no trace that others have.
    browser
        .evaluate("explorer.run('alloc 3 MOVABLE; free all; cpu 2; alloc 1'), explorer.seek(explorer.wasm.total() - 1)")
        .unwrap();
    let (there, long) = (seen(&mut browser), link(&mut browser));
    assert!(there.1 > 321 && long.contains("&trace="), "{long}");
    let empty = file.with_file_name("empty.html");
    fs::write(&empty, boot::explorer::put_together(&fs::read(page::code()).unwrap(), &[])).unwrap();
    browser.open(&empty, &long).unwrap();
    browser.wait_for(verified).unwrap();
    assert_eq!(seen(&mut browser), there);
    // An address that is typed over another, and one that has lost its end.
    browser.evaluate(&format!("location.hash = '{short}'")).unwrap();
    browser.wait_for("explorer.wasm.operation() === 321").unwrap();
    browser.open(&empty, &format!("?again{}", &long[..long.len() - 8])).unwrap();
    let alert = browser.evaluate("document.getElementById('alert').textContent").unwrap();
    assert!(alert.as_str().unwrap().contains("the trace ends in the middle of a record"), "{alert}");
    assert_eq!(number(&mut browser, "explorer.wasm.total()"), 0);
    browser.open(&empty, "?once#trace=!").unwrap();
    let alert = browser.evaluate("document.getElementById('alert').textContent").unwrap();
    assert!(alert.as_str().unwrap().starts_with("The link is broken"), "{alert}");
    // Of what is too long, that is said.
    browser.evaluate("explorer.run('churn 40000 7')").unwrap();
    let before = browser.evaluate("location.hash").unwrap();
    assert_eq!(link(&mut browser), before.as_str().unwrap());
    let alert = browser.evaluate("document.getElementById('alert').textContent").unwrap();
    assert!(alert.as_str().unwrap().contains("too long for a link"), "{alert}");
    assert_eq!(browser.take_problems(), [""; 0]);
}
