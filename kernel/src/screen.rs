//! The console's text on the machine's display as well, for whoever runs QEMU with a window.
//!
//! Only where the host program asks for it: drawing a line costs more instructions than everything else in the boot. It
//! is no terminal, only as much of one as the shell and its line editor use.

use crate::sync::Mutex;
use bootloader_api::info::{FrameBuffer, FrameBufferInfo, PixelFormat};
use core::fmt;
use noto_sans_mono_bitmap::{FontWeight, RasterHeight, get_raster, get_raster_width};
use vte::{Params, Parser, Perform};

const FONT: FontWeight = FontWeight::Regular;
const SIZE: RasterHeight = RasterHeight::Size16;
const CHAR_WIDTH: usize = get_raster_width(FONT, SIZE);
/// Pixels from one line of text to the next.
const LINE_HEIGHT: usize = SIZE.val() + 2;

/// Red, green and blue.
type Colour = [u8; 3];

const BLACK: Colour = [0; 3];
const WHITE: Colour = [0xff; 3];

static SCREEN: Mutex<Option<(Parser, Screen)>> = Mutex::new("screen", None);

/// Shows from now on what the console prints, if there is a display.
pub fn init(framebuffer: Option<FrameBuffer>) {
    let Some(framebuffer) = framebuffer else { return };
    let info = framebuffer.info();
    let buffer = framebuffer.into_buffer();
    // A line that stops short of the buffer's end, whatever the boot loader says of the height.
    let rows = info.height.min(buffer.len() / (info.stride * info.bytes_per_pixel)) / LINE_HEIGHT;
    let columns = info.width / CHAR_WIDTH;
    if rows == 0 || columns == 0 {
        return;
    }
    buffer.fill(0);
    let screen = Screen { buffer, info, rows, columns, row: 0, column: 0, front: WHITE, back: BLACK };
    *SCREEN.lock() = Some((Parser::new(), screen));
}

/// Shows text that the console prints.
pub(crate) fn write(text: fmt::Arguments<'_>) {
    if let Some((parser, screen)) = SCREEN.lock().as_mut() {
        // A screen takes everything.
        let _ = fmt::write(&mut Text(parser, screen), text);
    }
}

/// Breaks the screen's lock, for a kernel that stops here and must still say why.
///
/// # Safety
/// Interrupts are masked and whoever holds the lock never runs again.
pub(crate) unsafe fn seize() {
    // SAFETY: by this function's contract no one is left to hold the lock.
    unsafe { SCREEN.seize() };
}

/// Text on its way to the screen.
struct Text<'s>(&'s mut Parser, &'s mut Screen);

impl fmt::Write for Text<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.advance(self.1, text.as_bytes());
        Ok(())
    }
}

struct Screen {
    buffer: &'static mut [u8],
    info: FrameBufferInfo,
    rows: usize,
    columns: usize,
    row: usize,
    column: usize,
    front: Colour,
    back: Colour,
}

impl Perform for Screen {
    fn print(&mut self, character: char) {
        if self.column == self.columns {
            self.next_row();
        }
        self.draw(character);
        self.column += 1;
    }

    fn execute(&mut self, byte: u8) {
        match byte {
            b'\n' => self.next_row(),
            b'\r' => self.column = 0,
            // Other control characters have no shape.
            _ => {}
        }
    }

    /// The sequences that the shell sends, by their last letter.
    fn csi_dispatch(&mut self, params: &Params, _: &[u8], _: bool, letter: char) {
        let first = params.iter().next().and_then(|param| param.first()).copied().unwrap_or(0);
        let count = usize::from(first.max(1));
        match letter {
            'C' => self.column = (self.column + count).min(self.columns),
            'D' => self.column = self.column.saturating_sub(count),
            'H' => (self.row, self.column) = (0, 0),
            'J' => self.buffer.fill(0),
            'K' => self.clear_behind(),
            'm' => self.colour(params),
            _ => {}
        }
    }
}

impl Screen {
    /// Sets colours: of the palette of 256, or those from before.
    fn colour(&mut self, params: &Params) {
        let mut values = params.iter().flatten().copied();
        while let Some(value) = values.next() {
            match value {
                0 => (self.front, self.back) = (WHITE, BLACK),
                38 | 48 => {
                    let number = values.nth(1).unwrap_or(0);
                    let which = if value == 38 { &mut self.front } else { &mut self.back };
                    *which = palette(number);
                }
                39 => self.front = WHITE,
                49 => self.back = BLACK,
                _ => {}
            }
        }
    }

    fn clear_behind(&mut self) {
        let (pixel, from) = (self.info.bytes_per_pixel, self.column.min(self.columns) * CHAR_WIDTH);
        for y in 0..LINE_HEIGHT {
            let start = (self.row * LINE_HEIGHT + y) * self.info.stride;
            self.buffer[(start + from) * pixel..(start + self.columns * CHAR_WIDTH) * pixel].fill(0);
        }
    }

    fn next_row(&mut self) {
        self.column = 0;
        if self.row + 1 < self.rows {
            self.row += 1;
            return;
        }
        let row = LINE_HEIGHT * self.info.stride * self.info.bytes_per_pixel;
        let end = row * self.rows;
        self.buffer.copy_within(row..end, 0);
        self.buffer[end - row..end].fill(0);
    }

    fn draw(&mut self, character: char) {
        if block(character, 0, 0).is_some() {
            for (x, y) in (0..LINE_HEIGHT).flat_map(|y| (0..CHAR_WIDTH).map(move |x| (x, y))) {
                self.dot(x, y, u8::MAX * u8::from(block(character, x, y) == Some(true)));
            }
            return;
        }
        let Some(raster) = get_raster(character, FONT, SIZE).or_else(|| get_raster('?', FONT, SIZE)) else {
            return;
        };
        for (y, line) in raster.rows().enumerate() {
            line.iter().enumerate().for_each(|(x, intensity)| self.dot(x, y, *intensity));
        }
    }

    /// Colours a pixel of the character at the cursor: so much of the one colour over the other.
    fn dot(&mut self, x: usize, y: usize, intensity: u8) {
        let mix = |nth: usize| {
            let (front, back) = (u32::from(self.front[nth]), u32::from(self.back[nth]));
            ((front * u32::from(intensity) + back * u32::from(u8::MAX - intensity)) / u32::from(u8::MAX)) as u8
        };
        let [red, green, blue] = [0, 1, 2].map(mix);
        let at = (self.row * LINE_HEIGHT + y) * self.info.stride + self.column * CHAR_WIDTH + x;
        let dot = &mut self.buffer[at * self.info.bytes_per_pixel..][..self.info.bytes_per_pixel];
        let bytes = match self.info.pixel_format {
            PixelFormat::Bgr => [blue, green, red],
            PixelFormat::Rgb => [red, green, blue],
            _ => [green; 3],
        };
        dot.iter_mut().zip(bytes).for_each(|(dot, byte)| *dot = byte);
    }
}

/// Whether a pixel of a block element is of the front: those that the map of memory is drawn with, which the font has not.
fn block(character: char, x: usize, y: usize) -> Option<bool> {
    let eighths = |number: char| (character as u32).wrapping_sub(number as u32) as usize + 1;
    match character {
        '\u{2580}' => Some(y < LINE_HEIGHT / 2),
        '\u{2581}'..='\u{2588}' => Some((LINE_HEIGHT - y) * 8 <= eighths('\u{2581}') * LINE_HEIGHT),
        '\u{2591}' => Some((x + 2 * y).is_multiple_of(4)),
        '\u{2592}' => Some((x + y).is_multiple_of(2)),
        '\u{2593}' => Some(!(x + 2 * y).is_multiple_of(4)),
        _ => None,
    }
}

/// A colour of the palette that terminals have: 16 by name, a cube of 6 x 6 x 6, and 24 greys.
fn palette(number: u16) -> Colour {
    let level = |step: u16| if step == 0 { 0 } else { (55 + 40 * step) as u8 };
    match number {
        0..8 => [0, 1, 2].map(|bit| if number >> bit & 1 == 1 { 0xaa } else { 0 }),
        8..16 => [0, 1, 2].map(|bit| if number >> bit & 1 == 1 { 0xff } else { 0x55 }),
        16..232 => [36, 6, 1].map(|weight| level((number - 16) / weight % 6)),
        232.. => [(8 + 10 * (number.min(255) - 232)) as u8; 3],
    }
}
