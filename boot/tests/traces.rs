//! What a kernel records, the host does again: to the kernel's own hash.

use bifolio::allocator::Call;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use trace::{Encoder, Header, Record, write_header};

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

/// A trace of the same operations, each of which has returned what `tell` makes of it and of what it returned, unless it is within another.
fn retold(trace: &[u8], mut tell: impl FnMut(Call, Option<u64>) -> Option<u64>) -> Vec<u8> {
    let (header, mut place) = Header::read(trace).unwrap();
    let (mut encoder, mut bytes, mut opened) = (Encoder::new(), Vec::new(), Vec::new());
    let map: Vec<_> = header.map().collect();
    write_header(&mut bytes, header.cpus, map.into_iter());
    while let Some(record) = place.next(trace).unwrap() {
        let (call, returned) = match record {
            Record::Operation { cpu, call, returned } => {
                encoder.begin(&mut bytes, cpu, call);
                (call, returned)
            }
            Record::Opened { cpu, call } => {
                opened.push(call);
                encoder.begin(&mut bytes, cpu, call);
                continue;
            }
            Record::Closed(returned) => (opened.pop().unwrap(), returned),
            Record::Hash(hash) => {
                encoder.hash(&mut bytes, hash);
                continue;
            }
            Record::Lost(records) => panic!("{records} records were lost"),
        };
        encoder.end(&mut bytes, if opened.is_empty() { tell(call, returned) } else { returned });
    }
    bytes
}

/// Runs a file of tests for the crate `replay`, and returns what they print.
fn run_tests(directory: &Path, tests: &str) -> Output {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let paths = ["bifolio = { path = \"ROOT/kernel/mm\" }", "replay = { path = \"ROOT/kernel/replay\" }"];
    let paths = paths.join("\n").replace("ROOT", root.to_str().unwrap());
    let manifest = format!(
        "[package]\nname = \"trial\"\nedition = \"2024\"\n[workspace]\n[lib]\npath = \"lib.rs\"\n[dependencies]\n{paths}\n"
    );
    fs::write(directory.join("Cargo.toml"), manifest).unwrap();
    fs::write(directory.join("lib.rs"), tests).unwrap();
    fs::copy(root.join("Cargo.lock"), directory.join("Cargo.lock")).unwrap();
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["test", "--quiet", "--offline", "--lib", "--target-dir", "target/minimised", "--manifest-path"]);
    cargo.arg(directory.join("Cargo.toml")).current_dir(root).env("RUSTFLAGS", "-D warnings").output().unwrap()
}

/// Changes what the last operation of such a kind has returned, in a trace, and replays that to see that it differs there. What it had
/// returned, and how the trace differs, in words.
fn tell_otherwise(trace: &Path, is_it: impl Fn(&Call) -> bool, other: Option<u64>) -> (Option<u64>, String) {
    let whole = fs::read(trace).unwrap();
    let mut given = Vec::new();
    retold(&whole, |call, returned| {
        given.extend(is_it(&call).then_some(returned));
        returned
    });
    let mut left = given.len();
    let told = retold(&whole, |call, returned| {
        left -= usize::from(is_it(&call));
        if left == 0 && is_it(&call) { other } else { returned }
    });
    fs::write(trace, told).unwrap();
    let words = |returned: Option<u64>| returned.map_or("a refusal".to_owned(), |number| format!("{number:#x}"));
    let last = given.pop().unwrap();
    let difference = format!("gave {}, not {}", words(last), words(other));
    let replayed = replay(trace);
    assert!(text(&replayed.stderr).contains(&difference), "{}", text(&replayed.stderr));
    (last, difference)
}

/// Has a trace made short. The test that is printed, and how many operations it has, and how many there were.
fn minimise(trace: &Path, difference: &str) -> (String, usize, usize) {
    let boot = Command::new(env!("CARGO_BIN_EXE_boot")).args(["replay", "--minimise"]).arg(trace).output().unwrap();
    assert!(boot.status.success(), "{}", text(&boot.stderr));
    let test = text(&boot.stdout);
    let first = test.lines().next().unwrap();
    assert!(first.contains(difference), "{first}");
    let (short, rest) = first.trim_start_matches("// ").split_once(" of ").unwrap();
    let (short, all) = (short.parse().unwrap(), rest.split(' ').next().unwrap().parse().unwrap());
    (test, short, all)
}

#[test]
fn what_is_not_as_a_trace_says_is_made_short_and_stays_the_same() {
    build();
    let directory = tempfile::tempdir().unwrap();
    let trace = directory.path().join("trace");
    let commands = "alloc 3; kmalloc 100 700; churn 1000; free all; alloc 6; alloc 6 MOVABLE; alloc 3";
    record(&trace, &["--mem", "64M"], commands);
    let allocates = |call: &Call| matches!(call, Call::Allocate { order, .. } if order.get() == 6);
    let other = 0x1500;
    let (last, difference) = tell_otherwise(&trace, allocates, Some(other));
    let (test, short, all) = minimise(&trace, &difference);
    // How far `churn` has come where memory is as it must be for that very block depends on the kernel's size.
    assert!(short * 20 <= all && all > 1000, "{test}");
    let run = run_tests(directory.path(), &test);
    let said = text(&run.stdout);
    let expected = format!("what the trace says\n  left: {last:?}\n right: {:?}", Some(other));
    assert!(!run.status.success() && said.contains(&expected), "{said}{}", text(&run.stderr));

    // What frees a block needs the one that allocates it, and nothing else.
    let frees = |call: &Call| matches!(call, Call::Free { order, .. } if order.get() == 6);
    let (_, difference) = tell_otherwise(&trace, frees, None);
    let (test, short, _) = minimise(&trace, &difference);
    assert!(short == 2 && test.contains("Call::Free { pfn: Pfn::new(given0), "), "{test}");
}
