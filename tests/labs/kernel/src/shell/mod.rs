//! The kernel's shell on a piece: its own commands where they are about the machine, others where they are about memory.
//!
//! What a piece cannot serve says so. Beside the piece an oracle looks on, so that what it hands out twice is told at once.

mod caches;
mod frames;
mod objects;

use alloc::vec::Vec;

use kernel::println;
use kernel::shell::{Command, Error, GROUPS, Shell};
use labs::caches::Caches;
use labs::lab::Lab;
use labs::objects::Objects;
use labs::subject::Visitor;
use labs::{BadFree, Frames};

/// The shell: talks to a person or runs `CMD=`, with memory from a piece, and does not come back.
#[derive(Clone, Copy, Debug)]
pub struct Talk(pub &'static Lab);

impl Visitor for Talk {
    type Output = ();

    fn frames<P: Frames + Send + 'static>(self) {
        frames::run::<P>(self.0)
    }

    fn objects<P: Objects + Send + 'static>(self) {
        objects::run::<P>(self.0)
    }

    fn caches<P: Caches + Send + 'static>(self) {
        caches::run::<P>(self.0)
    }
}

/// Runs the shell with the kernel's groups of commands, each as it is here.
fn talk(commands: &'static [Command]) -> ! {
    let here = |command: &Command| {
        let own = commands.iter().find(|own| own.name() == command.name());
        let is_the_kernels = OF_THE_KERNEL.contains(&command.name());
        own.copied().unwrap_or(Command { run: if is_the_kernels { command.run } else { unserved }, ..*command })
    };
    let groups = GROUPS.iter().map(|(about, commands)| {
        let commands: Vec<Command> = commands.iter().map(here).collect();
        (*about, &*commands.leak())
    });
    kernel::shell::run_with(groups.collect::<Vec<_>>().leak())
}

/// Commands that have nothing to do with who hands out memory.
const OF_THE_KERNEL: &[&str] = &["memmap", "cpus", "watch", "lockdep", "help", "?", "poweroff", "exit"];

fn unserved<'a>(_: &mut Shell, _: &[&'a str]) -> Result<(), Error<'a>> {
    Err(Error::Said("the allocator at work here, a learner's, does not serve that"))
}

/// Says what is wrong with an answer to a free, if anything is, and takes the answer to the prompt.
fn complain<'a>(right: Result<(), BadFree>, answer: Result<(), BadFree>) -> Result<(), Error<'a>> {
    match (right, answer) {
        (Err(right), Ok(())) => println!("the piece is wrong: that was accepted, and it is {right:?}"),
        (Ok(()), Err(_)) => println!("the piece is wrong: that is the shell's"),
        (Err(right), Err(said)) if right != said => println!("the piece is wrong: it is {right:?}"),
        _ => {}
    }
    answer.map_err(|reason| Error::Said(reason.reason()))
}

/// Cells in a row of the map.
const ROW: u64 = 64;

/// Prints rows of cells from one with a number on, each so many bytes or frames; of rows that are alike one.
fn map(states: &str, first: u64, scale: u64) {
    // Rows begin at multiples of their length.
    let start = first / ROW * ROW;
    let states = " ".repeat((first - start) as usize) + states;
    let mut before = "";
    for at in (0..states.len()).step_by(ROW as usize) {
        let row = &states[at..(at + ROW as usize).min(states.len())];
        if row != before {
            println!("{:#10x}  {}", (start + at as u64) * scale, row.trim_end());
        }
        before = row;
    }
}
