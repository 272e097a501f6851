//! The shell: a few commands to look at the machine's memory and to move it, for a person or for `CMD=`.
//!
//! Line editing, history and completion are the crate `embedded-cli`'s; what the commands are stands in one table,
//! [`COMMANDS`], that dispatch, `help` and completion share.

mod blocks;
mod commands;
mod cpus;
mod error;
mod objects;
mod state;
mod stress;
mod words;

pub use commands::{COMMANDS, Command};
pub use error::Error;
pub use state::Shell;

use crate::console::{self, Console};
use crate::cpu::work;
use crate::host::{self, Input};
use crate::sync::lockdep;
use crate::{print, println};
use core::convert::Infallible;
use embedded_cli::arguments::Arg;
use embedded_cli::autocomplete::{Autocompletion, Request};
use embedded_cli::cli::{CliBuilder, CliHandle};
use embedded_cli::command::RawCommand;
use embedded_cli::service::{Autocomplete, Help};
use protocol::{ExitCode, input};

const PROMPT: &str = "bifolio> ";
/// Bytes of a line.
const LINE: usize = 128;
/// Bytes of old lines that are kept.
const HISTORY: usize = 2048;
/// Words of a command that are looked at: no command takes as many.
const WORDS: usize = 8;
/// What terminals send for the backspace key, and what `embedded-cli` wants for it.
const DELETE: u8 = 0x7f;
const BACKSPACE: u8 = 0x08;
/// Control-D, the end of all input.
const END: u8 = 0x04;

/// Runs what the host program asks for and switches the machine off; without a request, talks to the console for ever.
pub fn run() -> ! {
    let mut shell = Shell::default();
    let commands = Input::read(input::COMMANDS);
    if !commands.is_given() {
        shell.interact();
    }
    host::exit(match commands.as_str() {
        Some(commands) => shell.run_all(commands),
        None => {
            println!("error: the commands are longer than {} bytes, or not UTF-8", Input::CAPACITY);
            ExitCode::Failure
        }
    })
}

impl Shell {
    /// Runs commands separated by `;`, each echoed as if it had been typed. A success only if all were.
    pub fn run_all(&mut self, commands: &str) -> ExitCode {
        let mut code = ExitCode::Success;
        for command in commands.split(';').map(str::trim).filter(|command| !command.is_empty()) {
            println!("{PROMPT}{command}");
            if !self.run_words(command.split_whitespace()) {
                code = ExitCode::Failure;
            }
        }
        code
    }

    /// Reads and runs lines from the console.
    fn interact(&mut self) -> ! {
        println!("'help' lists the commands. Tab completes, the arrow keys edit and go back, Ctrl-D ends.");
        let Ok(mut cli) = CliBuilder::default()
            .writer(Console)
            .command_buffer([0; LINE])
            .history_buffer([0; HISTORY])
            .prompt(PROMPT)
            .build();
        let mut process = RawCommand::processor(|_: &mut CliHandle<'_, _, Infallible>, command: RawCommand<'_>| {
            let words = command.args();
            // Options are a notion of the editor's, not of these commands: whatever it took for one is shown again.
            let words = words.args().map(|word| match word {
                Ok(Arg::Value(word) | Arg::LongOption(word)) => word,
                Ok(Arg::DoubleDash) => "--",
                Ok(Arg::ShortOption(_)) | Err(_) => "-",
            });
            self.run_words(core::iter::once(command.name()).chain(words));
            Ok(())
        });
        let mut line_is_new = true;
        loop {
            let byte = match read_byte() {
                END if line_is_new => {
                    println!("poweroff");
                    host::exit(ExitCode::Success);
                }
                // What it was to end has ended by itself.
                console::CANCEL => continue,
                DELETE => BACKSPACE,
                byte => byte,
            };
            line_is_new = matches!(byte, b'\r' | b'\n');
            let Ok(()) = cli.process_byte::<Table, _>(byte, &mut process);
        }
    }

    /// Runs one command and says what was wrong with it; returns whether nothing was.
    fn run_words<'a>(&mut self, mut words: impl Iterator<Item = &'a str>) -> bool {
        let mut buffer = [""; WORDS];
        let mut count = 0;
        for (slot, word) in buffer.iter_mut().zip(&mut words) {
            *slot = word;
            count += 1;
        }
        let Some((name, arguments)) = buffer[..count].split_first() else {
            return true;
        };
        let result = match COMMANDS.iter().find(|command| command.name == *name) {
            Some(command) => (command.run)(self, arguments).map_err(|error| (error, Some(command))),
            None => Err((Error::UnknownCommand(name), None)),
        };
        let Err((error, command)) = result else {
            return true;
        };
        print!("error: {error}");
        match command {
            Some(command) if error.is_about_usage() => println!("; usage: {}", command.usage),
            _ => println!(),
        }
        false
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

/// The table of commands, as the editor's completion asks for it.
struct Table;

impl Help for Table {}

impl Autocomplete for Table {
    fn autocomplete(request: Request<'_>, completion: &mut Autocompletion<'_>) {
        // A request of any other kind would be a newer crate's.
        if let Request::CommandName(beginning) = request {
            for rest in COMMANDS.iter().filter_map(|command| command.name.strip_prefix(beginning)) {
                completion.merge_autocompletion(rest);
            }
        }
    }
}
