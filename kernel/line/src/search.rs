//! Ctrl-R: the history, searched while the text to look for is typed.

use crate::history::History;
use crate::text::Line;
use core::fmt::{self, Write};
use heapless::String;

/// A search that goes on.
#[derive(Default)]
pub(crate) struct Search {
    text: String<64>,
    /// How many lines back the line is that was found.
    back: usize,
    has_failed: bool,
}

impl Search {
    pub(crate) fn add(&mut self, character: char, history: &History, line: &mut Line) {
        // Nobody looks for that much.
        let _ = self.text.push(character);
        self.find(self.back, history, line);
    }

    pub(crate) fn shorten(&mut self, history: &History, line: &mut Line) {
        self.text.pop();
        self.find(0, history, line);
    }

    /// Looks for an older line.
    pub(crate) fn further(&mut self, history: &History, line: &mut Line) {
        self.find(self.back + 1, history, line);
    }

    fn find(&mut self, from: usize, history: &History, line: &mut Line) {
        let found = history.find(&self.text, from);
        self.has_failed = found.is_none();
        if let Some((back, text)) = found {
            self.back = back;
            line.set(text);
        }
    }

    pub(crate) fn show(&self, line: &Line, out: &mut dyn Write) -> fmt::Result {
        let failed = if self.has_failed { "failed " } else { "" };
        write!(out, "\r({failed}reverse-i-search)'{}': {}\x1b[K", self.text, line.text())
    }
}
