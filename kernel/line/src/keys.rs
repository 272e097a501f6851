//! From a terminal's bytes to keys.

use heapless::Deque;
use vte::{Params, Parser, Perform};

/// A key, by what it does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Key {
    Char(char),
    Enter,
    Tab,
    Left,
    Right,
    WordLeft,
    WordRight,
    Home,
    End,
    Previous,
    Next,
    Backspace,
    /// Deletes the character under the cursor.
    Delete,
    KillToEnd,
    KillToStart,
    /// Deletes back to the last blank.
    KillBlankWord,
    /// Deletes to the end of the word.
    KillWordRight,
    /// Puts back what was deleted last.
    Yank,
    Clear,
    Search,
    /// Ctrl-C.
    Cancel,
    /// Ctrl-G.
    Abort,
    /// Ctrl-D: on an empty line the end of all input, elsewhere [`Key::Delete`].
    EndOrDelete,
}

/// Reads keys. What it does not know, a sequence of many bytes or one, is no key.
pub(crate) struct Keys {
    parser: Parser,
    found: Found,
}

#[derive(Default)]
struct Found {
    /// One byte completes two keys at most: what an unfinished character stands for, and its own.
    keys: Deque<Key, 4>,
    /// The next character is the last of a sequence that the parser does not know as one.
    prefix: Option<Prefix>,
    /// The last byte was a carriage return: a line feed behind it is the same key.
    after_return: bool,
}

#[derive(Clone, Copy)]
enum Prefix {
    /// `ESC O`, as terminals send in application mode.
    Single,
    /// `ESC [ [`, of the Linux console's function keys.
    Function,
}

impl Keys {
    pub(crate) fn new() -> Self {
        Self { parser: Parser::new(), found: Found::default() }
    }

    /// Takes the next byte.
    pub(crate) fn push(&mut self, byte: u8) {
        self.parser.advance(&mut self.found, &[byte]);
    }

    /// The next key.
    pub(crate) fn pop(&mut self) -> Option<Key> {
        self.found.keys.pop_front()
    }
}

impl Found {
    fn add(&mut self, key: Option<Key>) {
        if let Some(key) = key {
            // More than there is room for is more than a byte can complete.
            let _ = self.keys.push_back(key);
        }
    }
}

impl Perform for Found {
    fn print(&mut self, character: char) {
        self.after_return = false;
        let key = match (self.prefix.take(), character) {
            (Some(Prefix::Function), _) => None,
            (Some(Prefix::Single), letter) => cursor_key(letter, false),
            (None, '\x7f') => Some(Key::Backspace),
            // What is not text in this encoding, and what a terminal may obey that takes eight bits.
            (None, character) if character == char::REPLACEMENT_CHARACTER || character.is_control() => None,
            (None, character) => Some(Key::Char(character)),
        };
        self.add(key);
    }

    fn execute(&mut self, byte: u8) {
        self.prefix = None;
        let after_return = core::mem::replace(&mut self.after_return, byte == b'\r');
        let key = match byte {
            b'\n' if after_return => None,
            b'\r' | b'\n' => Some(Key::Enter),
            b'\t' => Some(Key::Tab),
            0x01 => Some(Key::Home),
            0x02 => Some(Key::Left),
            0x03 => Some(Key::Cancel),
            0x04 => Some(Key::EndOrDelete),
            0x05 => Some(Key::End),
            0x06 => Some(Key::Right),
            0x07 => Some(Key::Abort),
            0x08 => Some(Key::Backspace),
            0x0b => Some(Key::KillToEnd),
            0x0c => Some(Key::Clear),
            0x0e => Some(Key::Next),
            0x10 => Some(Key::Previous),
            0x12 => Some(Key::Search),
            0x15 => Some(Key::KillToStart),
            0x17 => Some(Key::KillBlankWord),
            0x19 => Some(Key::Yank),
            _ => None,
        };
        self.add(key);
    }

    fn csi_dispatch(&mut self, params: &Params, intermediates: &[u8], _: bool, action: char) {
        self.prefix = None;
        if !intermediates.is_empty() {
            return;
        }
        let mut params = params.iter().map(|param| param.first().copied().unwrap_or(0));
        let (first, modifier) = (params.next().unwrap_or(0), params.next().unwrap_or(0));
        let key = match (action, first) {
            ('[', _) => {
                self.prefix = Some(Prefix::Function);
                None
            }
            ('~', 1 | 7) => Some(Key::Home),
            ('~', 4 | 8) => Some(Key::End),
            ('~', 3) => Some(Key::Delete),
            // With Ctrl or Alt, by words.
            (letter, _) => cursor_key(letter, modifier >= 3),
        };
        self.add(key);
    }

    fn esc_dispatch(&mut self, intermediates: &[u8], _: bool, byte: u8) {
        self.prefix = None;
        if !intermediates.is_empty() {
            return;
        }
        let key = match byte {
            b'O' => {
                self.prefix = Some(Prefix::Single);
                None
            }
            b'b' | b'B' => Some(Key::WordLeft),
            b'f' | b'F' => Some(Key::WordRight),
            b'd' | b'D' => Some(Key::KillWordRight),
            _ => None,
        };
        self.add(key);
    }
}

fn cursor_key(letter: char, by_words: bool) -> Option<Key> {
    Some(match (letter, by_words) {
        ('A', _) => Key::Previous,
        ('B', _) => Key::Next,
        ('C', false) => Key::Right,
        ('C', true) => Key::WordRight,
        ('D', false) => Key::Left,
        ('D', true) => Key::WordLeft,
        ('F', _) => Key::End,
        ('H', _) => Key::Home,
        _ => return None,
    })
}
