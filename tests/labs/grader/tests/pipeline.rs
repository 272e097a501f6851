//! A learner's file from the file to its points: what is refused, what does not build, what panics.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use boot::browser::Browser;
use lab::build::Source;
use lab::class::Class;
use lab::score::Score;
use lab::trial::{self, Trust};
use lab_host::{Found, Shown};
use labs::lab::Lab;

#[path = "../../../../boot/tests/page/mod.rs"]
mod page;

fn solution(lab: u8) -> String {
    fs::read_to_string(lab::checkout().join(format!("tests/labs/solutions/lab{lab}.rs"))).unwrap()
}

fn score(lab: u8, file: &Path, trust: Trust) -> Score {
    let source = Source { file, lab, seed: 1 };
    trial::run(Lab::find(lab).unwrap(), source, trust, &mut |_| {}).unwrap()
}

/// A file in a folder that is gone with the test.
fn file(folder: &tempfile::TempDir, name: &str, text: &str) -> PathBuf {
    let path = folder.path().join(name);
    fs::write(&path, text).unwrap();
    path
}

/// What the kernel's shell says to commands, with page frames from a file.
fn shell(lab: u8, file: &Path, commands: &str) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lab"));
    command.args(["shell", "--lab", &lab.to_string(), "--file"]).arg(file).env("BIFOLIO_CMD", commands);
    let output = command.output().unwrap();
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// One test, since all of them build the same packages, each with another file.
#[test]
fn files_are_worth_what_they_do() {
    let folder = tempfile::tempdir().unwrap();
    what_cannot_be_tried_is_shown(&folder);
    shells_work_on_a_file(&folder);
    a_class_is_graded(&folder);
}

fn what_cannot_be_tried_is_shown(folder: &tempfile::TempDir) {
    // What is refused is not built.
    let bad = score(1, &file(folder, "bad.rs", "use std::fs;\nfn f() { unsafe {} }\n"), Trust::Own);
    assert_eq!(bad.total(), 0);
    let shown = bad.to_string();
    assert!(shown.contains("line 1: `std` is refused") && shown.contains("line 2: `unsafe` is refused"), "{shown}");

    // What does not build is shown as the compiler has it.
    let broken = solution(1).replace("Ok(frame)", "Ok(\"frame\")");
    let broken = score(1, &file(folder, "broken.rs", &broken), Trust::Own);
    let shown = broken.to_string();
    assert!(broken.total() == 0 && shown.contains("mismatched types") && shown.contains("broken.rs:"), "{shown}");
    // So is what is no piece.
    let none = score(1, &file(folder, "none.rs", "pub struct Piece;\npub fn first_test(_: Piece) {}\n"), Trust::Own);
    assert!(none.total() == 0 && none.remark().contains("Frames"), "{}", none.remark());
}

fn shells_work_on_a_file(folder: &tempfile::TempDir) {
    // The kernel's shell says what it cannot.
    let commands = "alloc 3; alloc 0; buddyinfo; kmalloc 100; free all; validate; free 1";
    let said = shell(1, &file(folder, "mine.rs", &solution(1)), commands);
    for part in [
        "error: there is nothing as large here",
        "order 0, 4 kB: free 0x",
        "Node 0, zone      lab   4056      0 ",
        "error: the allocator at work here, a learner's, does not serve that",
        "freed 1 block, 1 frame",
        "the piece counts as many free blocks as there are",
        "error: that is not memory of this allocator",
    ] {
        assert!(said.contains(part), "{part} in {said}");
    }

    // So it does where what is handed out is something else.
    let commands = "kmalloc 100; kmalloc 100; kfree 0x1; alloc 0; map; kfree all; validate; churn 500; validate";
    let said = shell(4, &file(folder, "slabs.rs", &solution(4)), commands);
    for part in [
        "100 bytes: kfree 0x",
        "error: that is not memory of this allocator",
        "error: the allocator at work here, a learner's, does not serve that",
        "5#######5#######|.......",
        "freed 2 objects",
        "the piece holds the frames that have an object, and no others",
    ] {
        assert!(said.contains(part), "{part} in {said}");
    }
    let commands = "alloc; alloc 1; map; free all 2; drain; map; kmalloc 8";
    let said = shell(5, &file(folder, "caches.rs", &solution(5)), commands);
    for part in [
        "a frame of CPU 1's: free 0x",
        "  0.......1.......",
        "freed 2 frames on CPU 2",
        "CPU 0 was drained",
        "  ........\n",
    ] {
        assert!(said.replace('\r', "").contains(part), "{part} in {said}");
    }
}

/// Strangers' files, in a sandbox or in QEMU.
fn a_class_is_graded(folder: &tempfile::TempDir) {
    let handed_in = lab::checkout().join("tests/labs/grader/tests/handed-in");
    let mut table = Vec::new();
    let sheets = folder.path().join("sheets");
    let class = Class::find(Lab::find(2).unwrap(), &handed_in).unwrap();
    class.grade(1, &mut table, &sheets, &mut |_| {}).unwrap();
    // Each author is shown what `make lab` says, with the picture.
    let sheet = fs::read_to_string(sheets.join("grace.txt")).unwrap();
    assert!(sheet.contains("Total: 55 of 100 points"), "{sheet}");
    // There is one where it was tried on the host.
    let is_drawn = sheet.contains("a column is a frame");
    assert_eq!(is_drawn, lab::sandbox::is_there(), "{sheet}");
    let expected = fs::read_to_string(handed_in.join("grades.csv")).unwrap();
    assert_eq!(without_instructions(&String::from_utf8(table).unwrap()), expected);
}

/// A table without the column of the instructions that an operation takes, which is another one with each compiler.
fn without_instructions(table: &str) -> String {
    let lines = table.lines().map(|line| {
        // What stands before it has no comma but in the head, and the remark behind it may have some.
        let column = Score::columns(Lab::find(2).unwrap()).len() - 1;
        if line.starts_with("name,") {
            return line.replace(",instructions,", ",");
        }
        let mut cells: Vec<&str> = line.splitn(column + 2, ',').collect();
        cells.remove(column);
        cells.join(",")
    });
    lines.map(|line| line + "\n").collect()
}

/// A browser of that width with the page of what was found, and the folder that the page is in.
fn opened(program: &Path, found: &Found, width: u32) -> (Browser, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let data = lab::page::data(Lab::find(2).unwrap(), "what is freed is merged", found);
    let file = file(&folder, "lab.html", &boot::explorer::with_lab(&fs::read(page::code()).unwrap(), &data));
    let mut browser = Browser::start(program).unwrap();
    browser.set(width, 900, false).unwrap();
    browser.open(&file, "").unwrap();
    (browser, folder)
}

/// In a real browser: a page of the explorer's that begins with the last step, goes back and on, by time as well, and complains of nothing.
#[test]
fn a_mistake_is_a_page_of_the_explorers() {
    let Some(program) = page::chromium() else { return };
    let step = |said: &str, cells: &str, marks: &str, script: &str| Shown {
        said: said.into(),
        cells: cells.into(),
        marks: marks.into(),
        frame: Some(0x1000),
        script: script.into(),
    };
    let what = "frame 0x1000 was handed out, & </script> somebody has it already";
    let found = Found {
        what: what.into(),
        picture: "      from frame 0x1000, a column is a frame\n".into(),
        steps: vec![
            step("  1 allocate order 0: 0x1002", "|.0.|...|.......", "  ^", "alloc_range 0x1002 1 MOVABLE"),
            step("  2 allocate order 1: 0x1000", "1#0.|...|.......", "^^", "alloc_range 0x1000 2 MOVABLE"),
            step("  3 allocate order 2: 0x1000", "1#0.|...|.......", "^^^^", ""),
        ],
        map: Lab::find(2).unwrap().layouts[0].map(),
        operations: 3,
    };
    let (mut browser, _folder) = opened(&program, &found, 1280);
    let shows = |browser: &mut Browser, step: u64, operation: u64| {
        let seen = "(() => { const by = (id) => document.getElementById(id); \
            return [[...by('lab-steps').querySelectorAll('button')].findIndex((one) => one.ariaCurrent) + 1, explorer.wasm.operation(), \
            !by('lab-what').hidden, by('lab-cells').querySelectorAll('rect.about').length]; })()";
        let columns = [0, 1, 2, 4][step as usize];
        let expected = serde_json::json!([step, operation, step == 3, columns]);
        assert_eq!(browser.evaluate(seen).unwrap(), expected);
    };
    shows(&mut browser, 3, 2);
    let text = |browser: &mut Browser, id: &str| {
        browser.evaluate(&format!("document.getElementById('{id}').textContent")).unwrap()
    };
    assert_eq!(text(&mut browser, "lab-title"), "Lab 2: buddies");
    assert_eq!(text(&mut browser, "told"), format!("Your allocator: allocate order 2: 0x1000. But {what}"));
    assert_eq!(
        text(&mut browser, "frame").as_str().unwrap().split(", order 1").count(),
        2,
        "who has the frame is said"
    );
    for (button, step, operation) in
        [("lab-back", 2, 2), ("lab-back", 1, 1), ("lab-on", 2, 2), ("first", 1, 0), ("on", 1, 1), ("last", 3, 2)]
    {
        browser.evaluate(&format!("document.getElementById('{button}').click()")).unwrap();
        shows(&mut browser, step, operation);
    }
    assert_eq!(browser.take_problems(), [""; 0]);
}

/// The step at hand, and what it is about, are seen where there is room for neither all steps nor all columns.
#[test]
fn a_narrow_page_shows_what_the_step_is_about() {
    let Some(program) = page::chromium() else { return };
    let step = |nth: usize| Shown {
        said: format!("{nth:3} allocate order 0: {:#x}", 0x1000 + nth),
        cells: ["0".repeat(nth), ".".repeat(80 - nth)].concat(),
        marks: [" ".repeat(nth - 1), "^".into()].concat(),
        frame: None,
        script: String::new(),
    };
    let map = Lab::find(2).unwrap().layouts[0].map();
    let picture = "from frame 0x1000, a column is a frame\n".into();
    let found = Found { what: "it is wrong".into(), picture, steps: (1..=60).map(step).collect(), map, operations: 60 };
    let (mut browser, _folder) = opened(&program, &found, 400);
    let sees = "(() => { const by = (id) => document.getElementById(id); const seen = (box, part) => { \
        const [outer, inner] = [box, part].map((one) => one.getBoundingClientRect()); \
        return inner.left >= outer.left - 1 && inner.right <= outer.right + 1 && inner.top >= outer.top - 1 && inner.bottom <= outer.bottom + 1; }; \
        return [seen(by('lab-steps'), document.querySelector('[aria-current]')), \
        seen(by('lab-cells').parentElement, document.querySelector('rect.about')), scrollY]; })()";
    for button in ["lab-back", "first", "lab-on", "last"] {
        assert_eq!(browser.evaluate(sees).unwrap(), serde_json::json!([true, true, 0]), "before {button}");
        browser.evaluate(&format!("document.getElementById('{button}').click()")).unwrap();
    }
    assert_eq!(browser.evaluate(sees).unwrap(), serde_json::json!([true, true, 0]));
    assert_eq!(browser.take_problems(), [""; 0]);
}

#[test]
fn each_lab_has_a_file_to_fill_in_and_a_hundred_points() {
    for lab in labs::lab::LABS {
        assert!(lab::piece(lab.number).is_file(), "lab {}", lab.number);
        assert_eq!(lab.points(), 100, "lab {}", lab.number);
    }
}
