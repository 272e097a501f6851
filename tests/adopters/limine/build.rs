//! Has the kernel begin where it says.

fn main() {
    println!("cargo:rustc-link-arg-bins=--entry=start");
}
