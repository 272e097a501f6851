//! The shell: commands to look at the machine's memory and to move it, for a person, for a script or for `CMD=`.
//!
//! Lines are edited by the crate [`line`](mod@line); what the commands are stands in one table, that dispatch, `help` and completion
//! share.

mod blocks;
mod candidates;
mod commands;
mod cpus;
mod error;
mod explain;
mod loads;
mod map;
mod objects;
mod paint;
mod questions;
mod state;
mod stress;
mod table;

pub use error::Error;
pub use line::{WordError, counted, expect, number};
pub use state::Shell;
use state::leave;
pub use table::{Argument, Command, GROUPS, Groups, commands};

use crate::console::{self, Console};
use crate::cpu::work;
use crate::host::Input;
use crate::sync::lockdep;
use crate::{print, println};
use candidates::Candidates;
use core::fmt::Write;
use line::{CAPACITY, Editor, Event};
use protocol::{ExitCode, Terminal, input};

const PROMPT: &str = "bifolio> ";
/// Words of a command that are looked at: no command takes as many.
const WORDS: usize = 16;

/// As [`run`], with other commands than this kernel's: for a kernel with an allocator of its own.
pub fn run_with(groups: Groups) -> ! {
    table::replace(groups);
    run()
}

/// Runs what the host program asks for and switches the machine off; without a request, talks to the console for ever.
pub fn run() -> ! {
    let terminal = Input::read(input::TERMINAL).as_str().and_then(Terminal::parse);
    let mut shell = Shell { terminal, ..Shell::default() };
    let commands = Input::read(input::COMMANDS);
    if !commands.is_given() {
        shell.interact();
    }
    let code = match commands.as_str() {
        Some(commands) => shell.run_all(commands),
        None => {
            println!("error: the commands are longer than {} bytes, or not UTF-8", Input::CAPACITY);
            ExitCode::Failure
        }
    };
    leave(code)
}

impl Shell {
    /// Runs lines of commands, each echoed as if it had been typed. A success only if all were.
    pub fn run_all(&mut self, lines: &str) -> ExitCode {
        let mut code = ExitCode::Success;
        for line in lines.lines() {
            if !self.run_line(line, true) {
                code = ExitCode::Failure;
            }
        }
        code
    }

    /// Runs the commands of a line. Returns whether all succeeded. Ctrl-C ends all of them.
    fn run_line(&mut self, line: &str, is_echoed: bool) -> bool {
        let mut all = true;
        self.is_cancelled = false;
        for command in line::commands(line) {
            if is_echoed {
                println!("{PROMPT}{command}");
            }
            all &= self.run_command(command);
            if self.is_cancelled {
                return false;
            }
        }
        all
    }

    /// Reads and runs lines from the console.
    fn interact(&mut self) -> ! {
        println!("'help' lists the commands; Ctrl-C ends one, Ctrl-D on an empty line the machine.");
        let is_script = Input::read(input::SCRIPT).is_given();
        let columns = self.terminal.map_or(usize::MAX, |terminal| terminal.columns.into());
        let mut editor = Editor::new(PROMPT, columns);
        let mut all = true;
        loop {
            // The console takes everything.
            let _ = editor.prompt(&mut Console);
            let event = loop {
                let byte = read_byte();
                if let Ok(Some(event)) = editor.push(byte, &Candidates(self), &mut Console) {
                    break event;
                }
            };
            all &= match event {
                Event::Entered => self.run_line(editor.line(), false),
                Event::TooLong => {
                    println!("error: a line has at most {CAPACITY} bytes; nothing of this one was run");
                    false
                }
                Event::End => {
                    println!("exit");
                    leave(if is_script && !all { ExitCode::Failure } else { ExitCode::Success });
                }
            };
        }
    }

    /// Runs one command and says what was wrong with it; returns whether nothing was.
    pub(super) fn run_command(&mut self, command: &str) -> bool {
        let mut buffer = [""; WORDS];
        let mut count = 0;
        for (slot, word) in buffer.iter_mut().zip(command.split_whitespace()) {
            *slot = word;
            count += 1;
        }
        let Some((name, arguments)) = buffer[..count].split_first() else {
            return true;
        };
        let result = match table::find(name) {
            Some(command) => (command.run)(self, arguments).map_err(|error| (error, Some(command))),
            None => Err((Error::UnknownCommand(name), None)),
        };
        let Err((error, command)) = result else {
            return true;
        };
        if matches!(error, Error::Cancelled) {
            println!("^C");
            return false;
        }
        self.complaint.clear();
        // What is too long is cut here, and printed all the same.
        let _ = write!(self.complaint, "{error}");
        let last = error.history();
        print!("error: {error}");
        match command {
            Some(command) if error.is_about_usage() => println!("; usage: {}", command.usage),
            _ => println!("{last}"),
        }
        false
    }

    /// Looks whether Ctrl-C was pressed, for a command that takes long.
    ///
    /// # Errors
    /// It was: the command ends with this, and so do those behind it.
    pub fn go_on<'a>(&mut self) -> Result<(), Error<'a>> {
        self.is_cancelled |= console::is_cancelled();
        if self.is_cancelled { Err(Error::Cancelled) } else { Ok(()) }
    }
}

/// Waits for a byte from the console. The CPU sleeps until COM1's interrupt says that there is one.
fn read_byte() -> u8 {
    lockdep::might_sleep("waiting for a key");
    loop {
        match console::try_read_byte() {
            Some(byte) => {
                work::postpone_idle_work();
                return byte;
            }
            None => work::wait_unless(console::is_key_waiting),
        }
    }
}
