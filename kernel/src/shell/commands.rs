//! The commands: one table, and a function each.

use super::blocks::{alloc, alloc_contig, alloc_exact, alloc_range, free, free_range, isolate, split, unisolate};
use super::cpus;
use super::error::Error;
use super::objects::{kfree, kmalloc, krealloc, shrink};
use super::state::Shell;
use super::stress::stress;
use super::words::expect;
use crate::console::Console;
use crate::memory::{frames, heap, map, vmalloc};
use crate::sync::lockdep;
use crate::{host, println};
use bifolio::frame::FRAME_SIZE;
use bifolio::report;
use core::fmt::{self, Write};
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
        run: |_, arguments| show(arguments, meminfo),
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
        name: "pagetypeinfo",
        usage: "pagetypeinfo",
        help: "free blocks by mobility and order, and pageblocks by mobility",
        run: |_, arguments| show(arguments, |out| report::pagetypeinfo(frames(), out)),
    },
    Command {
        name: "extfrag",
        usage: "extfrag",
        help: "why a request of each order would fail: 0 for lack of memory, 1 for its pieces, -1 if it would not",
        run: |_, arguments| show(arguments, |out| report::extfrag_index(frames(), out)),
    },
    Command {
        name: "unusable",
        usage: "unusable",
        help: "the part of the free memory that a request of each order cannot use",
        run: |_, arguments| show(arguments, |out| report::unusable_index(frames(), out)),
    },
    Command {
        name: "vmstat",
        usage: "vmstat",
        help: "frames and events since boot, counted",
        run: |_, arguments| show(arguments, |out| report::vmstat(frames(), out)),
    },
    Command {
        name: "slabinfo",
        usage: "slabinfo",
        help: "the heap's caches: objects and slabs of each size",
        run: |_, arguments| show(arguments, |out| heap::HEAP.write_slabinfo(out)),
    },
    Command {
        name: "slabtop",
        usage: "slabtop",
        help: "the heap's caches that have slabs, the largest first, and what of them is not in use",
        run: |_, arguments| show(arguments, |out| heap::HEAP.write_slabtop(out)),
    },
    Command {
        name: "heap",
        usage: "heap",
        help: "what the heap has its memory for",
        run: |_, arguments| show(arguments, |out| heap::HEAP.write_summary(out)),
    },
    Command {
        name: "vmallocinfo",
        usage: "vmallocinfo",
        help: "what is mapped page by page: addresses, bytes with the guard, pages",
        run: |_, arguments| show(arguments, vmalloc::write),
    },
    Command {
        name: "cpus",
        usage: "cpus",
        help: "the CPUs, with what each holds: frames in its pages, and slabs of the heap",
        run: |_, arguments| show(arguments, cpus::write),
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
    Command {
        name: "alloc_exact",
        usage: "alloc_exact <frames> [flags]",
        help: "allocate so many frames in a row, of which the largest block has 1024",
        run: alloc_exact,
    },
    Command {
        name: "alloc_contig",
        usage: "alloc_contig <frames> [flags]",
        help: "allocate any number of frames in a row",
        run: alloc_contig,
    },
    Command {
        name: "alloc_range",
        usage: "alloc_range <pfn> <frames> [flags]",
        help: "allocate just these frames",
        run: alloc_range,
    },
    Command {
        name: "split",
        usage: "split <pfn> <order>",
        help: "make a block several of that order, to be freed one by one",
        run: split,
    },
    Command { name: "free", usage: "free <pfn> [order]", help: "free a block that 'alloc' gave", run: free },
    Command {
        name: "free_range",
        usage: "free_range <pfn> <frames>",
        help: "free what 'alloc_exact', 'alloc_contig' or 'alloc_range' gave",
        run: free_range,
    },
    Command {
        name: "isolate",
        usage: "isolate <pfn> <frames>",
        help: "have nothing allocated from the pageblocks of these frames",
        run: isolate,
    },
    Command { name: "unisolate", usage: "unisolate <pfn> <frames>", help: "undo 'isolate'", run: unisolate },
    Command { name: "kmalloc", usage: "kmalloc <bytes> [count]", help: "allocate objects from the heap", run: kmalloc },
    Command {
        name: "krealloc",
        usage: "krealloc <address> <bytes>",
        help: "resize what 'kmalloc' gave, in place if that can be",
        run: krealloc,
    },
    Command {
        name: "kfree",
        usage: "kfree <address>|all",
        help: "free what 'kmalloc' gave, or see why an address cannot be freed",
        run: kfree,
    },
    Command {
        name: "shrink",
        usage: "shrink",
        help: "give the heap's empty slabs back to the page allocator",
        run: shrink,
    },
    Command { name: "drain", usage: "drain", help: "give the frames in the CPUs' pages back to the zones", run: drain },
    Command {
        name: "validate",
        usage: "validate",
        help: "check every invariant of the page allocator and the heap",
        run: validate,
    },
    Command {
        name: "lockdep",
        usage: "lockdep",
        help: "the lock classes, which are taken while which are held, and what is wrong with that",
        run: |_, arguments| show(arguments, lockdep::write),
    },
    Command {
        name: "stress",
        usage: "stress <seconds> [cpus] [seed]",
        help: "have all CPUs allocate, free, hand over and check memory of all kinds, while timers do so too; Ctrl-X ends it",
        run: stress,
    },
    Command { name: "poweroff", usage: "poweroff", help: "switch the machine off", run: poweroff },
];

/// A command that takes no arguments and shows something.
fn show<'a>(words: &[&'a str], write: impl FnOnce(&mut Console) -> fmt::Result) -> Result<(), Error<'a>> {
    expect(words, &[], 0)?;
    // The console takes everything.
    let _ = write(&mut Console);
    Ok(())
}

/// The page allocator's figures, and those of what the kernel makes of frames.
fn meminfo(out: &mut Console) -> fmt::Result {
    report::meminfo(frames(), out)?;
    let (held, (total, used)) = (heap::HEAP.frames(), vmalloc::totals());
    for (name, bytes) in [
        ("Slab:", held.slabs * FRAME_SIZE),
        ("LargeObjects:", held.large * FRAME_SIZE),
        ("HeapMetadata:", held.metadata * FRAME_SIZE),
        ("VmallocTotal:", total),
        ("VmallocUsed:", used),
    ] {
        writeln!(out, "{name:<15} {:8} kB", bytes / 1024)?;
    }
    Ok(())
}

fn help<'a>(_: &mut Shell, words: &[&'a str]) -> Result<(), Error<'a>> {
    expect(words, &[], 0)?;
    for command in COMMANDS {
        println!("  {:<34} {}", command.usage, command.help);
    }
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
