//! No operation on page frames or on the heap becomes dearer unnoticed: the instructions of each kind are counted, and have a
//! bound.
//!
//! They are counted in a program of its own (`tests/model/examples/instructions.rs`), which is always built as `make bench` builds
//! what it measures, whatever this test is built with: so a figure is the same for everybody, in every run and beside any
//! load. `cargo test -p model --test instructions -- --nocapture` shows the figures, and the table below as it would be.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use std::env;
use std::fmt::Write;
use std::process::Command;

/// The most instructions that an operation may take on average; `refill` and the heap's `first allocations` are the dearest of
/// many, and `drain` is one.
///
/// Each bound is 2 % over what was counted last. Where one is raised, the commit says for what.
const BOUNDS: [(&str, f64); 33] = [
    ("pair", 50.21),
    ("batch of 64", 59.16),
    ("bulk allocation", 35.41),
    ("bulk free", 67.81),
    ("random free", 67.47),
    ("mixed orders", 200.46),
    ("order 9 allocated", 66.5),
    ("order 9 freed", 70.89),
    ("order 10 of another mobility", 1168.92),
    ("refill", 1934.94),
    ("remote free", 67.47),
    ("drain", 1904.34),
    ("heap: pair of 64 bytes", 55.47),
    ("heap: power", 120.63),
    ("heap: uniform", 151.12),
    ("heap: big", 199.07),
    ("heap: bulk allocation", 27.68),
    ("heap: bulk free", 35.75),
    ("heap: remote free", 114.29),
    ("heap: refill", 1798.26),
    ("heap: first allocations", 3389.46),
    ("recorded: pair", 170.28),
    ("recorded: pair, as bytes", 543.98),
    ("recorded: heap: pair of 64 bytes", 230.13),
    ("not hardened: pair", 49.21),
    ("not hardened: heap: pair of 64 bytes", 80.24),
    ("init_on_alloc: pair", 232.81),
    ("init_on_alloc: heap: pair of 64 bytes", 588.34),
    ("init_on_free: pair", 228.73),
    ("init_on_free: heap: pair of 64 bytes", 588.34),
    ("off again: pair", 49.21),
    ("off again: heap: pair of 64 bytes", 80.24),
    ("kfence.sample_interval: heap: pair of 64 bytes", 83.69),
];
/// What a bound is of the figure it was set by.
const MARGIN: f64 = 1.02;
/// A figure below so much of its bound is told of, so that the bound follows.
const FAR_BELOW: f64 = 0.9;

/// Cargo, as it would be if nobody had asked for anything else than what the project's files say.
fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| env!("CARGO").into()));
    command.current_dir(env!("CARGO_MANIFEST_DIR"));
    let decides =
        |name: &str| name.starts_with("CARGO_PROFILE_") || ["CARGO_INCREMENTAL", "CARGO_BUILD_TARGET"].contains(&name);
    for (name, _) in env::vars_os().filter(|(name, _)| name.to_str().is_some_and(decides)) {
        command.env_remove(name);
    }
    // This is asked first, so that flags from anywhere else are void.
    command.env("CARGO_ENCODED_RUSTFLAGS", "");
    command
}

/// What is counted: each name with its instructions for an operation.
fn figures() -> Vec<(String, f64)> {
    let output = cargo()
        .args(["run", "--quiet", "--profile", "measured", "--package", "model", "--no-default-features"])
        .args(["--example", "instructions"])
        .output()
        .expect("cargo can be run");
    let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "the program that counts ended with {}:\n{errors}", output.status);
    let figure = |line: &str| {
        let mut fields = line.split('\t');
        let name = fields.next()?.to_owned();
        let mut number = || fields.next()?.parse::<f64>().ok();
        Some((name, number()? / number()?))
    };
    text.lines().map(|line| figure(line).unwrap_or_else(|| panic!("no figure: {line:?}"))).collect()
}

/// The table of bounds as these figures would have it.
fn table(figures: &[(String, f64)]) -> String {
    figures.iter().fold(String::new(), |mut text, (name, figure)| {
        let bound = (figure * MARGIN * 100.0).floor() / 100.0;
        writeln!(text, "    (\"{name}\", {bound:?}),").expect("a string takes everything");
        text
    })
}

/// What is to be said of a figure above its bound.
fn complaint(name: &str, figure: f64, bound: f64) -> Option<String> {
    let more = 100.0 * (figure / bound - 1.0);
    (figure > bound).then(|| format!("{name}: {figure:.2} instructions, {more:.1} % above its bound of {bound}"))
}

/// What is to be said of one that has become much better.
fn hint(name: &str, figure: f64, bound: f64) -> Option<String> {
    (figure < FAR_BELOW * bound)
        .then(|| format!("hint: {name}: {figure:.2} instructions are far below its bound of {bound}: lower it"))
}

#[test]
fn no_operation_takes_more_instructions_than_it_did() {
    let figures = figures();
    let names: Vec<&str> = figures.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, BOUNDS.map(|(name, _)| name), "each figure has its bound");
    let mut complaints = Vec::new();
    for ((name, figure), (_, bound)) in figures.iter().zip(BOUNDS) {
        println!("{name:46} {figure:10.2} of {bound:8.2}");
        hint(name, *figure, bound).into_iter().for_each(|hint| println!("{hint}"));
        complaints.extend(complaint(name, *figure, bound));
    }
    let figure = |name: &str| figures.iter().find(|(own, _)| own == name).map(|(_, figure)| *figure);
    for (name, _) in BOUNDS.iter().filter(|(name, _)| name.starts_with("not hardened: ")) {
        let off_again = name.replace("not hardened", "off again");
        assert_eq!(figure(name), figure(&off_again), "{off_again}: hardening that is off costs something");
    }
    println!("The table of bounds by these figures:\n{}", table(&figures));
    assert!(
        complaints.is_empty(),
        "operations have become dearer:\n  {}\nA change that makes them cheaper elsewhere may be worth it: then raise the \
         bound in {} to what is printed above, and give the reason in the commit. (Counted with {}; the bounds are for the \
         compiler of rust-toolchain.toml.)",
        complaints.join("\n  "),
        file!(),
        compiler(),
    );
}

/// By its version and that of its code generator, which is not the same in every build of it.
fn compiler() -> String {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).args(["--version", "--verbose"]).output().expect("the compiler says what it is");
    let text = String::from_utf8_lossy(&output.stdout);
    let lines = text.lines().filter(|line| ["rustc ", "LLVM "].iter().any(|start| line.starts_with(start)));
    lines.collect::<Vec<_>>().join(", ")
}

/// The gate itself, by what it says.
#[test]
fn a_figure_is_told_of_above_its_bound_and_far_below() {
    assert_eq!(complaint("pair", 102.0, 102.0), None);
    let complaint = complaint("pair", 104.04, 102.0).unwrap();
    assert!(complaint.contains("pair: 104.04") && complaint.contains("2.0 % above its bound of 102"), "{complaint}");
    assert_eq!(hint("pair", 91.9, 102.0), None);
    assert!(hint("pair", 91.7, 102.0).unwrap().contains("lower it"));
    assert_eq!(table(&[("pair".to_owned(), 100.0)]), "    (\"pair\", 102.0),\n");
}
