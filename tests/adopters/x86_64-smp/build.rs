//! Has the linker put the kernel into low memory, where a boot loader can load it that knows no paging.

fn main() {
    const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../multiboot2/kernel.ld");
    println!("cargo:rustc-link-arg-bins=-T{SCRIPT}");
    println!("cargo:rerun-if-changed={SCRIPT}");
}
