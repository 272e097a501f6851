//! C's family, called by a program that looks closely: alone, from threads, across forks, with mistakes.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::OnceLock;

use programs::preload;

/// The library, built once.
fn library() -> &'static Path {
    static LIBRARY: OnceLock<std::path::PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let allocator = preload::bifolio().unwrap_or_else(|error| panic!("{error:#}"));
        allocator.library.expect("ours is a library")
    })
}

fn subject(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_subject"));
    command.args(arguments).env("LD_PRELOAD", library()).output().expect("the program is there")
}

/// Runs a part of the program, which must end well and say so.
fn succeeds(part: &str, says: &str) {
    let output = subject(&[part]);
    let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{part}: {}\n{text}{errors}", output.status);
    assert_eq!(text, format!("{says}\n"), "{errors}");
}

#[test]
fn every_function_does_what_the_manual_says() {
    succeeds("family", "the family does what it should");
}

#[test]
fn threads_share_objects_and_come_and_go() {
    succeeds("threads", "threads do what they should");
}

#[test]
fn forks_are_survived_in_the_middle_of_everything() {
    succeeds("forks", "forks do what they should");
}

#[test]
fn what_is_freed_goes_back_to_the_system() {
    succeeds("memory", "memory is what it should be");
}

#[test]
fn a_process_that_may_not_have_much_gets_what_there_is() {
    succeeds("limit", "a process with a limit gets what there is");
}

/// Runs a part of the program in a process that never had more address space than so many KiB.
fn succeeds_within(kib: u32, part: &str, says: &str) {
    let mut command = Command::new("sh");
    let script = format!("ulimit -v {kib}; LD_PRELOAD=\"$2\" exec \"$1\" {part}");
    command.args(["-c", &script, "sh", env!("CARGO_BIN_EXE_subject")]).arg(library());
    let output = command.output().expect("there is a shell");
    let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{part}: {}\n{text}{errors}", output.status);
    assert_eq!(text, format!("{says}\n"), "{errors}");
}

#[test]
fn a_process_that_begins_with_little_gets_what_there_is() {
    succeeds_within(60_000, "little", "a small process gets what there is");
    succeeds_within(1_000_000, "some", "large objects get what there is");
}

#[test]
fn memory_of_large_objects_is_used_again_and_goes_back() {
    succeeds("large", "large objects use memory again");
}

/// Makes a mistake, which must end the program as `abort` does, with a line that contains this.
fn is_noticed(mistake: &str, line: &str) {
    let output = subject(&["mistake", mistake]);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.signal(), Some(6), "{mistake}: {}, {errors}", output.status);
    assert!(errors.starts_with("bifolio malloc: bad free of 0x") && errors.contains(line), "{mistake}: {errors}");
    assert_eq!(errors.lines().count(), 1, "{mistake}: {errors}");
}

#[test]
fn double_frees_are_named_with_cache_and_slot() {
    is_noticed("twice", "of kmalloc-96 is free already (double free)");
    is_noticed("twice-elsewhere", "of kmalloc-96 is free already (double free)");
    is_noticed("realloc-freed", "of kmalloc-512 is free already (double free)");
    is_noticed("usable-freed", "of kmalloc-512 is free already (double free)");
    is_noticed("twice-large", "no object of this heap");
    is_noticed("twice-mapped", "no object of this heap");
}

#[test]
fn pointers_into_objects_are_named_with_the_offset() {
    is_noticed("inside", ": 16 bytes inside slot 0 of kmalloc-208");
    is_noticed("inside-large", ": 4096 bytes inside slot 0 of kmalloc-large");
    is_noticed("inside-mapped", ": 8192 bytes inside slot 0 of kmalloc-large");
}

#[test]
fn what_was_never_allocated_is_not_freed() {
    for mistake in ["static", "stack", "nowhere", "kernel", "mapping"] {
        is_noticed(mistake, "no object of this heap");
    }
}

#[test]
fn a_size_that_is_too_large_is_noticed() {
    is_noticed("too-much-sized", "1000 bytes aligned to 1 given for an object of 112");
}
