//! What tests of the explorer's page need: its code, and a browser.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::Command;

/// Where Chromium is. Where it is not, that is said.
pub fn chromium() -> Option<PathBuf> {
    let found = boot::browser::find();
    if found.is_none() {
        // Not by `eprint`, which tests keep to themselves.
        let _ = io::stderr().write_all(b"skipped: the explorer in Chromium, which is not on this host\n");
    }
    found
}

/// The page's code, built.
pub fn code() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let target = test.ancestors().nth(3).unwrap();
    let build =
        ["rustc", "-q", "-p", "explorer", "--lib", "--crate-type", "cdylib", "--target", "wasm32-unknown-unknown"];
    let status = Command::new(env!("CARGO")).args(build).args(["--profile", "page"]).status().unwrap();
    assert!(status.success());
    target.join("wasm32-unknown-unknown/page/explorer.wasm")
}
