//! The lines that were entered.

use crate::text::Text;
use heapless::Deque;

/// Lines that are kept.
const KEPT: usize = 32;

/// The last lines, of which one may be looked at.
#[derive(Default)]
pub(crate) struct History {
    lines: Deque<Text, KEPT>,
    /// How many lines back is looked at; none for the line that is being edited.
    back: usize,
    /// What was being edited when somebody began to look back.
    draft: Text,
}

impl History {
    /// Keeps a line, unless it says nothing or the same as the last.
    pub(crate) fn add(&mut self, line: &str) {
        self.back = 0;
        if line.trim().is_empty() || self.lines.back().is_some_and(|last| last == line) {
            return;
        }
        if self.lines.is_full() {
            self.lines.pop_front();
        }
        let mut text = Text::new();
        // It was a line, and there is room for it now.
        let _ = text.push_str(line);
        let _ = self.lines.push_back(text);
    }

    /// The line before the one that is looked at.
    pub(crate) fn previous(&mut self, current: &str) -> Option<&str> {
        if self.back == self.lines.len() {
            return None;
        }
        if self.back == 0 {
            self.draft.clear();
            // It is a line.
            let _ = self.draft.push_str(current);
        }
        self.back += 1;
        self.back(self.back)
    }

    /// The line behind the one that is looked at; behind the last, what was being edited.
    pub(crate) fn next(&mut self) -> Option<&str> {
        self.back = self.back.checked_sub(1)?;
        if self.back == 0 { Some(&self.draft) } else { self.back(self.back) }
    }

    /// The latest line, from the one `from` lines back on, that contains the text; and how many lines back it is.
    pub(crate) fn find(&self, text: &str, from: usize) -> Option<(usize, &str)> {
        (from.max(1)..=self.lines.len())
            .filter_map(|back| Some((back, self.back(back)?)))
            .find(|(_, line)| line.contains(text))
    }

    fn back(&self, lines: usize) -> Option<&str> {
        self.lines.iter().rev().nth(lines.checked_sub(1)?).map(|line| &**line)
    }
}
