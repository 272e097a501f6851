//! The first mistake as a page: the shortest sequence that shows it, step by step.
//!
//! It is a page of its own and not the explorer. The explorer has Bifolio do again what a trace says was *asked*, and draws what
//! comes of it; what a learner's allocator *answered* is something else, and often nothing that Bifolio's state could be.

use lab_host::Found;
use labs::lab::Lab;
use serde_json::json;

/// The page, with what is filled in as words in capitals.
const PAGE: &str = include_str!("page.html");

/// The page of a mistake that was drawn: one file, that needs no network.
pub fn page(lab: &Lab, exam: &str, found: &Found) -> String {
    let steps: Vec<_> =
        found.steps.iter().map(|step| json!({"said": step.said, "cells": step.cells, "marks": step.marks})).collect();
    // In a script, only this ends it.
    let data = json!(steps).to_string().replace("</", "<\\/");
    let head = found.picture.lines().next().unwrap_or_default().trim();
    let about =
        format!("\"{exam}\" went wrong. It takes {} operations, of which none can be left out.", found.operations);
    let parts = [
        ("TITLE", escaped(&format!("Lab {}: {}", lab.number, lab.title))),
        ("ABOUT", escaped(&about)),
        ("HEAD", escaped(head)),
        ("WHAT", escaped(&found.what)),
        ("DATA", data),
    ];
    parts.iter().fold(PAGE.to_owned(), |page, (word, text)| page.replace(word, text))
}

/// Text as it stands in HTML.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use boot::browser::Browser;
    use lab_host::Shown;
    use std::fs;
    use std::io::Write;

    fn found() -> Found {
        let step = |said: &str, cells: &str, marks: &str| Shown {
            said: said.into(),
            cells: cells.into(),
            marks: marks.into(),
        };
        Found {
            what: "frame 0x1000 was handed out, & </script> somebody has it already".into(),
            picture: "      from frame 0x1000, a column is a frame\n".into(),
            steps: vec![
                step("  1 allocate order 1: 0x1000", "1#|.|...|.......", ""),
                step("  2 allocate order 2: 0x1000 </script>", "1#|.|...|.......", "^^^^"),
            ],
            operations: 2,
        }
    }

    /// In a real browser: it begins with the last step, goes back and on by keys, and complains of nothing.
    #[test]
    fn the_page_shows_each_step() {
        let page = page(Lab::find(2).unwrap(), "what is freed is merged", &found());
        for text in [
            "Lab 2: buddies",
            "from frame 0x1000, a column is a frame",
            "&amp; &lt;/script&gt; somebody has it already",
        ] {
            assert!(page.contains(text), "{text} in {page}");
        }
        let Some(program) = boot::browser::find() else {
            // Not by `eprint`, which tests keep to themselves.
            let _ = std::io::stderr().write_all(b"skipped: a mistake's page in Chromium, which is not on this host\n");
            return;
        };
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("lab.html");
        fs::write(&file, page).unwrap();
        let mut browser = Browser::start(&program).unwrap();
        browser.open(&file, "").unwrap();
        let seen = "[document.getElementById('said').textContent, document.querySelectorAll('#cells rect').length, document.getElementById('wrong').hidden]";
        let last = json!(["2 allocate order 2: 0x1000 </script>", 16 + 4, false]);
        assert_eq!(browser.evaluate(seen).unwrap(), last);
        browser.press("ArrowLeft").unwrap();
        assert_eq!(browser.evaluate(seen).unwrap(), json!(["1 allocate order 1: 0x1000", 16, true]));
        browser.press("ArrowRight").unwrap();
        assert_eq!(browser.evaluate(seen).unwrap(), last);
        assert_eq!(browser.take_problems(), [""; 0]);
    }
}
