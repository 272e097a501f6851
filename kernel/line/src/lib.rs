//! The line editor of the kernel's shell, and what a line says.
//!
//! It knows no device: bytes of a terminal's keys go in, text for the terminal comes out. Keys are read by the parser
//! that the terminal emulator Alacritty has, so a sequence that is not known types nothing. A line stays in one row: one that is
//! longer than the terminal is wide is shown in part, around the cursor.
//!
//! Nothing is allocated: the shell it is for shows memory, and must not move any by being typed at.
#![no_std]

mod complete;
mod history;
mod keys;
mod search;
mod text;
mod words;

pub use complete::Complete;
pub use words::{WordError, commands, counted, expect, number};

use complete::Completion;
use core::fmt::{self, Write};
use history::History;
use keys::{Key, Keys};
use search::Search;
use text::Line;

/// Bytes that a line can have.
pub const CAPACITY: usize = 255;

/// What a key came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// A line was entered: [`Editor::line`] has it.
    Entered,
    /// A line was entered that had more than [`CAPACITY`] bytes: it is gone.
    TooLong,
    /// Ctrl-D on an empty line: the end of all input.
    End,
}

/// A line editor, with its history.
pub struct Editor {
    prompt: &'static str,
    /// Characters in a row of the terminal.
    columns: usize,
    keys: Keys,
    line: Line,
    history: History,
    search: Option<Search>,
    /// More was typed than a line can have.
    is_too_long: bool,
    /// The last key was a Tab that had several candidates.
    is_tabbed: bool,
    /// The line was entered, and the next key begins another.
    is_entered: bool,
}

impl Editor {
    /// An editor for a terminal of so many columns, which are at least 20 more than the prompt's.
    pub fn new(prompt: &'static str, columns: usize) -> Self {
        Self {
            prompt,
            columns: columns.max(prompt.len() + 20),
            keys: Keys::new(),
            line: Line::default(),
            history: History::default(),
            search: None,
            is_too_long: false,
            is_tabbed: false,
            is_entered: false,
        }
    }

    /// The line that was entered last, or is being edited.
    pub fn line(&self) -> &str {
        self.line.text()
    }

    /// Shows the prompt: at first, and after each [event](Event).
    ///
    /// # Errors
    /// Those of `out`.
    pub fn prompt(&self, out: &mut dyn Write) -> fmt::Result {
        out.write_str(self.prompt)
    }

    /// Takes the next byte from the terminal, and shows what comes of it.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn push(&mut self, byte: u8, with: &dyn Complete, out: &mut dyn Write) -> Result<Option<Event>, fmt::Error> {
        self.keys.push(byte);
        let mut event = None;
        while let Some(key) = self.keys.pop() {
            event = event.or(self.press(key, with, out)?);
        }
        Ok(event)
    }

    fn press(&mut self, key: Key, with: &dyn Complete, out: &mut dyn Write) -> Result<Option<Event>, fmt::Error> {
        if core::mem::take(&mut self.is_entered) {
            self.line.set("");
        }
        let was_tabbed = core::mem::replace(&mut self.is_tabbed, false);
        if self.search.is_some() && self.press_in_search(key, out)? {
            return Ok(None);
        }
        match key {
            Key::Enter => return self.enter(out).map(Some),
            Key::Cancel => {
                out.write_str("^C\n")?;
                self.start_anew();
                self.prompt(out)?;
            }
            Key::EndOrDelete if self.line.text().is_empty() && !self.is_too_long => return Ok(Some(Event::End)),
            Key::Char(character) => self.insert(character.encode_utf8(&mut [0; 4]), out)?,
            Key::Tab => self.complete(was_tabbed, with, out)?,
            Key::Yank => {
                self.is_too_long |= !self.line.yank();
                self.show(out)?;
            }
            Key::Search => {
                let search = self.search.insert(Search::default());
                search.show(&self.line, out)?;
            }
            Key::Clear => {
                out.write_str("\x1b[H\x1b[2J")?;
                self.show(out)?;
            }
            key => {
                self.edit(key);
                self.show(out)?;
            }
        }
        Ok(None)
    }

    /// Moves the cursor, deletes, or looks into the history.
    fn edit(&mut self, key: Key) {
        match key {
            Key::Left => self.line.left(),
            Key::Right => self.line.right(),
            Key::WordLeft => self.line.word_left(),
            Key::WordRight => self.line.word_right(),
            Key::Home => self.line.home(),
            Key::End => self.line.end(),
            Key::Backspace => self.line.backspace(),
            Key::Delete | Key::EndOrDelete => self.line.delete(),
            Key::KillToEnd => self.line.kill_to_end(),
            Key::KillToStart => self.line.kill_to_start(),
            Key::KillBlankWord => self.line.kill_blank_word(),
            Key::KillWordRight => self.line.kill_word_right(),
            Key::Previous => {
                if let Some(text) = self.history.previous(self.line.text()) {
                    self.line.set(text);
                }
            }
            Key::Next => {
                if let Some(text) = self.history.next() {
                    self.line.set(text);
                }
            }
            _ => {}
        }
        if self.line.text().is_empty() {
            self.is_too_long = false;
        }
    }

    fn enter(&mut self, out: &mut dyn Write) -> Result<Event, fmt::Error> {
        out.write_str("\n")?;
        self.is_entered = true;
        if core::mem::take(&mut self.is_too_long) {
            self.line.set("");
            return Ok(Event::TooLong);
        }
        self.history.add(self.line.text());
        Ok(Event::Entered)
    }

    fn start_anew(&mut self) {
        self.line.set("");
        self.history.add("");
        self.is_too_long = false;
    }

    fn insert(&mut self, text: &str, out: &mut dyn Write) -> fmt::Result {
        if self.is_too_long || !self.line.insert(text) {
            self.is_too_long = true;
            return out.write_str("\x07");
        }
        // The terminal does the rest where the row has room.
        if self.line.is_at_end() && self.prompt.len() + self.line.text().chars().count() < self.columns {
            return out.write_str(text);
        }
        self.show(out)
    }

    fn complete(&mut self, was_tabbed: bool, with: &dyn Complete, out: &mut dyn Write) -> fmt::Result {
        let Completion { count, more } = complete::complete(&self.line, with);
        if count > 1 && more.is_empty() {
            if was_tabbed {
                out.write_str("\n")?;
                complete::list(&self.line, with, self.columns, out)?;
                return self.show(out);
            }
            self.is_tabbed = true;
        }
        if count != 1 && more.is_empty() {
            return out.write_str("\x07");
        }
        self.insert(&more, out)?;
        if count == 1 && self.line.is_at_end() { self.insert(" ", out) } else { Ok(()) }
    }

    /// Takes a key while the history is searched. False if the key ends the search and is to be obeyed.
    fn press_in_search(&mut self, key: Key, out: &mut dyn Write) -> Result<bool, fmt::Error> {
        let Some(search) = &mut self.search else { return Ok(false) };
        match key {
            Key::Char(character) => search.add(character, &self.history, &mut self.line),
            Key::Backspace => search.shorten(&self.history, &mut self.line),
            Key::Search => search.further(&self.history, &mut self.line),
            Key::Abort => {
                self.search = None;
                self.line.set("");
                self.show(out)?;
                return Ok(true);
            }
            _ => {
                self.search = None;
                self.show(out)?;
                return Ok(false);
            }
        }
        search.show(&self.line, out)?;
        Ok(true)
    }

    /// Draws the row anew: as much of the line as fits, with the cursor in it.
    fn show(&self, out: &mut dyn Write) -> fmt::Result {
        let room = self.columns - self.prompt.len() - 1;
        let cursor = self.line.before().chars().count();
        let skipped = cursor.saturating_sub(room);
        write!(out, "\r{}", self.prompt)?;
        self.line.text().chars().skip(skipped).take(room).try_for_each(|letter| out.write_char(letter))?;
        out.write_str("\x1b[K")?;
        let shown = self.line.text().chars().count().saturating_sub(skipped).min(room);
        match shown - (cursor - skipped) {
            0 => Ok(()),
            back => write!(out, "\x1b[{back}D"),
        }
    }
}
