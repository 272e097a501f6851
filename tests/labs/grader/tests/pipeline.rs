//! A learner's file from the file to its points: what is refused, what does not build, what panics.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use lab::build::Source;
use lab::class;
use lab::score::Score;
use lab::trial::{self, Trust};
use labs::lab::Lab;

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

    // What is refused is not built.
    let bad = score(1, &file(&folder, "bad.rs", "use std::fs;\nfn f() { unsafe {} }\n"), Trust::Own);
    assert_eq!(bad.total(), 0);
    let shown = bad.to_string();
    assert!(shown.contains("line 1: `std` is refused") && shown.contains("line 2: `unsafe` is refused"), "{shown}");

    // What does not build is shown as the compiler has it.
    let broken = solution(1).replace("Ok(frame)", "Ok(\"frame\")");
    let broken = score(1, &file(&folder, "broken.rs", &broken), Trust::Own);
    let shown = broken.to_string();
    assert!(broken.total() == 0 && shown.contains("mismatched types") && shown.contains("broken.rs:"), "{shown}");
    // So is what is no piece.
    let none = score(1, &file(&folder, "none.rs", "pub struct Piece;\npub fn first_test(_: Piece) {}\n"), Trust::Own);
    assert!(none.total() == 0 && none.remark().contains("Frames"), "{}", none.remark());

    // The kernel's shell works on it, and says what it cannot.
    let commands = "alloc 3; alloc 0; buddyinfo; kmalloc 100; free all; validate; free 1";
    let said = shell(1, &file(&folder, "mine.rs", &solution(1)), commands);
    for part in [
        "error: there is nothing as large here",
        "order 0, 4 kB: free 0x",
        "Node 0, zone      lab   4056      0 ",
        "error: the allocator at work here, a learner's, does not serve that",
        "freed 1 blocks, 1 frames",
        "the piece counts as many free blocks as there are",
        "error: that is not memory of this allocator",
    ] {
        assert!(said.contains(part), "{part} in {said}");
    }

    // So it does where what is handed out is something else.
    let commands = "kmalloc 100; kmalloc 100; kfree 0x1; alloc 0; map; kfree all; validate; churn 500; validate";
    let said = shell(4, &file(&folder, "slabs.rs", &solution(4)), commands);
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
    let said = shell(5, &file(&folder, "caches.rs", &solution(5)), commands);
    for part in [
        "a frame of CPU 1's: free 0x",
        "  0.......1.......",
        "freed 2 frames on CPU 2",
        "CPU 0 was drained",
        "  ........\n",
    ] {
        assert!(said.replace('\r', "").contains(part), "{part} in {said}");
    }

    // A class: a stranger's files, in a sandbox or in QEMU.
    fs::create_dir(folder.path().join("class")).unwrap();
    fs::create_dir(folder.path().join("class/ada")).unwrap();
    file(&folder, "class/ada/lab1.rs", &solution(1));
    let double = "        if *self.word(frame) != IN_USE {\n            return Err(BadFree::AlreadyFree);\n        }\n";
    let worse = solution(1);
    assert!(worse.contains(double));
    file(&folder, "class/grace.rs", &worse.replace(double, ""));
    let lab = Lab::find(1).unwrap();
    let mut table = Vec::new();
    class::grade(lab, &folder.path().join("class"), 1, &mut table, &mut |_| {}).unwrap();
    let table = String::from_utf8(table).unwrap();
    let rows: Vec<&str> = table.lines().collect();
    assert_eq!(rows.len(), 3, "{table}");
    assert!(rows[0].starts_with("name,it builds,\"each frame is handed out, and once\","), "{table}");
    assert!(rows[1].starts_with("ada,5,20,15,5,5,10,5,5,10,10,5,5,100,"), "{table}");
    // Ten points for double frees and five for bad frees in a kernel are lost, and nothing else.
    assert!(rows[2].starts_with("grace,5,20,15,5,5,0,5,5,10,10,0,5,85,"), "{table}");
    assert!(rows[2].contains("a double free is refused: the free of order 0 at "), "{table}");
}

#[test]
fn each_lab_has_a_file_to_fill_in_and_a_hundred_points() {
    for lab in labs::lab::LABS {
        assert!(lab::piece(lab.number).is_file(), "lab {}", lab.number);
        assert_eq!(lab.points(), 100, "lab {}", lab.number);
    }
}
