//! Machines that are not as the kernel would have them, and somebody at their console.

use boot::machine::Firmware;
use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, Seek, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// What `cpus` says where there is no MADT that can be believed.
const NONE_LISTED: &str = "1 CPU runs, and the firmware lists none (the kernel takes up to 64), ";

/// The kernel, built as `make run` would.
fn build() {
    let build = ["build", "-q", "-p", "kernel", "--target", "x86_64-unknown-none"];
    assert!(Command::new(env!("CARGO")).args(build).status().unwrap().success());
}

/// Boots the kernel on a machine of these arguments and with further options of QEMU's, and returns what
/// it says. `directory` is for what that takes.
fn boot(directory: &Path, arguments: &[&str], options: &str, commands: &str) -> String {
    build();
    let qemu = directory.join("qemu");
    fs::write(&qemu, format!("#!/bin/sh\nexec qemu-system-x86_64 \"$@\" {options}\n")).unwrap();
    fs::set_permissions(&qemu, Permissions::from_mode(0o755)).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_boot"))
        .arg("run")
        .args(arguments)
        .args(["--cmd", commands])
        .env("QEMU", &qemu)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    text
}

#[track_caller]
fn assert_says(text: &str, parts: &[&str]) {
    parts.iter().for_each(|part| assert!(text.contains(part), "{part} in {text}"));
}

#[test]
fn boot_parameters_do_what_they_say_and_those_that_are_wrong_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let parameters = "init_on_alloc=1 init_on_free=2 slab_debug=X,kmalloc-64 slab_debug=Z,kmalloc-8 nonsense";
    let text = boot(directory.path(), &["--append", parameters], "", "kmalloc 8 2; stress 1; validate");
    let parts = [
        "INFO  mem auto-init: heap alloc:on, heap free:off",
        "WARN  boot parameter init_on_free=2: neither 1 nor 0",
        "WARN  boot parameter slab_debug=X,kmalloc-64: its letters are Z, P, U, Q and R",
        "WARN  boot parameter nonsense: there is no such parameter",
        "every invariant holds",
    ];
    assert_says(&text, &parts);
    let places: Vec<u64> = text
        .lines()
        .filter_map(|line| u64::from_str_radix(line.strip_prefix("kmalloc-8, 8 bytes: kfree 0x")?, 16).ok())
        .collect();
    assert!(matches!(places[..], [first, second] if second - first > 8), "redzones lie between {places:x?}");
}

#[test]
fn without_acpi_tables_the_kernel_works_on_one_cpu_and_says_why() {
    let directory = tempfile::tempdir().unwrap();
    // Of an option that is given twice the parts add up. SeaBIOS would make tables of its own; UEFI makes none.
    let text = boot(
        directory.path(),
        &["--smp", "4", "--firmware", "uefi"],
        "-machine acpi=off",
        "cpus; alloc 3; kmalloc 100; validate",
    );
    let parts = ["WARN  one CPU: the ACPI tables have no usable MADT", NONE_LISTED, "every invariant holds"];
    assert_says(&text, &parts);
}

#[test]
fn without_a_local_apic_the_kernel_works_on_one_cpu_and_says_so() {
    let directory = tempfile::tempdir().unwrap();
    // Of two CPUs that are asked for the last counts.
    let text = boot(directory.path(), &[], "-cpu max,-apic", "cpus; alloc 3; stress 1; drain; validate");
    let parts = [
        "WARN  one CPU: it has no local APIC that can be used",
        "1 CPU runs",
        "the CPUs have no timers that could interrupt them: it goes without",
        "MiB at most; all is back and checked",
        "every invariant holds",
    ];
    assert_says(&text, &parts);
}

#[test]
fn control_c_ends_stress_and_what_else_is_typed_waits_for_the_prompt() {
    build();
    let mut boot = Command::new(env!("CARGO_BIN_EXE_boot"))
        .args(["run", "--smp", "2"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut keys, console) = (boot.stdin.take().unwrap(), boot.stdout.take().unwrap());
    let mut lines = BufReader::new(console).lines().map(Result::unwrap);
    let mut until = |part: &str| assert!(lines.any(|line| line.contains(part)), "the console ends before {part:?}");
    keys.write_all(b"stress 100000\rallo").unwrap();
    until("memory is made short now and then");
    // An arrow key sends three bytes; this one repeats the command before.
    keys.write_all(b"c 3\r\x1b[A\r\x03validate\r").unwrap();
    until("ended early, by Ctrl-C");
    until("all is back and checked");
    until("order 3, 32 kB in zone");
    until("order 3, 32 kB in zone");
    until("every invariant holds");
    // One that comes too late ends nothing, and is no part of the next command.
    keys.write_all(b"\x03poweroff\r").unwrap();
    assert!(boot.wait().unwrap().success());
}

/// Runs a script as `make run < FILE` does; whether it succeeded, and what it printed.
fn script(text: &str) -> (bool, String) {
    build();
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file.rewind().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_boot")).arg("run").stdin(file).output().unwrap();
    (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn a_script_runs_to_its_end_and_fails_if_one_of_its_commands_does() {
    // Far more than the serial port takes at once, and without an end to its last line.
    let many = "alloc 0; free all\r\n".repeat(400);
    let (is_success, text) = script(&format!("# nothing\n\n{many}alloc 3\nvalidate"));
    assert!(is_success, "{text}");
    assert_eq!(text.matches("freed 1 block, 1 frame").count(), 400, "{text}");
    assert_says(&text, &["order 3, 32 kB in zone", "every invariant holds"]);
    let too_long = "x".repeat(300);
    let (is_success, text) = script(&format!("{too_long}; poweroff\nvalidate\n"));
    assert!(!is_success, "{text}");
    assert_says(&text, &["error: a line has at most 255 bytes; nothing of this one was run", "every invariant holds"]);
}

#[test]
fn a_processor_that_cannot_boot_is_refused_in_one_line() {
    const NX: &str = "the NX bit, which keeps data from being executed";
    for (model, lacks) in [("max,-nx", NX), ("qemu64,nx=off", NX), ("pentium3", "long mode (64 bits)")] {
        build();
        let output = Command::new(env!("CARGO_BIN_EXE_boot"))
            .args(["run", "--cmd", "validate", "--qemu-args", &format!("-cpu {model}")])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        let refusal = format!("error: the processor {model} cannot boot: it lacks {lacks}\n");
        assert!(!output.status.success() && said.ends_with(&refusal), "{said}");
    }
}

#[test]
fn the_least_memory_that_is_not_refused_boots() {
    let directory = tempfile::tempdir().unwrap();
    for firmware in [Firmware::Bios, Firmware::Uefi] {
        let (name, least) = (firmware.to_string(), firmware.least_memory().to_string());
        let text = boot(directory.path(), &["--firmware", &name, "--mem", &least], "", "stress 1; validate");
        assert_says(&text, &["all is back and checked", "every invariant holds"]);
    }
}

#[test]
fn as_many_cpus_as_there_can_be_run() {
    let directory = tempfile::tempdir().unwrap();
    let text = boot(directory.path(), &["--smp", "64"], "", "cpus; validate");
    assert_says(&text, &["INFO  64 CPUs run", "64 CPUs run of 64 that the firmware lists", "every invariant holds"]);
    assert!(!text.contains("WARN"), "{text}");
}

/// Entries of a MADT for CPUs that can be used, with local APICs of these numbers.
fn local_apics(numbers: &[u8]) -> Vec<u8> {
    numbers.iter().flat_map(|&number| [0, 8, number, number, 1, 0, 0, 0]).collect()
}

/// Options that have firmware install ACPI tables in which the MADT has these entries, and no others, by way of files in
/// `directory`: what QEMU itself would hand it, had that not been told to make none.
fn acpi_tables(directory: &Path, entries: &[u8]) -> String {
    const HEADER: usize = 36;
    const RSDT: usize = HEADER + 4;
    /// A command of the loader's: its number, two names of files, and the rest.
    fn command(number: u32, names: [&str; 2], rest: &[u8]) -> Vec<u8> {
        let mut command = number.to_le_bytes().to_vec();
        names.iter().filter(|name| !name.is_empty()).for_each(|name| {
            command.extend_from_slice(name.as_bytes());
            command.resize(command.len() + 56 - name.len(), 0);
        });
        command.extend_from_slice(rest);
        command.resize(128, 0);
        command
    }
    let table = |signature: &[u8; 4], body: &[u8]| {
        let mut table = signature.to_vec();
        table.extend_from_slice(&((HEADER + body.len()) as u32).to_le_bytes());
        // The revision; the checksum, which the loader sees to; who made it.
        table.extend_from_slice(&[1, 0]);
        table.resize(HEADER, b' ');
        table.extend_from_slice(body);
        table
    };
    let mut madt = 0xfee0_0000_u32.to_le_bytes().to_vec();
    madt.extend_from_slice(&[0; 4]);
    madt.extend_from_slice(entries);
    let madt = table(b"APIC", &madt);
    // Addresses are places in the file, to which the loader adds the file's own.
    let mut tables = table(b"RSDT", &(RSDT as u32).to_le_bytes());
    tables.extend_from_slice(&madt);
    let mut pointer = b"RSD PTR \0BIFOLI\0".to_vec();
    pointer.extend_from_slice(&[0; 4]);

    let (file, root) = ("etc/acpi/tables", "etc/acpi/rsdp");
    let place = |offset: usize, size: u8| [&(offset as u32).to_le_bytes()[..], &[size]].concat();
    let range = |[checksum, start, length]: [usize; 3]| {
        [checksum, start, length].iter().flat_map(|number| (*number as u32).to_le_bytes()).collect::<Vec<_>>()
    };
    // To allocate: aligned to 64 bytes, anywhere; aligned to 16, where the BIOS's root pointer is looked for.
    let loader = [
        command(1, [file, ""], &[64, 0, 0, 0, 1]),
        command(1, [root, ""], &[16, 0, 0, 0, 2]),
        command(2, [file, file], &place(HEADER, 4)),
        command(3, [file, ""], &range([9, 0, RSDT])),
        command(3, [file, ""], &range([RSDT + 9, RSDT, madt.len()])),
        command(2, [root, file], &place(16, 4)),
        command(3, [root, ""], &range([8, 0, 20])),
    ];
    let mut options = "-machine acpi=off".to_owned();
    for (name, bytes) in [(file, tables), (root, pointer), ("etc/table-loader", loader.concat())] {
        let path = directory.join(name.replace('/', "-"));
        fs::write(&path, bytes).unwrap();
        options += &format!(" -fw_cfg name={name},file={}", path.display());
    }
    options
}

#[test]
fn a_cpu_that_does_not_answer_is_left_alone_and_the_log_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let options = acpi_tables(directory.path(), &local_apics(&[0, 9, 1]));
    let text = boot(directory.path(), &["--smp", "2"], &options, "cpus; stress 1; validate");
    let silent = "WARN  the CPU with local APIC 9 is left alone: it does not answer";
    assert_says(
        &text,
        &[silent, "INFO  2 CPUs run", "2 CPUs run of 3 that the firmware lists", "every invariant holds"],
    );
}

#[test]
fn cpus_that_no_command_can_name_are_left_alone_and_nobody_is_reset_in_their_place() {
    let directory = tempfile::tempdir().unwrap();
    // Of all ones, which firmware has for a CPU that is not there, and a local APIC's number of more than eight bits, without
    // which it would be the boot processor's. (In x2APIC mode numbers have more.)
    let mut entries = local_apics(&[0, 0xff, 1]);
    entries.extend_from_slice(&[9, 16, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
    let options = acpi_tables(directory.path(), &entries);
    let text = boot(directory.path(), &["--smp", "2", "--apic", "xapic"], &options, "cpus; validate");
    let nameless = "WARN  the CPU with local APIC 256 is left alone: no command can name its local APIC";
    assert_says(
        &text,
        &[nameless, "INFO  2 CPUs run", "2 CPUs run of 3 that the firmware lists", "every invariant holds"],
    );
}

#[test]
fn with_a_broken_madt_the_kernel_works_on_one_cpu_and_says_where_it_is_broken() {
    let directory = tempfile::tempdir().unwrap();
    let entries = [local_apics(&[0, 1]), vec![0, 200, 2, 2, 1]].concat();
    let options = acpi_tables(directory.path(), &entries);
    let text = boot(directory.path(), &["--smp", "2"], &options, "cpus; alloc 3; kmalloc 100; validate");
    let broken = "WARN  one CPU: the MADT is cut off or broken at byte 60";
    assert_says(&text, &[broken, NONE_LISTED, "every invariant holds"]);
}
