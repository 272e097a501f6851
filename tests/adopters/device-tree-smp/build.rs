//! Has the linker put the kernel where it is looked for.

use std::env;

fn main() {
    const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../device-tree/kernel.ld");
    // In QEMU's machines `virt`: behind the firmware, which has the first 2 MiB, and behind the device tree, which may have as much.
    let start = match env::var("CARGO_CFG_TARGET_ARCH").as_deref() {
        Ok("riscv64") => "0x80200000",
        _ => "0x40200000",
    };
    println!("cargo:rustc-link-arg-bins=-T{SCRIPT}");
    println!("cargo:rustc-link-arg-bins=--defsym=image_start={start}");
    println!("cargo:rerun-if-changed={SCRIPT}");
}
