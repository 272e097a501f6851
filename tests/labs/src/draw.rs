//! A sequence as a picture: a row for each operation, a column for each frame or a few bytes.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;

use bifolio::allocator::BlockState;
use bifolio::frame::FRAME_SIZE;
use kit::oracle::Oracle;

use crate::Frame;
use crate::judge::Event;
use crate::layout::Layout;
use crate::script::scripts;

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
    /// The order of the blocks in which frames are taken from memory, where what is drawn lies in such; `None` where each block is drawn
    /// with its own order.
    pub taken_as: Option<u32>,
}

impl Strip {
    /// Frames of some memory.
    pub fn frames(layout: &Layout) -> Self {
        Self { cells: layout.first()..layout.end(), bytes: None, taken_as: None }
    }

    /// How many cells a frame has.
    pub(crate) fn cells_per_frame(&self) -> u64 {
        self.bytes.map_or(1, |bytes| FRAME_SIZE / bytes)
    }

    /// The frame that a cell is, or lies in.
    pub(crate) fn frame_of(&self, cell: u64) -> Frame {
        cell / self.cells_per_frame()
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

/// A sequence in some memory, drawn.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Picture {
    /// Where it begins, and what its columns are.
    pub head: String,
    /// Operations before the first that is shown.
    pub left_out: usize,
    /// The operations.
    pub steps: Vec<Step>,
    /// What is wrong with the last one.
    pub what: String,
}

/// An operation, drawn.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// What was asked and said.
    pub said: String,
    /// What is in each column.
    pub cells: String,
    /// A `^` below each column that it was about.
    pub marks: String,
    /// The first frame that it was about, if any.
    pub frame: Option<Frame>,
    /// What a machine of the explorer's does of it, as its commands; none where memory stays as it was.
    pub script: String,
}

/// The picture of a sequence in some memory; the last row is where it went wrong, as `what` says.
pub fn picture(strip: &Strip, rows: &[Row], what: &str) -> Picture {
    let (start, scale) = window(strip, rows);
    let columns = strip.cells.end.div_ceil(scale).min(start / scale + WIDTH) - start / scale;
    let left_out = rows.len().saturating_sub(ROWS);
    let marks = |row: &Row| {
        if row.touched.start < start || row.touched.is_empty() {
            return String::new();
        }
        let marks: String = (0..columns)
            .map(|column| start / scale * scale + column * scale)
            .map(|cell| if cell < row.touched.end && cell + scale > row.touched.start { '^' } else { ' ' })
            .collect();
        marks.trim_end().to_string()
    };
    let step = |((number, row), script): ((usize, &Row), String)| Step {
        said: said(number + 1, row),
        cells: squeezed(strip, &row.states, start, scale),
        marks: marks(row),
        frame: (!row.touched.is_empty()).then(|| strip.frame_of(row.touched.start)),
        script,
    };
    // What is left out is done with the first that is not.
    let scripts = scripts(strip, &rows[left_out..]);
    let steps = rows.iter().enumerate().skip(left_out).zip(scripts).map(step).collect();
    Picture { head: strip.head(start, scale), left_out, steps, what: what.to_string() }
}

impl fmt::Display for Picture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { head, left_out, steps, what } = self;
        // What was asked and said beside the cells, and wider where that is long.
        let width = steps.iter().map(|step| step.said.len() + 1).max().unwrap_or(0).max(44);
        writeln!(f, "{:<width$} {head}", "")?;
        if *left_out > 0 {
            writeln!(f, "(the first {left_out} operations are left out here)")?;
        }
        for Step { said, cells, .. } in steps {
            writeln!(f, "{said:<width$} {cells}")?;
        }
        match steps.last() {
            Some(Step { marks, .. }) if !marks.is_empty() => writeln!(f, "{:<width$} {marks}", "")?,
            Some(_) => {}
            None => writeln!(f, "  (before the first operation)")?,
        }
        writeln!(f, "    {what}")
    }
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
