//! A sequence as a picture: a row for each operation, a column for each frame or a few bytes.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use core::ops::Range;

use bifolio::allocator::BlockState;
use kit::oracle::Oracle;

use crate::judge::Event;
use crate::layout::Layout;

/// Columns of a picture, at most.
const WIDTH: u64 = 64;
/// Rows of a picture, at most: what comes before the last ones is left out.
const ROWS: usize = 40;

/// What the columns of a picture stand for.
#[derive(Clone, Debug)]
pub struct Strip {
    /// The cells, by number: the smallest that there is a column for.
    pub cells: Range<u64>,
    /// Bytes of a cell where addresses are shown; `None` where a cell is a frame, and frames are.
    pub bytes: Option<u64>,
}

impl Strip {
    /// Frames of some memory.
    pub fn frames(layout: &Layout) -> Self {
        Self { cells: layout.first()..layout.end(), bytes: None }
    }

    /// Where a picture begins, and what its columns are.
    fn head(&self, start: u64, scale: u64) -> String {
        match self.bytes {
            Some(bytes) => format!("from address {:#x}, a column is {} bytes", start * bytes, scale * bytes),
            None if scale == 1 => format!("from frame {start:#x}, a column is a frame"),
            None => format!("from frame {start:#x}, a column is {scale} frames"),
        }
    }
}

/// What each frame is, a byte each: the first of an allocated block has the block's order (A is 10), the rest of it `#`; free
/// ones are dots, of which the first of a larger block is `|`; what is not memory is a space.
pub fn states(oracle: &Oracle, layout: &Layout, largest: u8) -> String {
    let mut states = vec![b' '; (layout.end() - layout.first()) as usize];
    for (frame, order, state) in oracle.blocks() {
        let start = (frame - layout.first()) as usize;
        let block = &mut states[start..start + (1 << order)];
        let digit = char::from_digit(order.into(), 16).map_or(b'?', |digit| digit.to_ascii_uppercase() as u8);
        let (head, rest) = match state {
            BlockState::Free if order > 0 && largest > 0 => (b'|', b'.'),
            BlockState::Free => (b'.', b'.'),
            _ => (digit, b'#'),
        };
        block.fill(rest);
        block[0] = head;
    }
    String::from_utf8(states).unwrap_or_default()
}

/// What was seen of an operation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row {
    /// What the piece was asked.
    pub asked: String,
    /// What it said; nothing if it never answered.
    pub answer: Option<String>,
    /// What each cell is after that.
    pub states: String,
    /// The cells that it was about.
    pub touched: Range<u64>,
}

impl Row {
    /// Takes an event to the rows. An answer is to what was asked last of what has none: what is asked in the middle of something else is
    /// answered before that is.
    pub fn note(rows: &mut Vec<Self>, event: Event) {
        match event {
            Event::Asked(asked) => {
                let states = rows.last().map_or_else(String::new, |row| row.states.clone());
                rows.push(Self { asked, states, ..Self::default() });
            }
            Event::Answered { answer, states, touched } => {
                if let Some(row) = rows.iter_mut().rfind(|row| row.answer.is_none()) {
                    *row = Self { asked: core::mem::take(&mut row.asked), answer: Some(answer), states, touched };
                }
            }
        }
    }
}

/// The picture of a sequence in some memory; the last row is where it went wrong, as `what` says.
pub fn picture(strip: &Strip, rows: &[Row], what: &str) -> String {
    let (start, scale) = window(strip, rows);
    let columns = strip.cells.end.div_ceil(scale).min(start / scale + WIDTH) - start / scale;
    // What was asked and said beside the frames, and wider where that is long.
    let width = rows.iter().map(|row| said(0, row).len() + 1).max().unwrap_or(0).max(44);
    let mut text = format!("{:<width$} {}\n", "", strip.head(start, scale));
    let first = rows.len().saturating_sub(ROWS);
    if first > 0 {
        text += &format!("(the first {first} operations are left out here)\n");
    }
    for (number, row) in rows.iter().enumerate().skip(first) {
        let said = said(number + 1, row);
        text += &format!("{said:<width$} {}\n", squeezed(strip, &row.states, start, scale));
        if number + 1 == rows.len() && row.touched.start >= start && !row.touched.is_empty() {
            let marks: String = (0..columns)
                .map(|column| start / scale * scale + column * scale)
                .map(|frame| if frame < row.touched.end && frame + scale > row.touched.start { '^' } else { ' ' })
                .collect();
            if marks.contains('^') {
                text += &format!("{:<width$} {}\n", "", marks.trim_end());
            }
        }
    }
    if rows.is_empty() {
        text += "  (before the first operation)\n";
    }
    text + &format!("    {what}\n")
}

/// A row's number, and what was asked and said.
fn said(number: usize, row: &Row) -> String {
    format!("{number:>3} {}: {}", row.asked, row.answer.as_deref().unwrap_or("no answer"))
}

/// The first cell that is shown, and how many of them are in a column: so that all is seen that the operations are about.
fn window(strip: &Strip, rows: &[Row]) -> (u64, u64) {
    let Range { start: first, end } = strip.cells;
    let around = first.saturating_sub(WIDTH)..end + WIDTH;
    let touched =
        || rows.iter().map(|row| &row.touched).filter(|touched| !touched.is_empty() && around.contains(&touched.start));
    let start = touched().map(|touched| touched.start).min().unwrap_or(first);
    let end = touched().map(|touched| touched.end).max().unwrap_or(first + 1);
    let mut scale = 1;
    loop {
        let from = start / (scale * 16) * (scale * 16);
        if end <= from + scale * WIDTH {
            return (from, scale);
        }
        scale *= 2;
    }
}

/// The states of a window, `scale` cells in a column.
fn squeezed(strip: &Strip, states: &str, start: u64, scale: u64) -> String {
    let at = |cell: u64| {
        let index = cell.checked_sub(strip.cells.start).and_then(|index| usize::try_from(index).ok());
        index.and_then(|index| states.as_bytes().get(index)).copied().unwrap_or(b' ')
    };
    let column = |number: u64| {
        let frames = (0..scale).map(|frame| at(start + number * scale + frame));
        let first = at(start + number * scale);
        let is = |set: &[u8]| frames.clone().all(|state| set.contains(&state));
        match () {
            () if scale == 1 => char::from(first),
            () if is(b" ") => ' ',
            () if is(b".|") => {
                if first == b'|' {
                    '|'
                } else {
                    '.'
                }
            }
            // Two blocks in one column are not told apart.
            () if is(b"#") || !b".| ".contains(&first) && frames.clone().skip(1).all(|state| state == b'#') => {
                char::from(first)
            }
            () if frames.clone().any(|state| !b".| ".contains(&state)) => '+',
            () => ':',
        }
    };
    (0..WIDTH).map(column).collect::<String>().trim_end().to_string()
}
