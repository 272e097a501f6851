//! What documents name is there: files, targets and variables of make, packages and tests of cargo, commands of the shell, and
//! the order of modules.

use super::machine::words;
use super::markdown::{Document, root};
use serde_json::Value;
use std::fs;
use std::process::Command;

/// Where files of the project are that a document may name in running text.
const DIRECTORIES: [&str; 6] = ["boot/", "docs/", "kernel/", "tests/", ".github/", ".ci/"];

#[test]
fn every_file_that_is_named_is_there() {
    for document in Document::all() {
        let directory = document.path.rsplit_once('/').map_or("", |(directory, _)| directory);
        let prose = document.prose();
        let links = prose.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        let links = links.filter(|link| !link.contains("://")).map(|link| link.split('#').next().unwrap_or_default());
        for link in links {
            assert!(root().join(directory).join(link).exists(), "{}: a link leads to {link}", document.path);
        }
        let code = document.code();
        let paths = code.iter().filter(|code| DIRECTORIES.iter().any(|directory| code.starts_with(directory)));
        // What is in C is Linux's, which has a `kernel/` too.
        for path in paths.filter(|path| !path.contains(['*', ' ', '{']) && !path.ends_with(".c")) {
            let path = path.split(':').next().unwrap_or_default();
            let is_there = root().join(path).exists() || root().join(directory).join(path).exists();
            assert!(is_there, "{}: there is no {path}", document.path);
        }
    }
}

#[test]
fn every_target_of_make_is_there_and_explained() {
    let makefile = fs::read_to_string(root().join("Makefile")).unwrap();
    let is_target = |name: &str| {
        let mut lines = makefile.lines().filter(|line| line.starts_with(&format!("{name}:")));
        lines.any(|line| line.split_once("## ").is_some_and(|(_, help)| !help.is_empty()))
    };
    let help: Vec<&str> = makefile.lines().filter(|line| line.contains("@echo '") || line.contains("## ")).collect();
    let is_explained = |name: &str| help.iter().any(|line| line.contains(&format!(" {name}=")));
    let mut count = 0;
    for document in Document::all() {
        for line in document.commands().iter().filter_map(|line| line.strip_prefix("make ")) {
            for word in words(line) {
                let (name, is_known) = match word.split_once('=') {
                    Some((variable, _)) => (variable, is_explained(variable)),
                    None => (&*word, is_target(&word)),
                };
                assert!(is_known, "{}: `make {line}`: `make help` does not know {name}", document.path);
                count += 1;
            }
        }
        let code = document.code();
        let variables = code.iter().filter_map(|code| code.split_once('=')).map(|(name, _)| name);
        for name in variables.filter(|name| is_variable(name) && !ENVIRONMENT.contains(name)) {
            assert!(is_explained(name), "{}: `make help` does not know {name}=", document.path);
        }
    }
    assert!(count > 20, "{count} words");
}

/// The example of a booted test is one of those that `make test` builds and runs, with the same lines behind the head.
#[test]
fn the_example_of_a_booted_test_is_one() {
    let example = Document::read("CONTRIBUTING.md").blocks("rust").remove(0).lines;
    let subject = fs::read_to_string(root().join("tests/booted/tests/frames.rs")).unwrap();
    let (head, test) = example.split_at(example.iter().position(|line| line == "#[test_case]").unwrap());
    assert!(subject.contains(&format!("\n{}\n", test.join("\n"))), "not in frames.rs: {}", test.join("\n"));
    let attributes = head.iter().filter(|line| !line.starts_with("use ") && !line.starts_with("//!"));
    for line in attributes {
        assert!(subject.contains(line), "not in frames.rs: {line}");
    }
}

/// Variables that are not make's.
const ENVIRONMENT: [&str; 5] = ["PYTHONMALLOC", "RUSTC_BOOTSTRAP", "RUSTUP_AUTO_INSTALL", "OVMF_CODE", "OVMF_VARS"];

fn is_variable(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_')
}

#[test]
fn every_package_and_test_that_cargo_is_asked_for_is_there() {
    let packages = packages();
    let mut count = 0;
    for document in Document::all() {
        for line in document.commands().iter().filter(|line| line.starts_with("cargo ")) {
            let words = words(line.split(" -- ").next().unwrap_or_default());
            let value = |option: &str| words.windows(2).find(|pair| pair[0] == option).map(|pair| pair[1].clone());
            assert!(KNOWN.contains(&&*words[1]), "{}: {line}", document.path);
            let Some(name) = value("-p") else { continue };
            let targets = packages.iter().find(|(package, _)| *package == name);
            let (_, targets) = targets.unwrap_or_else(|| panic!("{}: {line}: there is no {name}", document.path));
            for test in [value("--test"), value("--bin")].into_iter().flatten() {
                assert!(targets.contains(&test), "{}: {line}: {name} has {targets:?}", document.path);
            }
            count += 1;
        }
    }
    assert!(count > 5, "{count} lines");
}

/// Commands of cargo that need nothing beside it but rustfmt and clippy.
const KNOWN: [&str; 10] = ["build", "clean", "clippy", "doc", "fmt", "install", "metadata", "package", "run", "test"];

/// The workspace's packages, each with the names of what is built for it.
fn packages() -> Vec<(String, Vec<String>)> {
    let arguments = ["metadata", "--no-deps", "--format-version=1", "--offline"];
    let output = Command::new(env!("CARGO")).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let name = |value: &Value| value["name"].as_str().unwrap().to_owned();
    let packages = metadata["packages"].as_array().unwrap().iter();
    packages.map(|package| (name(package), package["targets"].as_array().unwrap().iter().map(name).collect())).collect()
}

/// The commands of the kernel's shell, out of its table.
pub fn shell_commands() -> Vec<String> {
    let table = fs::read_to_string(root().join("kernel/src/shell/table.rs")).unwrap();
    let names: Vec<String> =
        table.split("usage: \"").skip(1).filter_map(|rest| rest.split(['"', ' ']).next()).map(str::to_owned).collect();
    assert!(names.len() > 20, "{names:?}");
    names
}

#[test]
fn no_module_in_the_picture_uses_one_above_it() {
    let readme = Document::read("README.md");
    let text = readme.section("How the parts fit");
    assert!(text.contains("No module in that picture uses one above it."), "{text}");
    let picture = readme.blocks("text").into_iter().flat_map(|block| block.lines);
    let lines = picture.filter_map(|line| line.strip_prefix("  |   |   ").map(str::to_owned));
    let modules: Vec<String> = lines.filter_map(|line| line.split_whitespace().next().map(str::to_owned)).collect();
    let modules: Vec<String> = modules.into_iter().filter(|name| name != "|").collect();
    assert_eq!(modules.first().map(String::as_str), Some("heap"), "{modules:?}");
    assert!(modules.len() == 8, "{modules:?}");
    for (place, module) in modules.iter().enumerate() {
        for line in sources(module) {
            let above = modules[..place].iter().find(|above| line.contains(&format!("crate::{above}")));
            assert!(above.is_none(), "{module} uses {above:?}: {line}");
        }
    }
    // What is said of those beside it.
    let uses = |module: &str, used: &str| sources(module).iter().any(|line| line.contains(&format!("crate::{used}")));
    assert!(uses("sync", "cpu") && uses("report", "allocator"));
    assert!(!uses("cpu", "sync") && !uses("sync", "allocator") && !uses("allocator", "report"));
    assert!(
        text.contains(
            "in `allocator` there is one cast, and five calls of the function that zeroes frames, by one write"
        ),
        "{text}"
    );
    let of_allocator = what_is_unsafe("allocator");
    let of_blocks = |line: &&String| line.contains("_raw(");
    let others: Vec<&String> = of_allocator.iter().filter(|line| !of_blocks(line)).collect();
    let count = |call: &str| others.iter().filter(|line| line.contains(call)).count();
    let counts = ["from_raw_parts(", "self.zero(", "write_bytes(", "C::zero("].map(count);
    assert_eq!((others.len(), counts), (8, [1, 5, 1, 1]), "{others:?}");
    assert!(sources("allocator").iter().any(|line| line == "unsafe impl Sync for Recording<'_> {}"));
    assert!(text.contains("and a promise that what is recorded is touched in turns"), "{text}");
    assert!(text.contains("there and in `frame`, blocks are made of numbers"), "{text}");
    let of_frame = what_is_unsafe("frame");
    assert!(of_frame.iter().all(|line| of_blocks(&line)) && !of_frame.is_empty(), "{of_frame:?}");
    for module in ["zone", "per_cpu", "buddy", "memory_map", "error", "cpu", "sync", "report"] {
        assert_eq!(what_is_unsafe(module), [""; 0], "{module}");
    }
}

/// The lines of a module of `bifolio` in which an unsafe block begins.
fn what_is_unsafe(module: &str) -> Vec<String> {
    sources(module).into_iter().filter(|line| line.contains("unsafe {")).collect()
}

/// The lines of a module of `bifolio` that are not comments.
fn sources(module: &str) -> Vec<String> {
    let crate_ = root().join("kernel/mm/src");
    let mut files = vec![crate_.join(format!("{module}.rs"))];
    let mut directories = vec![crate_.join(module)];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() { directories.push(path) } else { files.push(path) }
        }
    }
    let texts = files.iter().filter_map(|file| fs::read_to_string(file).ok());
    let lines: Vec<String> = texts.flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>()).collect();
    assert!(!lines.is_empty(), "{module}");
    lines.into_iter().filter(|line| !line.trim_start().starts_with("//")).collect()
}
