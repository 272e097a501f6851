//! Has the linker put the kernel into low memory, where a boot loader can load it that knows no paging.

fn main() {
    println!("cargo:rustc-link-arg-bins=-T{}/kernel.ld", env!("CARGO_MANIFEST_DIR"));
    println!("cargo:rerun-if-changed=kernel.ld");
}
