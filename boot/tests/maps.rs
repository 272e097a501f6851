//! What the kernel says of memory maps that cannot be true. That it works with them, the booted tests of that name see.

use std::process::Command;

/// What a test of `bad_maps` prints, which passes.
fn console(test: &str) -> String {
    let arguments = ["test", "-q", "-p", "booted", "--target", "x86_64-unknown-none", "--test", "bad_maps", "--"];
    let output = Command::new(env!("CARGO")).args(arguments).args(["--nocapture", test]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains(" 1 passed; 0 failed"), "{text}");
    text
}

fn warnings(text: &str) -> Vec<&str> {
    text.lines().filter(|line| line.starts_with("WARN")).collect()
}

#[test]
fn an_entry_that_cannot_be_true_is_named_in_the_log() {
    let text = console("a_reserved_entry_that_ends_where_the_address_space_does");
    let warning = "WARN  memory map: the reserved entry 0xfd00000000..0x0 wraps around the address space: taken as reserved \
                   0xfd00000000..0x10000000000000";
    assert_eq!(warnings(&text), [warning], "{text}");
}

#[test]
fn a_log_of_ten_thousand_entries_that_cannot_be_true_names_a_few_and_counts_the_rest() {
    let text = console("more_entries_that_cannot_be_true_than_anybody_reads");
    let warnings = warnings(&text);
    assert_eq!(warnings.len(), 17, "{text}");
    assert!(warnings[16].starts_with("WARN  memory map: and 9984 more of 10"), "{text}");
}

#[test]
fn a_map_of_which_nothing_is_usable_is_a_panic_that_says_so() {
    let text = console("no_usable_memory_at_all");
    assert!(text.contains("PANIC memory map: no usable frame"), "{text}");
}
