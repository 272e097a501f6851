//! What the crate brings with it, as the README shows it.

use super::markdown::{Document, root};
use std::collections::BTreeSet;
use std::process::Command;

/// What begins the block.
const TREE: &str = "$ cargo tree ";

#[test]
fn the_dependencies_that_are_shown_are_all_there_are() {
    let readme = Document::read("README.md");
    let blocks = readme.blocks("text");
    let shown = blocks.iter().find_map(|block| Some((block.lines.first()?.strip_prefix(TREE)?, &block.lines[1..])));
    let (arguments, shown) = shown.expect("the README shows the dependencies");
    let cargo = Command::new(env!("CARGO")).arg("tree").args(arguments.split(' ')).current_dir(root()).output();
    let cargo = cargo.expect("cargo runs");
    assert!(cargo.status.success(), "{}", String::from_utf8_lossy(&cargo.stderr));
    let printed = String::from_utf8(cargo.stdout).expect("names of packages are text");
    let printed: Vec<&str> = printed.lines().collect();
    assert_eq!(shown, printed, "what is shown of `cargo tree {arguments}`, and what there is");
    let names = printed.iter().map(|line| line.trim_start_matches(|c: char| !c.is_alphanumeric()));
    let names: BTreeSet<&str> = names.collect();
    assert!(names.len() <= 1 + 4, "the crate and four more: {names:?}");
}
