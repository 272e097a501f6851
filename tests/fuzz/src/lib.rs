//! Fuzzing: each [`Target`] takes bytes that somebody else has put together, and panics if what comes of them is not as it must be.
//!
//! `make fuzz` lets libFuzzer put them together, guided by which code they reach; `tests/corpus.rs` replays those inputs of earlier
//! campaigns that are worth keeping, in any build. Oracles are those of the packages `kit` and `model`: a target has none of its own,
//! but turns bytes into choices.

mod heap;
mod lines;
mod maps;
mod traces;
mod trees;

/// Something that takes bytes.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// What `TARGET=` calls it.
    pub name: &'static str,
    /// How many bytes an input has at most, so that it takes no longer than others.
    pub longest: usize,
    /// Takes an input.
    pub run: fn(&[u8]),
}

/// All of them.
pub const TARGETS: [Target; 6] = [
    // Eight bytes an entry, or a few more.
    Target { name: "maps", longest: 512, run: maps::run },
    Target {
        name: "frames",
        longest: 1024,
        run: |bytes| _ = model::soak::run_small(model::choices::Choices::bytes(bytes)),
    },
    Target { name: "heap", longest: 1024, run: heap::run },
    Target { name: "lines", longest: 512, run: lines::run },
    Target { name: "traces", longest: 1024, run: traces::run },
    Target { name: "trees", longest: 512, run: trees::run },
];

impl Target {
    /// The one of this name.
    pub fn named(name: &str) -> Option<Self> {
        TARGETS.into_iter().find(|target| target.name == name)
    }
}
