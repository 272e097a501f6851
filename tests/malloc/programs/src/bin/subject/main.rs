//! A program to preload the library into: it asks C's family for what other programs seldom do, and looks closely.
//!
//! It is linked against the C library like any other, and has the system's allocator when nothing is preloaded: what it
//! checks holds there too, but for what that does not have.
#![allow(missing_docs, reason = "a program has no public items")]

mod contents;
mod family;
mod forks;
mod memory;
mod mistakes;
mod threads;

use std::env;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["family"] => family::run(),
        ["forks"] => forks::run(),
        ["threads"] => threads::run(),
        ["memory"] => memory::run(),
        ["limit"] => memory::run_with_limit(),
        ["mistake", mistake] => return mistakes::run(mistake),
        _ => {
            eprintln!("usage: subject family|forks|threads|memory|limit|mistake NAME");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
