//! The commands that need nothing but a few lines each.

use super::error::Error;
use super::state::{Shell, leave};
use crate::console::Console;
use crate::memory::{frames, heap, vmalloc};
use crate::println;
use bifolio::frame::{FRAME_SIZE, Gfp};
use bifolio::report;
use core::fmt::{self, Write};
use line::{counted, expect};
use protocol::ExitCode;

/// A command that takes no arguments and shows something.
pub(super) fn show<'a>(words: &[&'a str], write: impl FnOnce(&mut Console) -> fmt::Result) -> Result<(), Error<'a>> {
    expect(words, &[], 0)?;
    // The console takes everything.
    let _ = write(&mut Console);
    Ok(())
}

/// The page allocator's figures, and those of what the kernel makes of frames.
pub(super) fn meminfo(out: &mut Console) -> fmt::Result {
    report::meminfo(frames(), out)?;
    let held = heap::HEAP.frames();
    for (name, bytes) in [
        ("Slab:", held.slabs * FRAME_SIZE),
        ("LargeObjects:", held.large * FRAME_SIZE),
        ("HeapMetadata:", held.metadata * FRAME_SIZE),
        ("VmallocTotal:", vmalloc::totals().0),
        ("VmallocUsed:", vmalloc::pages() * FRAME_SIZE),
    ] {
        writeln!(out, "{name:<15} {:8} kB", bytes / 1024)?;
    }
    Ok(())
}

pub(super) fn help<'a>(_: &mut Shell, words: &[&'a str]) -> Result<(), Error<'a>> {
    let Some(name) = expect(words, &[], 1)?.first() else {
        for (about, commands) in Shell::groups() {
            println!("{about}:");
            commands.iter().for_each(|command| println!("  {:<13} {}", command.name(), command.help));
        }
        println!("'help <command>' says how one is used, with an example. `a; b` runs two, and # begins a comment.");
        return Ok(());
    };
    let command = Shell::command(name).ok_or(Error::UnknownCommand(name))?;
    println!("{}: {}", command.name(), command.help);
    println!("usage:   {}", command.usage);
    println!("example: {}", command.example);
    if command.takes_flags() {
        let names = <Gfp as bitflags::Flags>::FLAGS.iter().map(bitflags::Flag::name);
        print_wrapped("flags, joined by '|' or ',':", names);
    }
    Ok(())
}

/// Prints a head and words behind it, in rows of at most 80 characters.
fn print_wrapped<'a>(head: &str, words: impl Iterator<Item = &'a str>) {
    let mut column = head.len();
    crate::print!("{head}");
    for word in words {
        if column + 1 + word.len() > 80 {
            crate::print!("\n        ");
            column = 8;
        }
        crate::print!(" {word}");
        column += 1 + word.len();
    }
    println!();
}

pub(super) fn drain<'a>(_: &mut Shell, words: &[&'a str]) -> Result<(), Error<'a>> {
    expect(words, &[], 0)?;
    let cached = frames().cached();
    frames().drain();
    println!("{} went back to the zones", counted(cached - frames().cached(), "frames"));
    Ok(())
}

pub(super) fn validate<'a>(_: &mut Shell, words: &[&'a str]) -> Result<(), Error<'a>> {
    expect(words, &[], 0)?;
    frames().validate()?;
    heap::HEAP.validate()?;
    println!("page frames and heap: every invariant holds");
    Ok(())
}

pub(super) fn poweroff<'a>(_: &mut Shell, words: &[&'a str]) -> Result<(), Error<'a>> {
    expect(words, &[], 0)?;
    leave(ExitCode::Success)
}
