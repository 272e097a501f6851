//! The map: all frames to scale, in tiles in Z order, tiles in rows by address.
//!
//! In a tile the bits of a frame's number are in turn those of its column and of its row. So a block is a square or a rectangle of 2
//! to 1, its buddy is the other half of the next larger, and a pixel that stands for many frames stands for a block of them.

use alloc::vec;
use alloc::vec::Vec;

use bifolio::frame::Order;

use crate::cells::{Cells, TILE};
use crate::palette::{CODES, Palette, is_marked, meaning, pattern};

/// Frames along the side of a tile.
const SIDE: usize = 32;
/// The furthest that can be zoomed in: pixels along the side of a frame, as a power of two.
const NEAREST: i32 = 6;
/// The furthest that can be zoomed out: a pixel for a tile.
const FURTHEST: i32 = -5;
/// Pixels above each section, for its name.
pub const HEADING: i64 = 22;
/// Pixels along the side of a frame, as a power of two, from which blocks have lines between them.
const LINES: i32 = 2;
/// The same for patterns.
const PATTERNS: i32 = 3;

/// A rectangle of the picture, in pixels; it may reach beyond.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rectangle {
    /// Pixels from the left.
    pub x: i64,
    /// Pixels from the top.
    pub y: i64,
    /// Pixels across.
    pub width: i64,
    /// Pixels down.
    pub height: i64,
}

/// The map, and the part of it that is looked at.
#[derive(Debug)]
pub struct Map {
    width: usize,
    height: usize,
    pixels: Vec<u32>,
    /// Tiles in a row.
    columns: usize,
    /// Pixels along the side of a frame, as a power of two.
    scale: i32,
    /// The pixel of the whole map that is at the left and at the top.
    left: i64,
    top: i64,
    /// All has to be drawn again.
    is_stale: bool,
    colours: [[u32; CODES]; 3],
    background: u32,
    is_dark: bool,
}

/// A colour as the four bytes of a pixel.
fn pixel([red, green, blue]: [u8; 3]) -> u32 {
    u32::from_le_bytes([red, green, blue, 0xff])
}

/// The column and the row of a frame in its tile.
fn place(offset: usize) -> (usize, usize) {
    let even = |bits: usize| (0..5).fold(0, |sum, bit| sum | (bits >> (2 * bit) & 1) << bit);
    (even(offset), even(offset >> 1))
}

/// The frames that a column stands for, as those of row 0; twice as many are those of the row.
const SPREAD: [u16; SIDE] = {
    let mut table = [0; SIDE];
    let mut column = 0;
    while column < SIDE {
        let mut bit = 0;
        while bit < 5 {
            table[column] |= ((column >> bit & 1) << (2 * bit)) as u16;
            bit += 1;
        }
        column += 1;
    }
    table
};

/// Frames across and down of a block.
fn sides(order: usize) -> (usize, usize) {
    (1 << order.div_ceil(2), 1 << (order / 2))
}

impl Map {
    /// A map that nothing is drawn of yet.
    pub fn new() -> Self {
        let mut map = Self {
            width: 0,
            height: 0,
            pixels: Vec::new(),
            columns: 1,
            scale: 0,
            left: 0,
            top: 0,
            is_stale: true,
            colours: [[0; CODES]; 3],
            background: 0,
            is_dark: false,
        };
        map.set_colours(false);
        map
    }

    /// Takes the colours of a light page or of a dark one.
    pub fn set_colours(&mut self, is_dark: bool) {
        let palette = Palette::new(is_dark);
        self.colours = [palette.fills, palette.lines, palette.marks].map(|colours| colours.map(pixel));
        self.background = pixel(palette.background);
        self.is_dark = is_dark;
        self.is_stale = true;
    }

    /// Whether the colours are those of a dark page.
    pub fn is_dark(&self) -> bool {
        self.is_dark
    }

    /// Makes the picture so many pixels large, and shows the whole machine in it.
    pub fn fit(&mut self, cells: &Cells, width: usize, height: usize) {
        (self.width, self.height) = (width, height);
        self.pixels = vec![0; width * height];
        let longest = cells.sections().iter().map(|section| section.tiles).max().unwrap_or(1);
        for scale in (FURTHEST..=NEAREST - 1).rev() {
            self.scale = scale;
            self.columns = (width / self.side() as usize).clamp(1, longest);
            if self.columns as i64 * self.side() <= width as i64 && self.whole(cells).1 <= height as i64 {
                break;
            }
        }
        self.is_stale = true;
        self.settle(cells);
    }

    /// Pixels along the side of a tile.
    fn side(&self) -> i64 {
        if self.scale >= 0 { (SIDE as i64) << self.scale } else { SIDE as i64 >> -self.scale }
    }

    /// Pixels along the side of a frame, as a power of two.
    pub fn scale(&self) -> i32 {
        self.scale
    }

    /// The pixels of the whole map, across and down.
    fn whole(&self, cells: &Cells) -> (i64, i64) {
        let rows: usize = cells.sections().iter().map(|section| section.tiles.div_ceil(self.columns)).sum();
        let headings = cells.sections().len() as i64 * HEADING;
        (self.columns as i64 * self.side(), rows as i64 * self.side() + headings)
    }

    /// Keeps the picture inside of the map, or the map in the middle of the picture.
    fn settle(&mut self, cells: &Cells) {
        let (width, height) = self.whole(cells);
        let within = |from: i64, whole: i64, shown: i64| {
            if whole <= shown { (whole - shown) / 2 } else { from.clamp(0, whole - shown) }
        };
        self.left = within(self.left, width, self.width as i64);
        self.top = within(self.top, height, self.height as i64);
    }

    /// Moves the picture over the map.
    pub fn pan(&mut self, cells: &Cells, x: i64, y: i64) {
        self.left += x;
        self.top += y;
        self.settle(cells);
        self.is_stale = true;
    }

    /// Zooms in or out, so that what is at this pixel stays there.
    pub fn zoom(&mut self, cells: &Cells, steps: i32, x: i64, y: i64) {
        let scale = (self.scale + steps).clamp(FURTHEST, NEAREST);
        let frame = self.hit(cells, x, y);
        let old = frame.and_then(|pfn| self.rectangle(cells, pfn, Order::ZERO));
        let (left, top) = (self.left + x, self.top + y);
        let by = |value: i64, steps: i32| if steps >= 0 { value << steps } else { value >> -steps };
        self.left = by(left, scale - self.scale) - x;
        self.top = by(top, scale - self.scale) - y;
        self.scale = scale;
        // Headings do not grow, so what was there is looked for.
        if let (Some(pfn), Some(_)) = (frame, old)
            && let Some(new) = self.rectangle(cells, pfn, Order::ZERO)
        {
            self.left += new.x + new.width / 2 - x;
            self.top += new.y + new.height / 2 - y;
        }
        self.settle(cells);
        self.is_stale = true;
    }

    /// Moves the picture so that a block is in it, near enough to be seen.
    pub fn reveal(&mut self, cells: &Cells, pfn: u64, order: Order) {
        let Some(shown) = self.rectangle(cells, pfn, order) else { return };
        let is_in = |from: i64, length: i64, all: usize| from >= 0 && from + length <= all as i64;
        if !is_in(shown.x, shown.width, self.width) || !is_in(shown.y, shown.height, self.height) {
            let (x, y) = (shown.x + shown.width / 2, shown.y + shown.height / 2);
            self.pan(cells, x - self.width as i64 / 2, y - self.height as i64 / 2);
        }
    }

    /// The frame at a pixel: the first of them where a pixel stands for many.
    pub fn hit(&self, cells: &Cells, x: i64, y: i64) -> Option<u64> {
        let (x, mut y) = (x + self.left, y + self.top);
        let side = self.side();
        if x < 0 || x >= self.columns as i64 * side {
            return None;
        }
        for section in cells.sections() {
            let rows = section.tiles.div_ceil(self.columns) as i64;
            y -= HEADING;
            if y < 0 {
                return None;
            }
            if y < rows * side {
                let tile = (y / side) as usize * self.columns + (x / side) as usize;
                let frames =
                    |pixels: i64| (if self.scale >= 0 { pixels >> self.scale } else { pixels << -self.scale }) as usize;
                let offset = SPREAD[frames(x % side)] as usize | (SPREAD[frames(y % side)] as usize) << 1;
                return (tile < section.tiles).then(|| section.start + (tile * TILE + offset) as u64);
            }
            y -= rows * side;
        }
        None
    }

    /// Where a block is in the picture.
    pub fn rectangle(&self, cells: &Cells, pfn: u64, order: Order) -> Option<Rectangle> {
        let index = cells.index(Cells::head(pfn, order).number())?;
        let tile = index / TILE;
        let mut y = -self.top;
        for section in cells.sections() {
            y += HEADING;
            if tile < section.first + section.tiles {
                let (column, row) = ((tile - section.first) % self.columns, (tile - section.first) / self.columns);
                let (across, down) = place(index % TILE);
                let (wide, high) = sides(order.index());
                let pixels = |frames: usize| {
                    let frames = frames as i64;
                    if self.scale >= 0 { frames << self.scale } else { frames >> -self.scale }
                };
                return Some(Rectangle {
                    x: column as i64 * self.side() + pixels(across) - self.left,
                    y: y + row as i64 * self.side() + pixels(down),
                    width: pixels(wide).max(1),
                    height: pixels(high).max(1),
                });
            }
            y += section.tiles.div_ceil(self.columns) as i64 * self.side();
        }
        None
    }

    /// Where the name of each section goes: pixels from the top.
    pub fn headings(&self, cells: &Cells) -> impl Iterator<Item = (usize, i64)> {
        let mut y = -self.top;
        let side = self.side();
        let heights: Vec<i64> =
            cells.sections().iter().map(|section| section.tiles.div_ceil(self.columns) as i64 * side).collect();
        heights.into_iter().enumerate().map(move |(number, height)| {
            let at = y;
            y += HEADING + height;
            (number, at)
        })
    }

    /// Pixels from the left at which the map begins.
    pub fn start(&self) -> i64 {
        (-self.left).max(0)
    }

    /// Draws what has changed; the picture's pixels, row by row, each as red, green, blue and alpha.
    pub fn draw(&mut self, cells: &mut Cells) -> &[u32] {
        let all = core::mem::take(&mut self.is_stale);
        if all {
            self.pixels.fill(self.background);
        }
        let side = self.side();
        let mut y = -self.top;
        for section in cells.sections().to_vec() {
            y += HEADING;
            let rows = section.tiles.div_ceil(self.columns);
            for row in 0..rows {
                let top = y + row as i64 * side;
                let is_seen = top + side > 0 && top < self.height as i64;
                for column in 0..self.columns.min(section.tiles - row * self.columns) {
                    let tile = section.first + row * self.columns + column;
                    let left = column as i64 * side - self.left;
                    let is_changed = cells.take_changed(tile);
                    if is_seen && (all || is_changed) && left + side > 0 && left < self.width as i64 {
                        self.draw_tile(cells.tile(tile), left, top);
                    }
                }
            }
            y += rows as i64 * side;
        }
        &self.pixels
    }

    fn draw_tile(&mut self, codes: &[u8], left: i64, top: i64) {
        let side = self.side();
        let clip = |from: i64, all: usize| (-from).max(0)..side.min(all as i64 - from);
        let (across, down) = (clip(left, self.width), clip(top, self.height));
        // They are apart while they are written, for what the rest says.
        let mut pixels = core::mem::take(&mut self.pixels);
        for y in down {
            let start = (top + y) as usize * self.width + (left + across.start) as usize;
            for (x, pixel) in across.clone().zip(&mut pixels[start..]) {
                *pixel = match self.scale {
                    0.. => self.near(codes, x as usize, y as usize),
                    _ => self.far(codes, x as usize, y as usize),
                };
            }
        }
        self.pixels = pixels;
    }

    /// The colour of a pixel of a frame.
    #[inline]
    fn near(&self, codes: &[u8], x: usize, y: usize) -> u32 {
        let (column, row) = (x >> self.scale, y >> self.scale);
        let code = codes[(SPREAD[column] as usize | (SPREAD[row] as usize) << 1) % TILE];
        let [fills, lines, marks] = &self.colours;
        if self.scale >= LINES && code != 0 {
            let (wide, high) = sides(usize::from(code - 1) % Order::COUNT);
            let inside = (1 << self.scale) - 1;
            let is_edge =
                |pixel: usize, frame: usize, frames: usize| pixel & inside == 0 && frame.is_multiple_of(frames);
            if is_edge(x, column, wide) || is_edge(y, row, high) {
                return lines[usize::from(code) % CODES];
            }
            if self.scale >= PATTERNS && is_marked(pattern(code), x, y) {
                return marks[usize::from(code) % CODES];
            }
        }
        if code == 0 { self.background } else { fills[usize::from(code) % CODES] }
    }

    /// The colour of a pixel that stands for a block of many frames: theirs, mixed.
    #[inline]
    fn far(&self, codes: &[u8], x: usize, y: usize) -> u32 {
        let out = -self.scale;
        let first = SPREAD[x << out] as usize | (SPREAD[y << out] as usize) << 1;
        let frames = &codes[first..][..1 << (2 * out)];
        let fills = &self.colours[0];
        if frames.iter().all(|code| *code == frames[0]) {
            return if frames[0] == 0 { self.background } else { fills[usize::from(frames[0]) % CODES] };
        }
        let mut sums = [0_u32; 3];
        for code in frames {
            let colour = if *code == 0 { self.background } else { fills[usize::from(*code) % CODES] };
            for (sum, byte) in sums.iter_mut().zip(colour.to_le_bytes()) {
                *sum += u32::from(byte);
            }
        }
        pixel(sums.map(|sum| (sum >> (2 * out)) as u8))
    }

    /// The blocks in the picture, each with where it is, as long as frames are large enough for text.
    pub fn labels(&self, cells: &Cells, mut visit: impl FnMut(u64, Order, Rectangle)) {
        if self.scale < 5 {
            return;
        }
        let step = 1 << self.scale;
        let (mut y, mut seen) = (0, Vec::new());
        while y < self.height as i64 + step {
            let mut x = 0;
            while x < self.width as i64 + step {
                if let Some(pfn) = self.hit(cells, x, y)
                    && let Some((.., order)) = meaning(cells.code(pfn))
                {
                    let head = Cells::head(pfn, order).number();
                    if !seen.contains(&head)
                        && let Some(rectangle) = self.rectangle(cells, head, order)
                    {
                        seen.push(head);
                        visit(head, order, rectangle);
                    }
                }
                x += step;
            }
            y += step;
        }
    }
}

impl Default for Map {
    fn default() -> Self {
        Self::new()
    }
}
