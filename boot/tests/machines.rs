//! Machines that are not as the kernel would have them.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

/// The kernel, built as `make run` would.
fn kernel() {
    let arguments = ["build", "-q", "-p", "kernel", "--target", "x86_64-unknown-none"];
    assert!(Command::new(env!("CARGO")).args(arguments).status().unwrap().success());
}

#[test]
fn without_acpi_tables_the_kernel_works_on_one_cpu_and_says_why() {
    kernel();
    let directory = tempfile::tempdir().unwrap();
    // Of an option that is given twice the parts add up. SeaBIOS would make tables of its own; UEFI makes none.
    let qemu = directory.path().join("qemu");
    fs::write(&qemu, "#!/bin/sh\nexec qemu-system-x86_64 \"$@\" -machine acpi=off\n").unwrap();
    fs::set_permissions(&qemu, Permissions::from_mode(0o755)).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_boot"))
        .args([
            "run",
            "--smp",
            "4",
            "--firmware",
            "uefi",
            "--timeout",
            "120",
            "--cmd",
            "cpus; alloc 3; kmalloc 100; validate",
        ])
        .env("QEMU", &qemu)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    for part in [
        "WARN  one CPU: the ACPI tables have no usable MADT",
        "1 CPU runs, and the firmware lists none (the kernel takes up to 64), ",
        "every invariant holds",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
}
