//! The commands: one table, and a function each.

use super::{Error, Shell};
use crate::console::Console;
use crate::memory::{frames, heap, map};
use crate::{host, println};
use bifolio::frame::{Gfp, Order, Pfn, ZoneKind};
use bifolio::report;
use core::fmt;
use protocol::ExitCode;

/// A command of the shell.
#[derive(Debug)]
pub struct Command {
    /// What is typed.
    pub name: &'static str,
    /// The command with its arguments, `<required>` and `[optional]`.
    pub usage: &'static str,
    /// What it does, in a line.
    pub help: &'static str,
    /// Does it, with the words behind the name.
    pub run: for<'a> fn(&mut Shell, &[&'a str]) -> Result<(), Error<'a>>,
}

/// Every command there is.
pub static COMMANDS: &[Command] = &[
    Command { name: "help", usage: "help", help: "list the commands", run: help },
    Command {
        name: "meminfo",
        usage: "meminfo",
        help: "the machine's memory in kB",
        run: |_, arguments| show(arguments, |out| report::meminfo(frames(), out)),
    },
    Command {
        name: "buddyinfo",
        usage: "buddyinfo",
        help: "free blocks of order 0, 1, ... 10 in each zone",
        run: |_, arguments| show(arguments, |out| report::buddyinfo(frames(), out)),
    },
    Command {
        name: "zoneinfo",
        usage: "zoneinfo",
        help: "pages, watermarks and reserves of each zone",
        run: |_, arguments| show(arguments, |out| report::zoneinfo(frames(), out)),
    },
    Command {
        name: "slabinfo",
        usage: "slabinfo",
        help: "the heap's caches: objects and slabs of each size",
        run: |_, arguments| show(arguments, |out| heap::HEAP.write_slabinfo(out)),
    },
    Command {
        name: "memmap",
        usage: "memmap",
        help: "the machine's memory map, sanitised",
        run: |_, arguments| show(arguments, map::write),
    },
    Command {
        name: "alloc",
        usage: "alloc <order> [flags]",
        help: "allocate a block of 2^order frames; flags are Linux's, such as DMA or MOVABLE|ATOMIC",
        run: alloc,
    },
    Command { name: "free", usage: "free <pfn> [order]", help: "free a block that 'alloc' gave", run: free },
    Command {
        name: "drain",
        usage: "drain",
        help: "give the frames in the processors' arenas back to the zones",
        run: drain,
    },
    Command {
        name: "validate",
        usage: "validate",
        help: "check every invariant of the page allocator and the heap",
        run: validate,
    },
    Command { name: "poweroff", usage: "poweroff", help: "switch the machine off", run: poweroff },
];

/// Takes the words that a command has: those in `names` are required, then up to `optional` more.
fn expect<'w, 'a>(words: &'w [&'a str], names: &[&'static str], optional: usize) -> Result<&'w [&'a str], Error<'a>> {
    match (names.get(words.len()), words.get(names.len() + optional)) {
        (Some(missing), _) => Err(Error::Missing(missing)),
        (None, Some(word)) => Err(Error::Unexpected(word)),
        (None, None) => Ok(words),
    }
}

/// A command that takes no arguments and shows something.
fn show<'a>(words: &[&'a str], write: impl FnOnce(&mut Console) -> fmt::Result) -> Result<(), Error<'a>> {
    expect(words, &[], 0)?;
    // The console takes everything.
    let _ = write(&mut Console);
    Ok(())
}

fn help<'a>(_: &mut Shell, words: &[&'a str]) -> Result<(), Error<'a>> {
    expect(words, &[], 0)?;
    for command in COMMANDS {
        println!("  {:<22} {}", command.usage, command.help);
    }
    Ok(())
}

fn alloc<'a>(shell: &mut Shell, words: &[&'a str]) -> Result<(), Error<'a>> {
    let words = expect(words, &["the order"], 1)?;
    let order = order(words[0])?;
    let gfp = words.get(1).map_or(Ok(Gfp::KERNEL), |word| flags(word))?;
    let pfn = frames().allocate(order, gfp)?;
    if shell.blocks.try_reserve(1).is_err() {
        frames().free(pfn, order)?;
        return Err(Error::NoRoomToNote);
    }
    shell.blocks.push((pfn, order));
    println!("order {order}, {} kB in zone {}: free {pfn} {order}", order.bytes() / 1024, ZoneKind::of(pfn));
    Ok(())
}

fn free<'a>(shell: &mut Shell, words: &[&'a str]) -> Result<(), Error<'a>> {
    let words = expect(words, &["the pfn"], 1)?;
    let pfn = Pfn::new(number(words[0])?);
    let given = words.get(1).map(|word| order(word)).transpose()?;
    let note = shell.blocks.iter().position(|&(block, _)| block == pfn);
    // What was never allocated is for the allocator to name; what was, but not here, is in use.
    if note.is_none()
        && let Ok(order) = frames().order_of(pfn)
    {
        return Err(Error::NotTheShells(pfn, order));
    }
    let order = match given {
        Some(order) => order,
        None => frames().order_of(pfn)?,
    };
    frames().free(pfn, order)?;
    note.map(|note| shell.blocks.swap_remove(note));
    println!("freed order {order} at {pfn}");
    Ok(())
}

fn drain<'a>(_: &mut Shell, words: &[&'a str]) -> Result<(), Error<'a>> {
    expect(words, &[], 0)?;
    let cached = frames().cached();
    frames().drain();
    println!("{} frames went back to the zones", cached - frames().cached());
    Ok(())
}

fn validate<'a>(_: &mut Shell, words: &[&'a str]) -> Result<(), Error<'a>> {
    expect(words, &[], 0)?;
    frames().validate()?;
    heap::HEAP.validate()?;
    println!("page frames and heap: every invariant holds");
    Ok(())
}

fn poweroff<'a>(_: &mut Shell, words: &[&'a str]) -> Result<(), Error<'a>> {
    expect(words, &[], 0)?;
    host::exit(ExitCode::Success)
}

/// A number, decimal or hexadecimal with `0x` in front.
fn number(word: &str) -> Result<u64, Error<'_>> {
    match word.strip_prefix("0x").or_else(|| word.strip_prefix("0X")) {
        // `from_str_radix` would take a sign here.
        Some(digits) if !digits.starts_with('+') => u64::from_str_radix(digits, 16),
        _ => word.parse(),
    }
    .map_err(|_| Error::NotANumber(word))
}

fn order(word: &str) -> Result<Order, Error<'_>> {
    u8::try_from(number(word)?).ok().and_then(Order::new).ok_or(Error::NotAnOrder(word))
}

/// Flags by their names, joined by `|` or `,`, in any case, with or without `GFP_` in front.
fn flags(word: &str) -> Result<Gfp, Error<'_>> {
    word.split(['|', ',']).try_fold(Gfp::empty(), |flags, word| {
        let known = <Gfp as bitflags::Flags>::FLAGS;
        let name = word.trim_start_matches('_');
        let name = name
            .split_at_checked(4)
            .filter(|(start, _)| start.eq_ignore_ascii_case("GFP_"))
            .map_or(name, |(_, name)| name);
        let flag = known.iter().find(|flag| flag.name().eq_ignore_ascii_case(name)).ok_or(Error::UnknownFlag(word))?;
        Ok(flags | *flag.value())
    })
}
