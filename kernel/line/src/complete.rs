//! What Tab does.

use crate::text::{Line, Text};
use core::fmt;

/// Columns that a list of candidates takes at most.
const WIDEST: usize = 100;

/// Knows what can be typed.
pub trait Complete {
    /// Shows every candidate for the word that ends where `line` does, whole words, to `each`. Returns where in `line` that
    /// word begins.
    fn candidates(&self, line: &str, each: &mut dyn FnMut(&str)) -> usize;
}

/// What there is to complete a word.
pub(crate) struct Completion {
    /// How many candidates there are.
    pub(crate) count: usize,
    /// What all of them have in common, beyond what is there.
    pub(crate) more: Text,
}

/// Finds out what the word before the cursor can become.
pub(crate) fn complete(line: &Line, with: &dyn Complete) -> Completion {
    let (mut common, mut count) = (Text::new(), 0);
    let start = with.candidates(line.before(), &mut |candidate| {
        count += 1;
        if count == 1 {
            common.clear();
            // One that is longer than a line cannot be typed: its beginning can.
            let fits = candidate.floor_char_boundary(common.capacity());
            let _ = common.push_str(&candidate[..fits]);
        }
        let same = common.char_indices().zip(candidate.chars()).find(|((_, one), other)| one != other);
        let end = same.map_or(common.len().min(candidate.len()), |((at, _), _)| at);
        common.truncate(end);
    });
    let word = &line.before()[start..];
    let mut more = Text::new();
    if let Some(rest) = common.strip_prefix(word) {
        // It is part of a line.
        let _ = more.push_str(rest);
    }
    Completion { count, more }
}

/// Lists the candidates in columns that fit into a row of so many characters.
pub(crate) fn list(line: &Line, with: &dyn Complete, columns: usize, out: &mut dyn fmt::Write) -> fmt::Result {
    let mut widest = 0;
    with.candidates(line.before(), &mut |candidate| widest = widest.max(candidate.chars().count()));
    let in_row = (columns.min(WIDEST) / (widest + 2)).max(1);
    let (mut place, mut gap, mut result) = (0, 0, Ok(()));
    with.candidates(line.before(), &mut |candidate| {
        let write = |out: &mut dyn fmt::Write| match place {
            0 => out.write_str(candidate),
            _ if place % in_row == 0 => write!(out, "\n{candidate}"),
            _ => write!(out, "{:gap$}{candidate}", ""),
        };
        result = result.and_then(|()| write(out));
        (place, gap) = (place + 1, widest + 2 - candidate.chars().count());
    });
    result?;
    out.write_str("\n")
}
