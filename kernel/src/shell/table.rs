//! The table of commands.

use super::blocks::{alloc, alloc_contig, alloc_exact, alloc_range, free, free_range, isolate, split, unisolate};
use super::commands::{drain, help, meminfo, poweroff, show, validate};
use super::cpus;
use super::error::Error;
use super::explain::{SUBJECTS, explain, narrate};
use super::loads::{churn, fill, fragment, watch};
use super::map::map;
use super::objects::{kfree, kmalloc, krealloc, shrink};
use super::questions::{blocks, page};
use super::state::Shell;
use super::stress::stress;
use crate::memory::{self, frames, heap, vmalloc};
use crate::sync::lockdep;
use bifolio::report;
use spin::Once;

/// A command of the shell.
#[derive(Clone, Copy, Debug)]
pub struct Command {
    /// The command with its arguments, `<required>` and `[optional]`.
    pub usage: &'static str,
    /// What it does, in a line.
    pub help: &'static str,
    /// A line to try, which works on a machine that has just booted.
    pub example: &'static str,
    /// What its arguments are, for completion.
    pub arguments: &'static [Argument],
    /// Does it, with the words behind the name.
    pub run: for<'a> fn(&mut Shell, &[&'a str]) -> Result<(), Error<'a>>,
}

impl Command {
    /// What is typed.
    pub fn name(&self) -> &'static str {
        self.usage.split(' ').next().unwrap_or_default()
    }
}

impl Command {
    /// Whether one of its arguments is flags.
    pub(super) fn takes_flags(&self) -> bool {
        self.arguments.iter().any(|argument| matches!(argument, Argument::Flags))
    }
}

// What commands about commands ask, of which the table has the functions: so they need not know it.
impl Shell {
    /// The command of this name.
    pub(super) fn command(name: &str) -> Option<&'static Command> {
        find(name)
    }

    /// Every command there is, by what it is about.
    pub(super) fn groups() -> Groups {
        OTHERS.get().copied().unwrap_or(GROUPS)
    }
}

/// What an argument of a command is, as far as there are candidates for it.
#[derive(Debug)]
pub enum Argument {
    /// An order.
    Order,
    /// Flags of a request.
    Flags,
    /// A block that the shell holds, or `all`.
    Block,
    /// An object that the shell holds, or `all`.
    Object,
    /// A command, with its own arguments behind it.
    Command,
    /// One of these words.
    Words(&'static [&'static str]),
    /// Something of which there is no list.
    Other,
}

/// Commands, by what they are about.
pub type Groups = &'static [(&'static str, &'static [Command])];

/// The groups that are in force, if those are not [`GROUPS`].
static OTHERS: Once<Groups> = Once::new();

/// Puts other commands in the place of [`GROUPS`], for a kernel of somebody else's that has this shell. Only the first time counts.
pub(super) fn replace(groups: Groups) {
    OTHERS.call_once(|| groups);
}

/// Every command that this kernel has, by what it is about.
pub static GROUPS: Groups = &[
    ("See what memory is used for", REPORTS),
    ("Allocate and free page frames", FRAMES),
    ("Allocate and free objects on the heap", HEAP),
    ("Try the whole machine, and this shell", MACHINE),
];

/// Every command there is.
pub fn commands() -> impl Iterator<Item = &'static Command> + Clone {
    Shell::groups().iter().flat_map(|(_, commands)| *commands)
}

/// The command of this name.
pub(super) fn find(name: &str) -> Option<&'static Command> {
    commands().find(|command| command.name() == name)
}

/// Whether this is the name of a command that takes another.
pub(super) fn takes_a_command(name: &str) -> bool {
    find(name).is_some_and(|command| matches!(command.arguments, [Argument::Command]))
}

static REPORTS: &[Command] = &[
    Command {
        usage: "map [pfn|zone]",
        help: "a picture of all memory, of a zone, or of a pageblock's frames",
        example: "alloc 5; map; map 0xc00",
        arguments: &[Argument::Words(&["DMA", "DMA32", "Normal"])],
        run: map,
    },
    Command {
        usage: "page <pfn>",
        help: "what a frame is: its block, buddy, pageblock, CPU and slab",
        example: "page 0xc00",
        arguments: &[Argument::Block],
        run: page,
    },
    Command {
        usage: "explain alloc|free|kmalloc ...",
        help: "what a command would do and why, step by step; nothing is done",
        example: "explain alloc 5; explain alloc 10 DMA; explain kmalloc 100",
        arguments: &[Argument::Words(SUBJECTS)],
        run: explain,
    },
    Command {
        usage: "narrate on|off",
        help: "have alloc, free and kmalloc tell the same as they do it",
        example: "narrate on; alloc 5; free all; narrate off",
        arguments: &[Argument::Words(&["on", "off"])],
        run: narrate,
    },
    Command {
        usage: "blocks",
        help: "what this shell holds",
        example: "alloc 3; alloc 0; blocks",
        arguments: &[],
        run: blocks,
    },
    Command {
        usage: "meminfo",
        help: "the machine's memory in kB",
        example: "meminfo",
        arguments: &[],
        run: |_, arguments| show(arguments, meminfo),
    },
    Command {
        usage: "buddyinfo",
        help: "free blocks of order 0, 1, ... 10 in each zone",
        example: "buddyinfo; alloc 5; buddyinfo",
        arguments: &[],
        run: |_, arguments| show(arguments, |out| report::buddyinfo(frames(), out)),
    },
    Command {
        usage: "pagetypeinfo",
        help: "free blocks by mobility and order; pageblocks by mobility",
        example: "alloc 9 MOVABLE; pagetypeinfo",
        arguments: &[],
        run: |_, arguments| show(arguments, |out| report::pagetypeinfo(frames(), out)),
    },
    Command {
        usage: "zoneinfo",
        help: "pages, watermarks, reserves and per-CPU pages of each zone",
        example: "zoneinfo",
        arguments: &[],
        run: |_, arguments| show(arguments, |out| report::zoneinfo(frames(), out)),
    },
    Command {
        usage: "vmstat",
        help: "frames and events since boot, counted",
        example: "vmstat",
        arguments: &[],
        run: |_, arguments| show(arguments, |out| report::vmstat(frames(), out)),
    },
    Command {
        usage: "extfrag",
        help: "why an order would fail: 0 no memory, 1 pieces, -1 it would not",
        example: "extfrag",
        arguments: &[],
        run: |_, arguments| show(arguments, |out| report::extfrag_index(frames(), out)),
    },
    Command {
        usage: "unusable",
        help: "the part of free memory that each order cannot use",
        example: "unusable",
        arguments: &[],
        run: |_, arguments| show(arguments, |out| report::unusable_index(frames(), out)),
    },
    Command {
        usage: "memmap",
        help: "the machine's memory map, sanitised",
        example: "memmap",
        arguments: &[],
        run: |_, arguments| show(arguments, memory::map::write),
    },
    Command {
        usage: "slabinfo",
        help: "the heap's caches: objects and slabs of each size",
        example: "kmalloc 100 40; slabinfo",
        arguments: &[],
        run: |_, arguments| show(arguments, |out| heap::HEAP.write_slabinfo(out)),
    },
    Command {
        usage: "slabtop",
        help: "caches that have slabs, the largest first, and how full they are",
        example: "kmalloc 100 40; slabtop",
        arguments: &[],
        run: |_, arguments| show(arguments, |out| heap::HEAP.write_slabtop(out)),
    },
    Command {
        usage: "heap",
        help: "what the heap has its memory for",
        example: "heap",
        arguments: &[],
        run: |_, arguments| show(arguments, |out| heap::HEAP.write_summary(out)),
    },
    Command {
        usage: "vmallocinfo",
        help: "what is mapped page by page: addresses, bytes, pages",
        example: "kmalloc 5000000; vmallocinfo",
        arguments: &[],
        run: |_, arguments| show(arguments, vmalloc::write),
    },
    Command {
        usage: "cpus",
        help: "the CPUs, with what each holds: frames, and slabs of the heap",
        example: "cpus",
        arguments: &[],
        run: |_, arguments| show(arguments, cpus::write),
    },
];

static FRAMES: &[Command] = &[
    Command {
        usage: "alloc <order> [flags]",
        help: "allocate a block of 2^order frames, with Linux's flags",
        example: "alloc 5 MOVABLE|ATOMIC",
        arguments: &[Argument::Order, Argument::Flags],
        run: alloc,
    },
    Command {
        usage: "free <pfn>|all [order]",
        help: "free a block that 'alloc' gave, or every one",
        example: "alloc 3; alloc 0; free all",
        arguments: &[Argument::Block, Argument::Order],
        run: free,
    },
    Command {
        usage: "alloc_exact <frames> [flags]",
        help: "allocate up to 1024 frames in a row, from one block",
        example: "alloc_exact 21 DMA",
        arguments: &[Argument::Other, Argument::Flags],
        run: alloc_exact,
    },
    Command {
        usage: "alloc_contig <frames> [flags]",
        help: "allocate any number of frames in a row",
        example: "alloc_contig 1500",
        arguments: &[Argument::Other, Argument::Flags],
        run: alloc_contig,
    },
    Command {
        usage: "alloc_range <pfn> <frames> [flags]",
        help: "allocate just these frames",
        example: "alloc_range 0xc00 100",
        arguments: &[Argument::Other, Argument::Other, Argument::Flags],
        run: alloc_range,
    },
    Command {
        usage: "free_range <pfn> <frames>",
        help: "free what one of the last three gave",
        example: "alloc_range 0xc00 100; free_range 0xc00 100",
        arguments: &[Argument::Block, Argument::Other],
        run: free_range,
    },
    Command {
        usage: "split <pfn> <order>",
        help: "make a block several of that order, to be freed one by one",
        example: "alloc_range 0xc00 64; split 0xc00 4; free 0xc10",
        arguments: &[Argument::Block, Argument::Order],
        run: split,
    },
    Command {
        usage: "isolate <pfn> <frames>",
        help: "have nothing allocated from the pageblocks of these frames",
        example: "isolate 0xc00 1; pagetypeinfo; unisolate 0xc00 1",
        arguments: &[],
        run: isolate,
    },
    Command {
        usage: "unisolate <pfn> <frames>",
        help: "undo 'isolate'",
        example: "isolate 0xc00 1; unisolate 0xc00 1",
        arguments: &[],
        run: unisolate,
    },
    Command {
        usage: "drain",
        help: "give the frames in the CPUs' pages back to the zones",
        example: "alloc 0; drain",
        arguments: &[],
        run: drain,
    },
];

static HEAP: &[Command] = &[
    Command {
        usage: "kmalloc <bytes> [count]",
        help: "allocate objects from the heap",
        example: "kmalloc 100 40",
        arguments: &[],
        run: kmalloc,
    },
    Command {
        usage: "krealloc <address> <bytes>",
        help: "resize what 'kmalloc' gave, in place if that can be",
        example: "kmalloc 100; # krealloc ADDRESS 110",
        arguments: &[Argument::Object, Argument::Other],
        run: krealloc,
    },
    Command {
        usage: "kfree <address>|all",
        help: "free what 'kmalloc' gave, or every object",
        example: "kmalloc 100 40; kfree all",
        arguments: &[Argument::Object],
        run: kfree,
    },
    Command {
        usage: "shrink",
        help: "give the heap's empty slabs back to the page allocator",
        example: "kmalloc 4000 50; kfree all; shrink",
        arguments: &[],
        run: shrink,
    },
];

static MACHINE: &[Command] = &[
    Command {
        usage: "fill [order]",
        help: "take nearly all memory, in the largest blocks or in one order",
        example: "fill; buddyinfo; free all",
        arguments: &[Argument::Order],
        run: fill,
    },
    Command {
        usage: "fragment <percent>",
        help: "take nearly all memory and free so much of it, in pieces",
        example: "fragment 50; buddyinfo; extfrag; free all",
        arguments: &[],
        run: fragment,
    },
    Command {
        usage: "churn [operations] [seed]",
        help: "allocate and free at random, up to 1024 blocks at once",
        example: "churn 10000; pagetypeinfo; free all",
        arguments: &[],
        run: churn,
    },
    Command {
        usage: "watch [times] <command>",
        help: "run a command again every second, until Ctrl-C",
        example: "watch 3 buddyinfo",
        arguments: &[Argument::Command],
        run: watch,
    },
    Command {
        usage: "stress <seconds> [cpus] [seed]",
        help: "all CPUs allocate, free, hand over and check; Ctrl-C ends it",
        example: "stress 1",
        arguments: &[],
        run: stress,
    },
    Command {
        usage: "validate",
        help: "check every invariant of the page allocator and the heap",
        example: "alloc 3; validate",
        arguments: &[],
        run: validate,
    },
    Command {
        usage: "lockdep",
        help: "locks, which are taken while which are held, and what is wrong",
        example: "lockdep",
        arguments: &[],
        run: |_, arguments| show(arguments, lockdep::write),
    },
    Command {
        usage: "help [command]",
        help: "list the commands, or say more of one",
        example: "help alloc",
        arguments: &[Argument::Command],
        run: help,
    },
    Command { usage: "? [command]", help: "as 'help'", example: "? free", arguments: &[Argument::Command], run: help },
    Command {
        usage: "poweroff",
        help: "switch the machine off",
        example: "validate; poweroff",
        arguments: &[],
        run: poweroff,
    },
    Command { usage: "exit", help: "as 'poweroff'", example: "exit", arguments: &[], run: poweroff },
];
