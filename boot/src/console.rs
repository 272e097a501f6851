//! The guest's text on its way to a person: shown as it comes, with names beside the addresses of backtraces, and its
//! end kept for the report of a failure.

use crate::symbols::Symbols;
use protocol::backtrace;
use std::collections::VecDeque;
use std::io;

/// Lines that a report of a failure shows.
const TAIL: usize = 24;
/// The longest line that is kept, in bytes.
const LONGEST_LINE: usize = 1000;

/// Reads COM1's bytes: adds names to backtraces, remembers the last lines.
pub struct Console {
    symbols: Symbols,
    line: Vec<u8>,
    tail: VecDeque<String>,
}

impl Console {
    /// A console of a kernel with these symbols.
    #[must_use]
    pub fn new(symbols: Symbols) -> Console {
        Console { symbols, line: Vec::new(), tail: VecDeque::new() }
    }

    /// The kernel's symbols.
    #[must_use]
    pub fn symbols(&self) -> &Symbols {
        &self.symbols
    }

    /// Takes the guest's next bytes and writes them to `out` at once, so that a line that is being edited looks as the
    /// guest wants it. A backtrace's line gets its names when it ends; line ends lose their carriage return, which is
    /// the terminal's business.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn push(&mut self, bytes: &[u8], out: &mut dyn io::Write) -> io::Result<()> {
        let mut shown = Vec::with_capacity(bytes.len());
        for &byte in bytes {
            if byte != b'\n' {
                if self.line.len() < LONGEST_LINE {
                    self.line.push(byte);
                }
                shown.push(byte);
                continue;
            }
            if shown.last() == Some(&b'\r') {
                shown.pop();
            }
            let line = std::mem::take(&mut self.line);
            let mut text = String::from_utf8_lossy(&line).trim_end_matches('\r').to_owned();
            if let Some(names) = backtrace::Line::parse(&text).and_then(|line| self.symbols.describe_frame(line)) {
                shown.extend(format!(" {names}").as_bytes());
                text = format!("{text} {names}");
            }
            shown.push(byte);
            self.keep(&text);
        }
        out.write_all(&shown)?;
        out.flush()
    }

    fn keep(&mut self, line: &str) {
        // Firmware positions its cursor and clears the screen, which would do the same to a terminal that shows this.
        let plain = console::strip_ansi_codes(line);
        let plain: String = plain.chars().filter(|char| !char.is_control() || *char == '\t').collect();
        if plain.trim().is_empty() && self.tail.back().is_none_or(String::is_empty) {
            return;
        }
        if self.tail.len() == TAIL {
            self.tail.pop_front();
        }
        self.tail.push_back(plain);
    }

    /// The last lines, free of control sequences, with the one that has not ended yet.
    #[must_use]
    pub fn tail(mut self) -> Vec<String> {
        let rest = std::mem::take(&mut self.line);
        if !rest.is_empty() {
            self.keep(&String::from_utf8_lossy(&rest));
        }
        self.tail.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn blind() -> Console {
        Console::new(Symbols::of(Path::new("/nonexistent")))
    }

    #[test]
    fn bytes_pass_at_once_and_line_ends_lose_their_carriage_return() {
        let (mut console, mut out) = (blind(), Vec::new());
        console.push(b"> me", &mut out).unwrap();
        assert_eq!(out, b"> me");
        console.push(b"m\x1b[Dx\r\n\n> ", &mut out).unwrap();
        assert_eq!(out, b"> mem\x1b[Dx\n\n> ");
        assert_eq!(console.tail(), ["> memx", "", "> "]);
    }

    #[test]
    fn the_tail_is_the_last_lines() {
        let mut console = blind();
        for line in 0..100 {
            console.push(format!("line {line}\r\n").as_bytes(), &mut io::sink()).unwrap();
        }
        let tail = console.tail();
        assert_eq!((tail.len(), tail.last().unwrap().as_str()), (TAIL, "line 99"));
    }

    #[test]
    fn a_backtrace_gets_its_names() {
        let program = std::env::current_exe().unwrap();
        let mut console = Console::new(Symbols::of(&program));
        let bytes = std::fs::read(&program).unwrap();
        use object::{Object, ObjectSymbol};
        let file = object::File::parse(&*bytes).unwrap();
        let main = file.symbols().find(|symbol| symbol.name() == Ok("main")).unwrap().address();
        let mut out = Vec::new();
        let line = backtrace::Line { number: 0, address: main };
        console.push(format!("{line}\r\nthe end").as_bytes(), &mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), format!("{line} main\nthe end"));
    }
}
