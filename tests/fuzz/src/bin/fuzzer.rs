//! libFuzzer at the target that `TARGET` names: what `make fuzz` builds with counters, and runs.
#![no_main]
#![allow(missing_docs, reason = "a program has no public items")]

use std::sync::LazyLock;

use fuzz::Target;

static TARGET: LazyLock<Target> = LazyLock::new(|| {
    let name = std::env::var("TARGET").unwrap_or_default();
    Target::named(&name).unwrap_or_else(|| panic!("there is no target `{name}`"))
});

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| (TARGET.run)(bytes));
