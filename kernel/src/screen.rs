//! The console's text on the machine's display as well, for whoever runs QEMU with a window.
//!
//! Only where the host program asks for it: drawing a line costs more instructions than everything else in the boot. It
//! is no terminal, only as much of one as the shell's line editor uses.

use crate::sync::Mutex;
use bootloader_api::info::{FrameBuffer, FrameBufferInfo};
use core::fmt;
use noto_sans_mono_bitmap::{FontWeight, RasterHeight, get_raster, get_raster_width};

const FONT: FontWeight = FontWeight::Regular;
const SIZE: RasterHeight = RasterHeight::Size16;
const CHAR_WIDTH: usize = get_raster_width(FONT, SIZE);
/// Pixels from one line of text to the next.
const LINE_HEIGHT: usize = SIZE.val() + 2;
const ESCAPE: u8 = 0x1b;

static SCREEN: Mutex<Option<Screen>> = Mutex::new("screen", None);

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
    let screen = Screen { buffer, info, rows, columns, row: 0, column: 0, escape: Escape::None };
    *SCREEN.lock() = Some(screen);
}

/// Shows text that the console prints.
pub(crate) fn write(text: fmt::Arguments<'_>) {
    if let Some(screen) = SCREEN.lock().as_mut() {
        // A screen takes everything.
        let _ = fmt::write(screen, text);
    }
}

/// Shows bytes that the console sends.
pub(crate) fn write_bytes(bytes: &[u8]) {
    if let Some(screen) = SCREEN.lock().as_mut() {
        bytes.iter().for_each(|&byte| screen.put(byte));
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

/// How much of an escape sequence there has been.
enum Escape {
    None,
    Started,
    /// The escape and a bracket: parameters follow, then a letter.
    Sequence,
}

struct Screen {
    buffer: &'static mut [u8],
    info: FrameBufferInfo,
    rows: usize,
    columns: usize,
    row: usize,
    column: usize,
    escape: Escape,
}

impl Screen {
    fn put(&mut self, byte: u8) {
        match (&self.escape, byte) {
            (Escape::None, ESCAPE) => self.escape = Escape::Started,
            (Escape::None, _) => self.put_plain(byte),
            (Escape::Started, b'[') => self.escape = Escape::Sequence,
            (Escape::Sequence, 0x40..=0x7e) => {
                self.escape = Escape::None;
                self.obey(byte);
            }
            (Escape::Sequence, _) => {}
            (Escape::Started, _) => self.escape = Escape::None,
        }
    }

    fn put_plain(&mut self, byte: u8) {
        match byte {
            b'\n' => self.next_row(),
            b'\r' => self.column = 0,
            // Other control characters have no shape.
            0..0x20 | 0x7f => {}
            _ => {
                if self.column == self.columns {
                    self.next_row();
                }
                self.draw(char::from(byte));
                self.column += 1;
            }
        }
    }

    /// The escape sequences that the line editor sends, by their last letter.
    fn obey(&mut self, letter: u8) {
        match letter {
            b'C' => self.column = (self.column + 1).min(self.columns),
            b'D' => self.column = self.column.saturating_sub(1),
            b'K' => self.row_pixels(|line, _| line.fill(0)),
            // Insert a character, delete a character: the rest of the row makes room, or closes the gap.
            b'@' => self.row_pixels(|line, (at, width)| line.copy_within(at..line.len() - width, at + width)),
            b'P' => self.row_pixels(|line, (at, width)| line.copy_within(at + width.., at)),
            _ => {}
        }
    }

    /// Shows each line of pixels of the cursor's row to `change`, with the cursor's place and a character's width in it.
    fn row_pixels(&mut self, change: impl Fn(&mut [u8], (usize, usize))) {
        let (pixel, columns) = (self.info.bytes_per_pixel, self.columns);
        let at = self.column.min(columns - 1) * CHAR_WIDTH * pixel;
        for y in 0..LINE_HEIGHT {
            let start = (self.row * LINE_HEIGHT + y) * self.info.stride * pixel;
            change(&mut self.buffer[start..][..columns * CHAR_WIDTH * pixel], (at, CHAR_WIDTH * pixel));
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
        let Some(raster) = get_raster(character, FONT, SIZE).or_else(|| get_raster('?', FONT, SIZE)) else {
            return;
        };
        let pixel = self.info.bytes_per_pixel;
        for (y, line) in raster.rows().enumerate() {
            let start = (self.row * LINE_HEIGHT + y) * self.info.stride + self.column * CHAR_WIDTH;
            let pixels = self.buffer[start * pixel..].chunks_exact_mut(pixel);
            // The same for each colour, so the order of colours does not matter.
            pixels.zip(line).for_each(|(pixel, intensity)| pixel.fill(*intensity));
        }
    }
}

impl fmt::Write for Screen {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.bytes().for_each(|byte| self.put(byte));
        Ok(())
    }
}
