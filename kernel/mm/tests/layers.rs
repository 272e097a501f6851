//! The layers of the crate: a module imports only from those below it. And how large those of page frames are.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The modules, each below those that follow it.
const LAYERS: [&str; 14] = [
    "frame",
    "error",
    "cpu",
    "sync",
    "hardening",
    "memory_map",
    "buddy",
    "per_cpu",
    "zone",
    "allocator",
    "report",
    "slab",
    "heap",
    "kernel",
];

/// The modules of page frames, which are to have [`GOAL`] lines of code and types, and have no more than [`MOST`].
const FRAMES: [&str; 6] = ["frame", "memory_map", "buddy", "per_cpu", "zone", "allocator"];
const GOAL: [usize; 2] = [2800, 35];
const MOST: [usize; 2] = [6299, 54];

fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// All files of the crate, each with its module.
fn files(directory: &Path) -> Vec<(String, PathBuf)> {
    let paths = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let of = |path: PathBuf| if path.is_dir() { files(&path) } else { vec![(module_of(&path), path)] };
    paths.flat_map(of).collect()
}

fn module_of(path: &Path) -> String {
    let first = path.strip_prefix(sources()).unwrap().iter().next().unwrap();
    first.to_str().unwrap().trim_end_matches(".rs").to_string()
}

/// The modules that a file names by `crate::`, but in comments, and but for the lines behind `#[cfg(doc)]`.
fn imports(text: &str) -> BTreeSet<String> {
    let code = text.replace("#[cfg(doc)]\nuse crate::", "");
    let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
    let named = lines.flat_map(|line| line.split("crate::").skip(1));
    named.map(|rest| rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()).collect()
}

/// The layers' numbers of a file's imports that are not below the file's own.
fn upward<'a>(module: &str, imports: &'a BTreeSet<String>) -> impl Iterator<Item = &'a str> {
    let layer = |name: &str| LAYERS.iter().position(|layer| *layer == name);
    let own = layer(module).unwrap_or_else(|| panic!("{module} has no place among the layers"));
    imports.iter().map(String::as_str).filter(move |import| *import != LAYERS[own] && layer(import) >= Some(own))
}

#[test]
fn no_module_imports_from_one_above_it() {
    let mut found = Vec::new();
    for (module, path) in files(&sources()).into_iter().filter(|(module, _)| module != "lib") {
        let imports = imports(&fs::read_to_string(&path).unwrap());
        let unknown = imports.iter().find(|import| !LAYERS.contains(&import.as_str()));
        assert_eq!(unknown, None, "{} imports what has no place among the layers", path.display());
        found.extend(upward(&module, &imports).map(|import| format!("{}: {import}", path.display())));
    }
    assert!(found.is_empty(), "imports that go upwards:\n{}", found.join("\n"));
}

#[test]
fn an_import_that_goes_upwards_is_found() {
    let text = "//! See [`crate::heap`].\nuse crate::frame::Pfn;\npub(crate) use crate::{\n";
    assert_eq!(imports(text).into_iter().collect::<Vec<_>>(), ["", "frame"], "lists of modules have no name");
    let named =
        imports("    use crate::zone::Zone;\n#[cfg(doc)]\nuse crate::heap::Heap;\nlet x = crate::frame::Pfn::new(0);");
    assert_eq!(upward("buddy", &named).collect::<Vec<_>>(), ["zone"]);
    assert_eq!(upward("zone", &named).next(), None);
}

/// The lines of code and the types of a file, without its tests.
fn size(text: &str) -> [usize; 2] {
    let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default().lines().map(str::trim);
    let code: Vec<&str> = code.filter(|line| !line.is_empty() && !line.starts_with("//")).collect();
    let first =
        |line: &&str| line.split_whitespace().find(|word| !word.starts_with("pub")).unwrap_or_default().to_string();
    let is_type = |line: &&&str| ["struct", "enum", "union", "trait"].contains(&first(line).as_str());
    [code.len(), code.iter().filter(is_type).count()]
}

#[test]
fn page_frames_become_no_larger() {
    let mut all = [0; 2];
    for module in FRAMES {
        let is_tests =
            |path: &Path| ["tests", "violations"].iter().any(|name| path.file_stem().is_some_and(|stem| stem == *name));
        let files = files(&sources()).into_iter().filter(|(of, path)| of == module && !is_tests(path));
        let sizes = files.map(|(_, path)| size(&fs::read_to_string(path).unwrap()));
        let [lines, types] = sizes.fold([0; 2], |sum, of_file| [sum[0] + of_file[0], sum[1] + of_file[1]]);
        println!("{module:<12}{lines:>6} lines{types:>5} types");
        all = [all[0] + lines, all[1] + types];
    }
    println!("of {MOST:?} at most; the goal is {GOAL:?}: {all:?}");
    assert!(all[0] <= MOST[0] && all[1] <= MOST[1], "{all:?} lines and types, of {MOST:?} at most");
}

#[test]
fn comments_and_tests_do_not_count() {
    let text = "//! Words.\n\n/// A.\npub(crate) struct A; // one\n  pub enum B {}\nfn struct_of() {}\n#[cfg(test)]\nmod tests {\nstruct C;}";
    assert_eq!(size(text), [3, 2]);
}
