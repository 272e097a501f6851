//! Has the crate be the file that `LAB_FILE` names, for the lab `LAB_NUMBER` with `LAB_SEED`; without one, what a learner
//! of lab 1 begins with, so that it always builds.

use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() {
    println!("cargo::rerun-if-env-changed=LAB_FILE");
    println!("cargo::rerun-if-env-changed=LAB_NUMBER");
    println!("cargo::rerun-if-env-changed=LAB_SEED");
    let number = |name| env::var(name).ok().and_then(|number| number.parse::<u64>().ok()).unwrap_or(1);
    let (lab, seed) = (number("LAB_NUMBER"), number("LAB_SEED"));
    let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../pieces/lab1.rs");
    let file = env::var_os("LAB_FILE").filter(|file| !file.is_empty()).map_or_else(default, PathBuf::from);
    println!("cargo::rerun-if-changed={}", file.display());
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo says where")).join("piece.rs");
    let text = format!(
        "#[path = {:?}]\n\
         pub mod piece;\n\n\
         /// The lab that it is for.\n\
         pub const LAB: u8 = {lab};\n\n\
         /// What decides the operations that it is tried with.\n\
         pub const SEED: u64 = {seed};\n\n\
         /// Has somebody do something with the piece. One that is none is told so here, and not where it is used.\n\
         pub fn with<V: labs::subject::Visitor>(visitor: V) -> V::Output {{\n    \
         labs::visit!({lab}, visitor, piece::Piece)\n\
         }}\n\n\
         /// Does the test that is in the file.\n\
         pub fn first_test(layout: &labs::layout::Layout) {{\n    \
         labs::first_test!({lab}, piece, layout)\n\
         }}\n",
        file.display().to_string()
    );
    fs::write(out, text).expect("it can be written there");
}
