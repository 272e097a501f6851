//! Kernels that are nobody's but an adopter's: each boots, has its memory from the crate and finds it as it should be.

use boot::machine::{Firmware, Machine, Memory};
use boot::qemu::Setup;
use boot::run::{self, Limits, Watcher};
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::Command;

/// Keeps what a kernel prints.
struct Text(Vec<u8>);

impl Watcher for Text {
    fn console(&mut self) -> &mut dyn Write {
        &mut self.0
    }

    fn report(&mut self, _: &boot::events::Report) {}
}

/// Builds a kernel of `tests/adopters`.
fn build(name: &str) -> PathBuf {
    let arguments =
        ["build", "-p", name, "--target", "x86_64-unknown-none", "--message-format=json-render-diagnostics"];
    let output = Command::new(env!("CARGO")).args(arguments).stderr(io::stderr()).output().unwrap();
    assert!(output.status.success(), "{name} does not build");
    let programs = boot::suite::executables(&String::from_utf8_lossy(&output.stdout), "bin");
    programs.into_iter().find(|path| path.ends_with(name)).expect("the kernel was built")
}

#[test]
fn a_kernel_that_bootloader_boots_has_its_memory_from_the_crate() {
    let kernel = build("adopter-bootloader");
    let machine = Machine::new(Firmware::Bios, Memory::from_mib(128), 1);
    let mut text = Text(Vec::new());
    let limits = Limits::at_work(Limits::QUIET);
    let outcome = run::run(&Setup::new(&kernel, machine), limits, None, &mut text).unwrap();
    assert!(outcome.is_success(), "{}\n{}", outcome.explain(), String::from_utf8_lossy(&text.0));
}
