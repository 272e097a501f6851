//! Mistakes, planted in a copy of the crate: each is a few words of it, changed to what somebody might have written.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use planted::{copy, replaced, write};

use crate::tools::Tool;

/// A mistake.
pub struct Plant {
    pub what: &'static str,
    /// The tool that must find it, and by which test.
    pub tool: Tool,
    pub test: &'static str,
    /// Where it is, in the crate's sources; what is there, and what is planted instead.
    file: &'static str,
    old: &'static str,
    new: &'static str,
}

pub const PLANTS: &[Plant] = &[
    Plant {
        what: "an owner that passes no barrier on its way in",
        tool: Tool::Loom,
        test: "loom::nobody_is_inside_once_the_owner_was_waited_for",
        file: "sync/gate.rs",
        old: "compiler_fence(Ordering::SeqCst);",
        new: "",
    },
    Plant {
        what: "a gate that is opened before what was done behind it is seen",
        tool: Tool::Loom,
        test: "loom::nobody_is_inside_once_the_owner_was_waited_for",
        file: "sync/gate.rs",
        old: "self.sign.write(value, Release);",
        new: "self.sign.write(value, Relaxed);",
    },
    Plant {
        what: "a stranger that goes in although it has not heard of the owner",
        tool: Tool::Loom,
        test: "loom::what_an_owner_has_that_is_not_heard_of_is_left_alone",
        file: "sync/gate.rs",
        old: "                all = false;\n",
        new: "",
    },
    Plant {
        what: "pages that are opened before they are empty",
        tool: Tool::Loom,
        test: "loom::pages_are_not_emptied_while_their_owner_is_inside",
        file: "per_cpu/mod.rs",
        old: "            inside(pages);\n            pages.reopen();",
        new: "            pages.reopen();\n            inside(pages);",
    },
    Plant {
        what: "a pageblock that is locked without seeing what was done under the lock before",
        tool: Tool::Loom,
        test: "loom::frames_freed_into_one_word_at_once_are_found",
        file: "zone/pageblock.rs",
        old: "Header(self.header.swap(Header::LOCKED.0, Acquire))",
        new: "Header(self.header.swap(Header::LOCKED.0, Relaxed))",
    },
    Plant {
        what: "a pageblock that is unlocked before what was done under the lock is seen",
        tool: Tool::Loom,
        test: "loom::frames_freed_into_one_word_at_once_are_found",
        file: "zone/pageblock.rs",
        old: "store_last(&self.header, header.0, Release);",
        new: "store_last(&self.header, header.0, Relaxed);",
    },
    Plant {
        what: "a pageblock that is locked by a load and a store",
        tool: Tool::Loom,
        test: "loom::frames_freed_into_one_word_at_once_are_found",
        file: "zone/pageblock.rs",
        old: "Header(self.header.swap(Header::LOCKED.0, Acquire))",
        new: "{\n            let old = self.header.load(Acquire);\n            self.header.store(Header::LOCKED.0, Relaxed);\n            Header(old)\n        }",
    },
    Plant {
        what: "a loan that ends before its pageblock is locked",
        tool: Tool::Loom,
        test: "loom::a_lent_block_is_freed_while_its_loan_ends",
        file: "zone/pageblocks.rs",
        old: "let (mut block, offset) = self.lock_at(base)?;\n        let (free, lent) = batch.end();",
        new: "let (free, lent) = batch.end();\n        let (mut block, offset) = self.lock_at(base)?;",
    },
    Plant {
        what: "a batch that hands out what another CPU has freed too",
        tool: Tool::Loom,
        test: "loom::of_two_frees_of_a_lent_block_one_is_noticed_before_it_has_two_owners",
        file: "per_cpu/batch.rs",
        old: "let ready = free & self.lent.load(Relaxed);",
        new: "let ready = free;",
    },
    Plant {
        what: "slots that others freed, cleared by a load and a store",
        tool: Tool::Loom,
        test: "loom::slots_freed_from_elsewhere_come_back",
        file: "slab/bitmap.rs",
        old: "if remote.fetch_and(!bits, AcqRel) & !bits == 0 {",
        new: "remote.store(remote.load(Acquire) & !bits, Release);\n                if true {",
    },
    Plant {
        what: "slots that others freed, cleared before they are in the owner's bitmap",
        tool: Tool::Loom,
        test: "loom::a_slot_is_free_while_it_is_taken_over",
        file: "slab/bitmap.rs",
        old: "let bits = remote.load(Acquire);",
        new: "let bits = remote.swap(0, AcqRel);",
    },
    Plant {
        what: "a slot that is handed out although another CPU has freed it too",
        tool: Tool::Loom,
        test: "loom::of_two_frees_of_one_slot_one_is_noticed",
        file: "slab/bitmap.rs",
        old: "NonZero::new(free & !self.remote_word(word).load(Relaxed))",
        new: "NonZero::new(free | (free & self.remote_word(word).load(Relaxed)))",
    },
    Plant {
        what: "a slab that is given to another arena by a load and a store",
        tool: Tool::Loom,
        test: "loom::of_two_frees_of_one_slot_one_is_noticed_wherever_the_slab_goes",
        file: "slab/descriptor.rs",
        old: "self.tag.fetch_xor(before ^ tag_of(arena), AcqRel);",
        new: "let announced = self.tag.load(Relaxed) & ANNOUNCED;\n        self.tag.store(tag_of(arena) | announced, Release);\n        let _ = before;",
    },
    Plant {
        what: "a slab that is closed without a look at what was freed twice",
        tool: Tool::Loom,
        test: "loom::a_slab_that_a_second_free_empties_is_closed_with_all_that_was_freed",
        file: "slab/bitmap.rs",
        old: "let mut bits = remote.swap(u64::MAX, AcqRel);",
        new: "remote.store(u64::MAX, Release);\n            let mut bits = 0;",
    },
    Plant {
        what: "a slab that leaves its arena by a load and a store",
        tool: Tool::Loom,
        test: "loom::a_slab_that_a_second_free_empties_is_closed_with_all_that_was_freed",
        file: "slab/descriptor.rs",
        old: "self.tag.compare_exchange(quiet, tag_of(ArenaId::TRANSIT), AcqRel, Relaxed).is_ok()",
        new: "{\n            let is_quiet = self.tag.load(Relaxed) == quiet;\n            if is_quiet {\n                self.tag.store(tag_of(ArenaId::TRANSIT), Release);\n            }\n            is_quiet\n        }",
    },
    Plant {
        what: "pages that are emptied without waiting for their owner",
        tool: Tool::Shuttle,
        test: "frames::pages_are_emptied_only_while_their_owner_is_outside",
        file: "sync/gate.rs",
        old: "while self.is_busy() {",
        new: "while false {",
    },
    Plant {
        what: "a batch that forgets what was freed twice when it hands out another block",
        tool: Tool::Shuttle,
        test: "frames::of_two_frees_of_one_block_one_is_noticed",
        file: "per_cpu/batch.rs",
        old: "self.free.store(free ^ 1 << bit, Relaxed);",
        new: "self.free.store(ready ^ 1 << bit, Relaxed);",
    },
    Plant {
        what: "a pageblock that becomes dirty by a load and a store",
        tool: Tool::Shuttle,
        test: "frames::no_frame_has_two_owners",
        file: "zone/pageblocks.rs",
        old: "block.set_next(self.dirty.swap(block.number as u64, AcqRel));",
        new: "block.set_next(self.dirty.load(crate::sync::atomic::Ordering::Acquire));\n            self.dirty.store(block.number as u64, crate::sync::atomic::Ordering::Release);",
    },
    Plant {
        what: "a pageblock that is not dirty any more before it was asked for the next",
        tool: Tool::Shuttle,
        test: "frames::no_frame_has_two_owners",
        file: "zone/settle.rs",
        old: "self.dirty = Pageblocks::pass_dirty(&mut block);",
        new: "block.header.set_dirty(false);\n        drop(block);\n        self.dirty = Pageblocks::behind(&self.blocks.lock(number as usize));",
    },
    Plant {
        what: "a block that is split without a look whether it has been freed",
        tool: Tool::Shuttle,
        test: "frames::a_block_is_split_or_freed",
        file: "zone/split.rs",
        old: "if !block.is_allocated(offset, order.get().into()) {",
        new: "if false {",
    },
    Plant {
        what: "a slab that a CPU remembers although it is another's now",
        tool: Tool::Shuttle,
        test: "heap::no_object_has_two_owners",
        file: "slab/arena.rs",
        old: "slab.inspect(|&slab| self.forget(slab))",
        new: "slab",
    },
    Plant {
        what: "an owner whose last stores inside nothing keeps before its leaving",
        tool: Tool::Threads,
        test: "frames::no_frame_has_two_owners",
        file: "sync/gate.rs",
        old: "self.busy.store(false, Release);",
        new: "self.busy.store(false, Relaxed);",
    },
    Plant {
        what: "a slot handed back while its last user may still be writing to it",
        tool: Tool::Threads,
        test: "heap::what_others_free_comes_back",
        file: "slab/bitmap.rs",
        old: "self.remote_word(word).fetch_or(bit, AcqRel);\n        if before",
        new: "self.remote_word(word).fetch_or(bit, Relaxed);\n        if before",
    },
    Plant {
        what: "a write to what all CPUs share behind closed gates",
        tool: Tool::Threads,
        test: "heap::no_object_has_two_owners",
        file: "slab/list.rs",
        old: "let last = self.back()?;",
        new: "let Some(last) = self.back() else {\n            self.front.set(None);\n            return None;\n        };",
    },
];

impl Plant {
    /// The file that it is in, with the mistake, of the project at `root`.
    ///
    /// # Errors
    /// If what is to be changed is not there, or is there twice.
    fn applied(&self, root: &Path) -> Result<String> {
        let path = root.join(SOURCES).join(self.file);
        let sound = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        replaced(&sound, self.old, self.new, self.file).with_context(|| format!("plant {} elsewhere", self.what))
    }
}

/// What a copy consists of: the crate, this one, and what says how they are built.
const PARTS: [&str; 5] = ["Cargo.lock", "kernel/mm/src", "tests/concurrency", "tests/kit", "tests/planted"];
const SOURCES: &str = "kernel/mm/src";

/// A workspace with a copy of the crate and of its tests.
pub struct Copy {
    original: PathBuf,
    path: PathBuf,
}

impl Copy {
    pub fn new(root: &Path, target: &Path) -> Result<Self> {
        let path = target.join("planted");
        let manifest = fs::read_to_string(root.join("Cargo.toml")).context("Cargo.toml")?;
        let manifest = manifest.lines().map(|line| match line.split_once(" = ") {
            Some(("members", _)) => {
                "members = [\"tests/concurrency\", \"tests/concurrency/modelled\", \"tests/kit\", \"tests/planted\"]"
            }
            Some(("default-members", _)) => "",
            // The same sources, as the package that may depend on the tools.
            Some(("bifolio", _)) => "bifolio = { path = \"tests/concurrency/modelled\", package = \"modelled\" }",
            _ => line,
        });
        write(&path.join("Cargo.toml"), &manifest.collect::<Vec<_>>().join("\n"))?;
        Ok(Self { original: root.to_path_buf(), path })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the copy what the original is, but for this mistake, if any.
    ///
    /// # Errors
    /// If what is to be changed is not there, or is there twice.
    pub fn plant(&self, plant: Option<&Plant>) -> Result<()> {
        let changed = plant.map_or_else(PathBuf::new, |plant| Path::new(SOURCES).join(plant.file));
        for part in PARTS {
            copy(&self.original, &self.path, Path::new(part), &|file, text| Ok((file != changed).then_some(text)))?;
        }
        let Some(plant) = plant else { return Ok(()) };
        write(&self.path.join(&changed), &plant.applied(&self.original)?)
    }

    /// Makes the copy what the original is, but that it says when a place of one of these mistakes is first passed, by its number here.
    ///
    /// # Errors
    /// If a place is not there, or is there twice.
    #[cfg(test)]
    fn mark(&self, plants: &[&Plant]) -> Result<()> {
        self.plant(None)?;
        for (number, plant) in plants.iter().enumerate() {
            let path = self.path.join(SOURCES).join(plant.file);
            let text = fs::read_to_string(&path)?;
            // A mark is a statement before the one that the place is in, where lines begin with statements.
            let marked = replaced(&text, plant.old, &format!("{MARK}{}", plant.old), plant.file)?;
            let (before, behind) = marked.split_once(MARK).context("it was put there")?;
            let line = before.rfind('\n').map_or(0, |end| end + 1);
            let marked = [&before[..line], &format!("crate::passed({number});\n"), &before[line..], behind].concat();
            write(&path, &marked)?;
        }
        let library = self.path.join(SOURCES).join("lib.rs");
        write(&library, &(fs::read_to_string(&library)? + PASSED))
    }
}

#[cfg(test)]
const MARK: &str = "\0";
/// Says what is passed, once.
#[cfg(test)]
const PASSED: &str = r#"
#[allow(missing_docs, clippy::all, reason = "a copy that is tried")]
pub fn passed(number: usize) {
    extern crate std;
    static ALL: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    if ALL.fetch_or(1 << number, std::sync::atomic::Ordering::Relaxed) >> number & 1 == 0 {
        std::eprintln!("passed {number};");
    }
}
"#;

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::process::Command;

    /// The tools themselves take minutes to build and to run. That there is still what they are to find is seen at once.
    #[test]
    fn every_mistake_has_its_place_its_test_and_a_line_in_the_readme() {
        let own = Path::new(env!("CARGO_MANIFEST_DIR"));
        let readme = fs::read_to_string(own.join("README.md")).unwrap();
        for plant in PLANTS {
            plant.applied(&own.join("../..")).unwrap();
            let (file, test) = plant.test.split_once("::").unwrap();
            let tests = fs::read_to_string(own.join("tests").join(file).with_extension("rs")).unwrap();
            assert!(tests.contains(&format!("#[test]\nfn {test}()")), "there is no test {}", plant.test);
            let line = format!("| {} | {} | `{test}` |", plant.what, plant.tool.title());
            assert!(readme.contains(&line), "the README does not say: {line}");
        }
    }

    /// A test that does not come by a mistake cannot find it. Loom's would have to be built with loom to be run, the others can be without
    /// their tools.
    #[test]
    fn every_mistake_is_where_its_test_goes() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let target = root.join("target/concurrency/marked");
        let copy = Copy::new(&root, &target).unwrap();
        let plants: Vec<&Plant> = PLANTS.iter().filter(|plant| plant.tool != Tool::Loom).collect();
        copy.mark(&plants).unwrap();
        let mut said = BTreeMap::new();
        for (number, plant) in plants.iter().enumerate() {
            let said = said.entry(plant.test).or_insert_with(|| {
                let (file, test) = plant.test.split_once("::").unwrap();
                let mut cargo = Command::new(env!("CARGO"));
                cargo.current_dir(copy.path()).args(["test", "--quiet", "-p", "concurrency", "--test", file, test]);
                let output = cargo.arg("--target-dir").arg(&target).args(["--", "--nocapture"]).output().unwrap();
                String::from_utf8_lossy(&output.stderr).into_owned()
            });
            assert!(
                said.contains(&format!("passed {number};")),
                "{} does not come by {}:\n{said}",
                plant.test,
                plant.what
            );
        }
    }
}
