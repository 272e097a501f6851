//! Makes tests of all specimens.

use std::fmt::Write;
use std::path::PathBuf;
use std::{env, fs};

#[path = "../src/mistakes/mod.rs"]
#[allow(dead_code, reason = "what a mistake costs is for the tests")]
mod mistakes;
#[path = "../src/module.rs"]
mod module;

fn main() {
    println!("cargo::rerun-if-changed=../src");
    let mut tests = String::new();
    let mut add = |lab: u8, name: &str| {
        let _ = writeln!(tests, "specimen!({}, {lab}, {name:?});", module::module(lab, name));
    };
    mistakes::LABS.iter().for_each(|lab| add(*lab, "solution"));
    mistakes::all().for_each(|mistake| add(mistake.lab, mistake.name));
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo says where"));
    fs::write(out.join("tests.rs"), tests).expect("it can be written there");
}
