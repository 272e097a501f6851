//! The guides from other allocators: what each shows makes one kernel of another, and both boot.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use boot::machine::{Firmware, Machine, Memory};
use boot::qemu::Setup;
use boot::run::{self, Limits, Watcher};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// A guide by the name of its document, and that of its kernels' directory.
const GUIDES: [(&str, &str); 3] = [
    ("from-linked_list_allocator", "linked_list"),
    ("from-buddy_system_allocator", "buddy_system"),
    ("from-a-bump-allocator", "bump"),
];

/// Keeps what a kernel prints.
struct Text(Vec<u8>);

impl Watcher for Text {
    fn console(&mut self) -> &mut dyn Write {
        &mut self.0
    }

    fn report(&mut self, _: &boot::events::Report) {}
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Who writes a guide has the difference from `diff -U1 before.rs after.rs`.
#[test]
fn what_a_guide_shows_makes_one_kernel_of_the_other() {
    for (document, kernels) in GUIDES {
        let text = read(&Path::new(ROOT).join("docs/guides").join(document).with_extension("md"));
        let shown = text.split_once("```diff\n").and_then(|(_, rest)| rest.split_once("```"));
        let (shown, _) = shown.unwrap_or_else(|| panic!("{document} shows no difference"));
        let patch = diffy::Patch::from_str(shown).unwrap_or_else(|error| panic!("{document}: {error}"));
        let [before, after] =
            ["before.rs", "after.rs"].map(|name| read(&Path::new(ROOT).join("tests/guides").join(kernels).join(name)));
        let patched = diffy::apply(&before, &patch).unwrap_or_else(|error| panic!("{document}: {error}"));
        assert_eq!(patched, after, "{document}: what it shows, and tests/guides/{kernels}/after.rs");
    }
}

fn build() -> Vec<PathBuf> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args([
        "build",
        "-p",
        "guides",
        "--target",
        "x86_64-unknown-none",
        "--message-format=json-render-diagnostics",
    ]);
    let output = cargo.current_dir(ROOT).stderr(io::stderr()).output().unwrap();
    assert!(output.status.success(), "the guides' kernels do not build");
    boot::suite::executables(&String::from_utf8_lossy(&output.stdout), "bin")
}

#[test]
fn a_kernel_of_a_guide_works_before_and_after() {
    let kernels = build();
    assert_eq!(kernels.len(), 2 * GUIDES.len(), "{kernels:?}");
    for kernel in kernels {
        let machine = Machine::new(Firmware::Bios, Memory::from_mib(128), 1);
        let mut text = Text(Vec::new());
        let outcome = run::run(&Setup::new(&kernel, machine), Limits::at_work(Limits::QUIET), None, &mut text).unwrap();
        let said = String::from_utf8_lossy(&text.0);
        assert!(outcome.is_success(), "{}: {}\n{said}", kernel.display(), outcome.explain());
    }
}
