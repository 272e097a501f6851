//! A line and the cursor in it.

use crate::CAPACITY;
use heapless::String;

/// Text of one line.
pub(crate) type Text = String<CAPACITY>;

/// A line that is being edited.
#[derive(Clone, Default)]
pub(crate) struct Line {
    text: Text,
    /// In bytes, between two characters.
    cursor: usize,
    /// What was deleted last of more than a character.
    killed: Text,
}

impl Line {
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    pub(crate) fn before(&self) -> &str {
        &self.text[..self.cursor]
    }

    pub(crate) fn is_at_end(&self) -> bool {
        self.cursor == self.text.len()
    }

    /// Makes it another line, with the cursor at its end.
    pub(crate) fn set(&mut self, text: &str) {
        self.text.clear();
        // The text was a line too.
        let _ = self.text.push_str(text);
        self.cursor = self.text.len();
    }

    /// Inserts text at the cursor. False if there is no room for all of it, and then nothing is.
    pub(crate) fn insert(&mut self, text: &str) -> bool {
        let mut whole = Text::new();
        let parts = [&self.text[..self.cursor], text, &self.text[self.cursor..]];
        if parts.iter().try_for_each(|part| whole.push_str(part)).is_err() {
            return false;
        }
        self.text = whole;
        self.cursor += text.len();
        true
    }

    pub(crate) fn left(&mut self) {
        self.cursor -= self.before().chars().next_back().map_or(0, char::len_utf8);
    }

    pub(crate) fn right(&mut self) {
        self.cursor += self.text[self.cursor..].chars().next().map_or(0, char::len_utf8);
    }

    pub(crate) fn home(&mut self) {
        self.cursor = 0;
    }

    pub(crate) fn end(&mut self) {
        self.cursor = self.text.len();
    }

    pub(crate) fn word_left(&mut self) {
        let before = self.before().trim_end_matches(|letter| !is_of_word(letter));
        self.cursor = before.trim_end_matches(is_of_word).len();
    }

    pub(crate) fn word_right(&mut self) {
        let behind = self.text[self.cursor..].trim_start_matches(|letter| !is_of_word(letter));
        self.cursor = self.text.len() - behind.trim_start_matches(is_of_word).len();
    }

    pub(crate) fn delete(&mut self) {
        if !self.is_at_end() {
            self.text.remove(self.cursor);
        }
    }

    pub(crate) fn backspace(&mut self) {
        if self.cursor > 0 {
            self.left();
            self.delete();
        }
    }

    pub(crate) fn kill_to_start(&mut self) {
        self.kill(0, self.cursor);
    }

    pub(crate) fn kill_to_end(&mut self) {
        self.kill(self.cursor, self.text.len());
    }

    pub(crate) fn kill_blank_word(&mut self) {
        let before = self.before().trim_end();
        let start = before.rfind(char::is_whitespace).map_or(0, |blank| blank + 1);
        self.kill(start, self.cursor);
    }

    pub(crate) fn kill_word_right(&mut self) {
        let start = self.cursor;
        self.word_right();
        self.kill(start, self.cursor);
    }

    /// Inserts what was killed last. False if there is no room for it.
    pub(crate) fn yank(&mut self) -> bool {
        let killed = self.killed.clone();
        self.insert(&killed)
    }

    fn kill(&mut self, start: usize, end: usize) {
        if start == end {
            return;
        }
        self.killed.clear();
        let (mut rest, parts) = (Text::new(), [&self.text[..start], &self.text[end..]]);
        // Each is part of a line.
        let _ = self.killed.push_str(&self.text[start..end]);
        parts.iter().for_each(|part| drop(rest.push_str(part)));
        (self.text, self.cursor) = (rest, start);
    }
}

fn is_of_word(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}
