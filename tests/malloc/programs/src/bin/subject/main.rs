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

/// How many seconds anything may take. Whoever waits for a lock that nobody opens must not wait for ever.
const TIME_LIMIT: u32 = 300;

fn main() -> ExitCode {
    set_alarm();
    let arguments: Vec<String> = env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["family"] => family::run(),
        ["forks"] => forks::run(),
        ["threads"] => threads::run(),
        ["memory"] => memory::run(),
        ["limit"] => memory::run_with_limit(),
        ["little"] => memory::run_in_little(),
        ["some"] => memory::run_in_some(),
        ["large"] => memory::run_large(),
        ["mistake", mistake] => return mistakes::run(mistake),
        _ => {
            eprintln!("usage: subject family|forks|threads|memory|limit|little|some|large|mistake NAME");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

/// Ends this process by a signal when it takes too long. A child of a fork has to ask for that itself.
fn set_alarm() {
    // SAFETY: the signal that comes is not handled, and so ends the process.
    unsafe { libc::alarm(TIME_LIMIT) };
}
