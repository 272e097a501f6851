//! Plants each mistake in a copy of its lab's solution, and makes a module of each.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::{env, fs};

#[path = "src/mistakes/mod.rs"]
#[allow(dead_code, reason = "what a mistake costs is for the tests")]
mod mistakes;
#[path = "src/module.rs"]
mod module;

fn main() {
    let solutions = Path::new(env!("CARGO_MANIFEST_DIR")).join("../solutions");
    println!("cargo::rerun-if-changed={}", solutions.display());
    println!("cargo::rerun-if-changed=src/mistakes");
    println!("cargo::rerun-if-changed=src/module.rs");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo says where"));
    let (mut modules, mut arms) = (String::new(), String::new());
    let mut add = |lab: u8, name: &str, source: &str| {
        let module = module::module(lab, name);
        let file = out.join(format!("{module}.rs"));
        fs::write(&file, source).expect("it can be written there");
        let _ = writeln!(modules, "#[path = {:?}]\nmod {module};", file.display().to_string());
        let _ = writeln!(arms, "        ({lab}, {name:?}) => Some(labs::visit!({lab}, visitor, {module}::Piece)),");
    };
    for lab in mistakes::LABS {
        let file = solutions.join(format!("lab{lab}.rs"));
        let solution = fs::read_to_string(&file).expect("each lab has a solution");
        add(*lab, "solution", &solution);
        for mistake in mistakes::all().filter(|mistake| mistake.lab == *lab) {
            let planted = mistake.edits.iter().fold(solution.clone(), |source, (old, new)| {
                let places = source.matches(old).count();
                assert_eq!(places, 1, "lab {lab}, '{}': there are {places} places with\n{old}", mistake.name);
                source.replace(old, new)
            });
            add(*lab, mistake.name, &planted);
        }
    }
    let with = format!(
        "/// Has a visitor visit a specimen, if there is one of that name: `solution`, or a mistake's.\n\
         pub fn with<V: Visitor>(lab: u8, name: &str, visitor: V) -> Option<V::Output> {{\n    \
         match (lab, name) {{\n{arms}        _ => None,\n    }}\n}}\n"
    );
    fs::write(out.join("specimens.rs"), modules + &with).expect("it can be written there");
}
