//! How the map is drawn: in colours and block elements where the terminal has them, else in ASCII.
//!
//! The colours are those that people who see colours differently can tell apart (Okabe and Ito), as near as the palette of 256
//! comes. What they say, mobility, is of pageblocks; the height of a cell says how much is in use.

use crate::{print, println};
use bifolio::allocator::{BlockInfo, BlockState};
use bifolio::frame::{Mobility, Order};
use protocol::Terminal;

/// What a cell of a zone's map shows.
#[derive(Clone, Copy)]
pub(super) enum Shade {
    Reserved,
    Free,
    /// So many eighths are in use.
    Used(u8),
}

/// Draws for a terminal.
#[derive(Clone, Copy)]
pub(super) struct Paint(pub(super) Option<Terminal>);

/// By the eighths that are in use.
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
const DIGITS: [char; 8] = ['1', '2', '3', '4', '5', '6', '7', '#'];
const FREE: char = '.';
/// Where a free block of several frames begins.
const FREE_BLOCK: char = '|';

impl Paint {
    fn has_colour(self) -> bool {
        self.0.is_some_and(|terminal| terminal.colour)
    }

    /// The one character where the terminal has such, else the other.
    fn glyph(self, unicode: char, ascii: char) -> char {
        if self.0.is_some_and(|terminal| terminal.unicode) { unicode } else { ascii }
    }

    fn put(self, character: char, colour: u8) {
        if self.has_colour() { print!("\x1b[38;5;{colour}m{character}") } else { print!("{character}") }
    }

    /// A cell of a zone's map; nothing where there is no RAM.
    pub(super) fn cell(self, shade: Option<(Shade, Mobility)>) {
        match shade {
            None => print!(" "),
            Some((Shade::Reserved, _)) => self.put(self.glyph('░', 'x'), RESERVED),
            Some((Shade::Free, kind)) => self.put(FREE, colour(kind)),
            Some((Shade::Used(eighths), kind)) => {
                let nth = usize::from(eighths - 1);
                self.put(self.glyph(BARS[nth], DIGITS[nth]), colour(kind));
            }
        }
    }

    /// A frame in the map of a pageblock. Where an allocated block begins, its order says so.
    pub(super) fn frame(self, block: &BlockInfo, is_head: bool) {
        let shade = if block.state == BlockState::Reserved { RESERVED } else { colour(block.mobility) };
        match block.state {
            // On a ground of the block's colour.
            BlockState::Allocated if is_head && self.has_colour() => {
                print!("\x1b[38;5;16m\x1b[48;5;{shade}m{}\x1b[49m", letter(block.order));
            }
            BlockState::Allocated if is_head => print!("{}", letter(block.order)),
            BlockState::Free if is_head && block.order > Order::ZERO => self.put(FREE_BLOCK, shade),
            state => self.put(self.inside(state), shade),
        }
    }

    fn inside(self, state: BlockState) -> char {
        match state {
            BlockState::Free => FREE,
            BlockState::Allocated => self.glyph('█', '#'),
            BlockState::Cached => self.glyph('▒', '%'),
            BlockState::Reserved => self.glyph('░', 'x'),
        }
    }

    /// Ends a row.
    pub(super) fn end(self) {
        println!("{}", if self.has_colour() { "\x1b[0m" } else { "" });
    }

    /// Says what the cells of a zone's map mean.
    pub(super) fn legend(self, frames: u64) {
        let cell = if frames == 1 { "1 frame".into() } else { alloc::format!("{frames} frames, {} kB", frames * 4) };
        print!("a cell is {cell}: {FREE} free");
        let (few, most, all) = (self.glyph('▁', '1'), self.glyph('▇', '7'), self.glyph('█', '#'));
        println!(", {few} to {most} so much in use, {all} all, {} reserved", self.glyph('░', 'x'));
        self.kinds();
        println!("'map <pfn>' shows the pageblock around a frame, 'map <zone>' one zone, 'page <pfn>' says more");
    }

    /// Says what the frames of a pageblock's map mean.
    pub(super) fn legend_of_frames(self) {
        let [used, cached, reserved] =
            [BlockState::Allocated, BlockState::Cached, BlockState::Reserved].map(|state| self.inside(state));
        println!("an allocated block begins with its order (A is 10), a free one of several frames with {FREE_BLOCK}");
        println!("{used} allocated, {FREE} free, {cached} free in a CPU's pages, {reserved} reserved");
        self.kinds();
    }

    fn kinds(self) {
        if self.has_colour() {
            print!("colours are mobilities of pageblocks:");
            for kind in Mobility::ALL {
                print!(" \x1b[38;5;{}m{} {}\x1b[0m", colour(kind), self.glyph('█', '#'), kind.name());
            }
            println!();
        }
    }
}

const RESERVED: u8 = 244;

fn colour(kind: Mobility) -> u8 {
    match kind {
        Mobility::Unmovable => 166,
        Mobility::Movable => 32,
        Mobility::Reclaimable => 220,
        Mobility::HighAtomic => 175,
        Mobility::Isolate => 36,
    }
}

/// How an order is written where a block begins: in one character.
fn letter(order: Order) -> char {
    char::from_digit(order.get().into(), 16).unwrap_or('?').to_ascii_uppercase()
}
