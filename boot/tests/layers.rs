//! The kernel's layers: the table in `kernel/src/lib.rs` has them, from the highest to the lowest.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// A module of the kernel, as its path in the crate.
type Module = Vec<String>;

/// Each file of the kernel's crate, with the files that it uses.
type Uses = BTreeMap<Module, BTreeSet<Module>>;

fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../kernel/src")
}

#[test]
fn a_file_uses_its_own_layer_and_those_below_it() {
    let layers = layers(&fs::read_to_string(sources().join("lib.rs")).unwrap());
    let rank = |module: &Module| layers.iter().position(|layer| *layer == module[0]).expect("it has a layer");
    for (file, uses) in uses() {
        for used in uses {
            assert!(rank(&used) >= rank(&file), "{} uses {}, which is above it", file.join("::"), used.join("::"));
        }
    }
}

#[test]
fn files_do_not_use_each_other_in_a_circle() {
    let mut left = uses();
    let ends = |left: &Uses, file: &Module| {
        let is_used = left.values().any(|uses| uses.contains(file));
        !is_used || !left[file].iter().any(|used| left.contains_key(used))
    };
    // What uses nothing that is left, or what nothing that is left uses, is in no circle.
    while let Some(end) = left.keys().find(|file| ends(&left, file)).cloned() {
        left.remove(&end);
    }
    let circle: Vec<String> = left.keys().map(|file| file.join("::")).collect();
    assert!(circle.is_empty(), "these use each other, or lead from one circle to another: {}", circle.join(", "));
}

#[test]
fn every_module_of_the_kernel_has_one_layer() {
    let mut layers = layers(&fs::read_to_string(sources().join("lib.rs")).unwrap());
    layers.sort();
    let modules: BTreeSet<String> = files().into_keys().map(|mut module| module.swap_remove(0)).collect();
    assert_eq!(layers, Vec::from_iter(modules));
}

#[test]
fn what_a_file_uses_is_found_however_it_is_written() {
    let module = |path: &str| path.split("::").map(str::to_owned).collect::<Module>();
    let all = ["a", "a::b", "a::c", "a::x", "console", "d", "d::e"].map(|path| (module(path), String::new())).into();
    for (text, used) in [
        ("use crate::a::b::Thing;", vec!["a::b"]),
        ("pub use crate::{a::{b::{self, X as Y}, c}, d};", vec!["a::b", "a::c", "d"]),
        ("use super::b;\nuse super::super::d::e::*;", vec!["a::b", "d::e"]),
        ("fn f() { crate::d::run(super::Thing) }", vec!["a", "d"]),
        ("use crate::println;", vec!["console"]),
        ("macro_rules! m { () => { $crate::d::run() } }", vec!["d"]),
        ("// use crate::d;\nuse core::a::b;\nlet x = other::crate_d;", vec![]),
        ("use self::own::Thing;", vec![]),
    ] {
        let used: BTreeSet<Module> = used.into_iter().map(module).collect();
        assert_eq!(used_by(&module("a::x"), text, &all), used, "{text}");
    }
    // A module's own children need no word in front.
    assert_eq!(used_by(&module("a"), "mod b;\npub use b::{X, Y};\nc::run();", &all).len(), 2);
}

/// The layers, from the highest to the lowest.
fn layers(text: &str) -> Vec<String> {
    let row = |line: &str| {
        let name = line.strip_prefix("//! | [`")?.split_once('`')?.0;
        Some(name.trim_start_matches("mod@").to_owned())
    };
    text.lines().filter_map(row).collect()
}

/// The kernel's files by their modules, without its two roots.
fn files() -> BTreeMap<Module, String> {
    let mut files = BTreeMap::new();
    let mut folders = vec![(sources(), Module::new())];
    while let Some((folder, module)) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            let inner = [module.clone(), vec![name.clone()]].concat();
            if path.is_dir() {
                folders.push((path, inner));
            } else if name == "mod" {
                files.insert(module.clone(), fs::read_to_string(path).unwrap());
            } else if !(module.is_empty() && ["lib", "main"].contains(&name.as_str())) {
                files.insert(inner, fs::read_to_string(path).unwrap());
            }
        }
    }
    files
}

fn uses() -> Uses {
    let files = files();
    files.iter().map(|(file, text)| (file.clone(), used_by(file, text, &files))).collect()
}

/// Which other files one uses: those that its paths lead to, in imports and elsewhere.
fn used_by(file: &Module, text: &str, files: &BTreeMap<Module, String>) -> BTreeSet<Module> {
    let code: String = text.lines().map(|line| line.split("//").next().unwrap_or_default().to_owned() + "\n").collect();
    let is_child = |name: &str| files.contains_key(&[file.clone(), vec![name.to_owned()]].concat());
    let mut used = BTreeSet::new();
    let mut rest = code.as_str();
    while let Some(start) = rest.find(|character: char| character.is_alphanumeric() || character == '_') {
        let is_inside = rest[..start].ends_with("::");
        rest = &rest[start..];
        let (name, behind) = word(rest);
        if !is_inside && behind.starts_with("::") && (["crate", "super", "self"].contains(&name) || is_child(name)) {
            let mut paths = Vec::new();
            rest = tree(rest, &Module::new(), &mut paths);
            used.extend(paths.iter().map(|path| target(file, path, files)));
        } else {
            rest = behind;
        }
    }
    used.remove(file);
    used
}

/// The word that the text begins with, and what comes behind it.
fn word(text: &str) -> (&str, &str) {
    let end = text.find(|character: char| !character.is_alphanumeric() && character != '_');
    text.split_at(end.unwrap_or(text.len()))
}

/// Notes the paths that begin here, with the braces of an import opened: each with `before` in front. What comes behind.
fn tree<'t>(text: &'t str, before: &Module, paths: &mut Vec<Module>) -> &'t str {
    let (name, mut rest) = word(text);
    let path = [before.clone(), vec![name.to_owned()]].concat();
    let Some(inner) = rest.strip_prefix("::") else {
        paths.push(path);
        return rest;
    };
    let Some(mut branches) = inner.strip_prefix('{') else {
        return tree(inner, &path, paths);
    };
    loop {
        branches = branches.trim_start_matches(|character: char| character.is_whitespace() || character == ',');
        rest = branches;
        if let Some(behind) = rest.strip_prefix('}') {
            return behind;
        }
        branches = tree(branches, &path, paths);
        // Another name for it is none of ours.
        branches = branches.trim_start_matches(|character: char| !",}".contains(character));
    }
}

/// The file that a path leads to from another.
fn target(file: &Module, path: &Module, files: &BTreeMap<Module, String>) -> Module {
    let mut target = if path[0] == "crate" { Module::new() } else { file.clone() };
    for name in path {
        match name.as_str() {
            "crate" | "self" => {}
            "super" => _ = target.pop(),
            // The macros that print, which live at the root.
            "print" | "println" if target.is_empty() => target.push("console".to_owned()),
            name => target.push(name.to_owned()),
        }
    }
    while !target.is_empty() && !files.contains_key(&target) {
        target.pop();
    }
    assert!(!target.is_empty(), "{} uses {}, which is in no file", file.join("::"), path.join("::"));
    target
}
