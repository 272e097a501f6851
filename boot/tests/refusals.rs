//! What cannot be had is refused at once, in the words in which it was asked for: nothing is booted for it.

use std::io::{self, Write};
use std::process::{Command, Output, Stdio};

/// The host program without any variable of this process's but these.
fn boot(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_boot"));
    command.args(arguments).env_clear().envs(variables.iter().copied()).stdin(Stdio::null());
    // A machine that boots all the same does not.
    command.env("QEMU", "/no/such/qemu").output().unwrap()
}

#[track_caller]
fn assert_refused(output: &Output, status: i32, refusal: &str) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), said.trim_end()), (Some(status), format!("error: {refusal}").as_str()));
}

/// By each variable and value what is said of it.
const BAD: &[(&str, &str, &str)] = &[
    ("MEM", "25000K", "must be whole MiB"),
    ("MEM", "512", "must be a whole number with a unit, K, M, G or T, such as 512M or 6G"),
    ("MEM", "5T", "too much; 4T is the most"),
    ("SMP", "65", "must be a number of CPUs from 1 to 64"),
    ("FIRMWARE", "efi", "must be bios or uefi"),
    ("APIC", "apic", "must be auto, xapic or x2apic"),
    ("PARALLEL", "2", "must be 1 or 0"),
    ("DISPLAY_WINDOW", "yes", "must be 1 or 0"),
    ("GDB", "on", "must be 1 or 0"),
    ("GDB_PORT", "0", "must be a port, 1 to 65535"),
    ("TIMEOUT", "1.5", "must be a whole number of seconds, at least 1"),
    ("QEMU_ARGS", "-name 'x", "a quote is not closed, or a backslash has nothing to quote"),
];

#[test]
fn a_variable_is_named_as_make_was_given_it() {
    for (name, value, reason) in BAD {
        let variable = format!("BIFOLIO_{name}");
        let by_make = boot(&["run"], &[(&variable, value), ("MAKELEVEL", "1")]);
        assert_refused(&by_make, 2, &format!("{name}={value}: {reason}"));
        let by_hand = boot(&["run"], &[(&variable, value)]);
        assert_refused(&by_hand, 2, &format!("{variable}={value}: {reason}"));
    }
    assert_refused(&boot(&["suite"], &[("BIFOLIO_QUICK", "2"), ("MAKELEVEL", "1")]), 2, "QUICK=2: must be 1 or 0");
}

#[test]
fn an_option_is_named_as_one_and_counts_for_more_than_a_variable() {
    let output = boot(&["run", "--mem", "25000K"], &[("BIFOLIO_MEM", "64M"), ("MAKELEVEL", "1")]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.starts_with("error: invalid value '25000K' for '--mem <SIZE>': must be whole MiB"), "{said}");
    let output = boot(&["run", "--mem", "19M"], &[("BIFOLIO_MEM", "bad")]);
    assert_refused(&output, 1, "--mem=19M: too little to boot; 20M is the least with --firmware=bios");
}

#[test]
fn too_little_memory_for_the_firmware_is_refused() {
    let machine = [("BIFOLIO_MEM", "43M"), ("BIFOLIO_FIRMWARE", "uefi"), ("MAKELEVEL", "1")];
    let refusal = "MEM=43M: too little to boot; 44M is the least with FIRMWARE=uefi";
    for arguments in [&["run"][..], &["stress"], &["runner", "target/debug/deps/none"]] {
        assert_refused(&boot(arguments, &machine), 1, refusal);
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_window_without_a_display_is_refused() {
    let output = boot(&["run"], &[("BIFOLIO_DISPLAY_WINDOW", "1"), ("MAKELEVEL", "1"), ("DISPLAY", "")]);
    let reason = "there is no display here (neither DISPLAY nor WAYLAND_DISPLAY is set)";
    assert_refused(&output, 1, &format!("DISPLAY_WINDOW=1: {reason}"));
}

/// What make's recipes find in their environment of these variables.
fn handed_over(variables: &[&str]) -> String {
    let mut make = Command::new("make");
    make.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).args(["-s", "--eval", "show: ; @env", "show"]);
    let names = BAD.iter().flat_map(|(name, ..)| [name.to_string(), format!("BIFOLIO_{name}")]);
    for name in names {
        make.env_remove(name);
    }
    let output = make.args(variables).output().unwrap();
    let environment = String::from_utf8(output.stdout).unwrap();
    let mut own: Vec<&str> = environment.lines().filter(|line| line.starts_with("BIFOLIO_")).collect();
    own.sort_unstable();
    own.join("\n")
}

#[test]
fn make_hands_values_over_as_they_are() {
    if Command::new("make").arg("--version").stdout(Stdio::null()).status().is_err() {
        // Past the test harness, which keeps what a test prints that passes.
        let _ = io::stderr().write_all(b"skipped: what make hands over, which is not on this host\n");
        return;
    }
    let commands = r#"CMD=echo "it's $HOME; $(shell exit 1) # `x`""#;
    assert_eq!(handed_over(&[commands, "MEM=25000K", "SMP="]), format!("BIFOLIO_{commands}\nBIFOLIO_MEM=25000K"));
    assert_eq!(handed_over(&[]), "");
}
