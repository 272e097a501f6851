//! Has the linker put the kernel behind the firmware, which has the first 2 MiB of RAM in QEMU's machine `virt`.

fn main() {
    const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../device-tree/kernel.ld");
    println!("cargo:rustc-link-arg-bins=-T{SCRIPT}");
    println!("cargo:rustc-link-arg-bins=--defsym=image_start=0x80200000");
    println!("cargo:rerun-if-changed={SCRIPT}");
}
