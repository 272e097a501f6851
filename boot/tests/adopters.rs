//! Kernels that are nobody's but an adopter's: each boots, has its memory from the crate and finds it as it should be.

use boot::machine::{Firmware, Machine, Memory};
use boot::qemu::Setup;
use boot::run::{self, Limits, Watcher};
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Keeps what a kernel prints.
struct Text(Vec<u8>);

impl Watcher for Text {
    fn console(&mut self) -> &mut dyn Write {
        &mut self.0
    }

    fn report(&mut self, _: &boot::events::Report) {}
}

/// Builds a kernel of `tests/adopters` with these arguments of cargo's.
fn build(name: &str, arguments: &[&str]) -> PathBuf {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "-p", name, "--message-format=json-render-diagnostics"]).args(arguments).current_dir(ROOT);
    let output = cargo.stderr(io::stderr()).output().unwrap();
    assert!(output.status.success(), "{name} does not build");
    let programs = boot::suite::executables(&String::from_utf8_lossy(&output.stdout), "bin");
    programs.into_iter().find(|path| path.ends_with(name)).expect("the kernel was built")
}

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
/// What every kernel prints at last.
const DONE: &str = "frames were given out and are whole again";

#[test]
fn a_kernel_that_bootloader_boots_has_its_memory_from_the_crate() {
    let kernel = build("adopter-bootloader", &["--target", "x86_64-unknown-none"]);
    let machine = Machine::new(Firmware::Bios, Memory::from_mib(128), 1);
    let mut text = Text(Vec::new());
    let limits = Limits::at_work(Limits::QUIET);
    let outcome = run::run(&Setup::new(&kernel, machine), limits, None, &mut text).unwrap();
    let text = String::from_utf8_lossy(&text.0);
    assert!(outcome.is_success() && text.contains(DONE), "{}\n{text}", outcome.explain());
}

/// Builds a kernel for a processor that Rust's library is not there for, and runs it in this emulator.
fn boots_elsewhere(name: &str, target: &str, emulator: &str) {
    let with_core = ["-Zbuild-std=core,alloc", "--target-dir", "target/elsewhere", "--target", target];
    let kernel = build(name, &with_core);
    // A kernel that hangs computes: what ends it is the time that the emulator has computed, however busy the machine is.
    let limited =
        format!("ulimit -t 600; exec {emulator} -nic none -display none -monitor none -serial stdio -kernel \"$0\"");
    let output = Command::new("sh").args(["-c", &limited]).arg(kernel).stdin(Stdio::null()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains(DONE), "{}\n{text}\n{complaints}", output.status);
}

#[test]
#[ignore = "`make adopters` has the emulator"]
fn a_kernel_for_riscv64_has_its_memory_as_a_device_tree_says() {
    for memory in ["32M", "1G", "9G"] {
        let emulator = format!("qemu-system-riscv64 -machine virt -m {memory}");
        boots_elsewhere("adopter-device-tree", "riscv64gc-unknown-none-elf", &emulator);
    }
}

#[test]
#[ignore = "`make adopters` has the emulator"]
fn a_kernel_for_aarch64_has_its_memory_as_a_device_tree_says() {
    for memory in ["32M", "1G", "9G"] {
        let emulator = format!("qemu-system-aarch64 -machine virt -cpu cortex-a72 -semihosting -m {memory}");
        boots_elsewhere("adopter-device-tree", "aarch64-unknown-none", &emulator);
    }
}
