//! The README is true: what it shows is what happens, what it says can be done is done here, and what it names is there. So are
//! the [lessons].
//!
//! The run at its top is that of a certain build, so its words are compared exactly and its numbers roughly ([`compare`]).
//! `UPDATE=1 cargo test -p boot --test readme` puts there what this build prints.

mod claims;
mod compare;
mod dependencies;
mod lessons;
mod machine;
mod markdown;
mod names;

use machine::Machine;
use markdown::{Block, Document};

/// What begins a run in a block of text.
const RUN: &str = "$ make run ";

/// The blocks of text that show a run: the command behind `make run`, and what it printed.
fn runs(document: &Document) -> Vec<(String, Block)> {
    let blocks = document.blocks("text").into_iter();
    blocks.filter_map(|block| Some((block.lines.first()?.strip_prefix(RUN)?.to_owned(), block))).collect()
}

#[test]
fn the_run_that_is_shown_is_what_a_boot_prints() {
    let readme = Document::read("README.md");
    let runs = runs(&readme);
    assert!(!runs.is_empty(), "the README shows no run");
    for (command, block) in runs {
        let shown = &block.lines[1..];
        let printed = Machine::of(&command).run();
        let printed: Vec<&str> = printed.lines().map(str::trim_end).collect();
        if std::env::var_os("UPDATE").is_some_and(|value| value == "1") {
            readme.replace(&block, &[&[block.lines[0].as_str()], &printed[..]].concat());
            continue;
        }
        if let Err(difference) = compare::texts(shown, &printed) {
            panic!(
                "README.md, line {}: {difference}\nUPDATE=1 cargo test -p boot --test readme puts there what is printed:\n{}",
                block.line,
                printed.join("\n")
            );
        }
        // Numbers that are roughly right would hide what the text below speaks of.
        for text in [shown.iter().map(String::as_str).collect(), printed] {
            claims::a_block_is_taken(&text, 5);
        }
    }
}

#[test]
fn each_run_that_is_named_works() {
    let readme = Document::read("README.md");
    let lines = readme.commands();
    let commands: Vec<&str> = lines.iter().filter_map(|line| line.strip_prefix("make run")).collect();
    assert!(commands.len() >= 5, "{commands:?}");
    for command in commands {
        let machine = Machine::of(command);
        // Here is no display, no gdb and nobody with a browser: that they are asked for as the Makefile says is all that can be looked at.
        if machine.needs_company() || machine.is_default() || claims::is_tried_elsewhere(&machine) {
            continue;
        }
        if machine.has_commands() {
            machine.run();
        } else {
            machine.start().end();
        }
    }
}

#[test]
fn the_host_program_does_what_the_line_with_it_says() {
    let readme = Document::read("README.md");
    let lines = readme.commands();
    let commands: Vec<&str> = lines.iter().filter_map(|line| line.strip_prefix("cargo run -p boot -- run ")).collect();
    assert_eq!(commands.len(), 1, "{commands:?}");
    let printed = Machine::with_options(commands[0]).run();
    assert!(printed.contains("bifolio> memmap\n[mem 0x") && printed.contains("slabinfo - version"), "{printed}");
}
