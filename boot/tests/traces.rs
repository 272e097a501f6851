//! What a kernel records, the host does again: to the kernel's own hash.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

fn build() {
    let build = ["build", "-q", "-p", "kernel", "--target", "x86_64-unknown-none"];
    assert!(Command::new(env!("CARGO")).args(build).status().unwrap().success());
}

/// Runs commands on a machine with this many CPUs, and records them.
fn record(trace: &Path, options: &[&str], commands: &str) {
    let run = Command::new(env!("CARGO_BIN_EXE_boot"))
        .args(["run", "--cmd", commands, "--trace"])
        .arg(trace)
        .args(options)
        .output()
        .unwrap();
    assert!(run.status.success(), "{}{}", text(&run.stdout), text(&run.stderr));
}

fn replay(trace: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_boot")).arg("replay").arg(trace).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_kernels_trace_is_replayed_to_its_own_hash() {
    build();
    let directory = tempfile::tempdir().unwrap();
    let commands = "alloc 3; alloc 10; alloc_exact 300; kmalloc 5000 20; kmalloc 100 700; kmalloc 5000000; \
                    kmalloc 30000; buddyinfo; slabtop; drain; alloc 4 DMA; kfree all; \
                    shrink; stress 1; validate; lockdep";
    for options in
        [&["--smp", "1"][..], &["--smp", "4"], &["--smp", "4", "--firmware", "uefi"], &["--smp", "4", "--parallel"]]
    {
        let trace = directory.path().join("trace");
        // With one CPU there are no stacks of others, and what is mapped first has this address.
        let first =
            if options == ["--smp", "1"] { "kmalloc 5000000; krealloc 0xffffd00000000000 9000000; " } else { "" };
        record(&trace, options, &[first, commands].concat());
        let replayed = replay(&trace);
        let (out, error) = (text(&replayed.stdout), text(&replayed.stderr));
        assert!(replayed.status.success(), "{options:?}: {error}");
        let operations: u64 = out.split(' ').next().unwrap().parse().unwrap();
        let (_, on_heap) = out.split_once("replayed, ").unwrap();
        let on_heap: u64 = on_heap.split(' ').next().unwrap().parse().unwrap();
        assert!(operations > 1000 && on_heap > 1000, "{options:?}: {out}");
        assert!(out.contains("every result and every hash is the same"), "{options:?}: {out}");
    }
}

#[test]
fn each_operation_is_listed_with_what_asked_for_it() {
    build();
    let directory = tempfile::tempdir().unwrap();
    let trace = directory.path().join("trace");
    record(&trace, &["--mem", "64M"], "alloc 6 MOVABLE; kmalloc 7000; kmalloc 5000000");
    let list = Command::new(env!("CARGO_BIN_EXE_boot")).args(["replay", "--list"]).arg(&trace).output().unwrap();
    assert!(list.status.success(), "{}", text(&list.stderr));
    let list = text(&list.stdout);
    let asked_by = |call: &str, place: &str| {
        let is_it = |line: &&str| line.contains(call) && line.contains(place);
        assert!(list.lines().any(|line| is_it(&line)), "{call} by {place}:\n{list}");
    };
    asked_by("Allocate { order: Order(6), ", "kernel/src/shell/");
    asked_by("Heap(Allocate { ", "kernel/src/shell/");
    // What is mapped is asked for page by page.
    asked_by("Allocate { order: Order(9), ", "kernel/src/memory/vmalloc/pages.rs:");
    // What the crate asks for on behalf of others says by itself nothing.
    assert!(!list.contains("kernel/mm/"), "{list}");
}

#[test]
fn a_trace_that_was_changed_is_refused_where_it_was() {
    build();
    let directory = tempfile::tempdir().unwrap();
    let trace = directory.path().join("trace");
    record(&trace, &["--mem", "64M"], "alloc 3; alloc 0; buddyinfo");
    let whole = fs::read(&trace).unwrap();
    fs::write(&trace, &whole[..whole.len() - 3]).unwrap();
    let cut = replay(&trace);
    assert!(cut.status.success(), "{}", text(&cut.stderr));
    // The last record is a hash, of nine bytes.
    let said = format!("the trace ends there, at byte {:#x}, in the middle of a record", whole.len() - 9);
    assert!(text(&cut.stdout).contains(&said), "{}", text(&cut.stdout));
    for (changed, complaint) in [
        (&b"\x7fELF, and not a trace"[..], "this is no trace of Bifolio, at byte 0x0".to_owned()),
        (
            &[&whole[..whole.len() - 1], &[whole[whole.len() - 1] ^ 1]].concat()[..],
            "the state before it has the hash".to_owned(),
        ),
    ] {
        fs::write(&trace, changed).unwrap();
        let replayed = replay(&trace);
        assert!(!replayed.status.success());
        assert!(text(&replayed.stderr).contains(&complaint), "{}", text(&replayed.stderr));
    }
}
