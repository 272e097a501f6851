//! The last words of a program that misused its memory: one line on standard error, without allocating, then `abort`.

use core::fmt::{self, Write};
use core::panic::PanicInfo;

use bifolio::heap::HeapError;

/// A line that is cut where it is too long.
struct Line {
    bytes: [u8; 512],
    length: usize,
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = &mut self.bytes[self.length..];
        let length = text.len().min(room.len());
        room[..length].copy_from_slice(&text.as_bytes()[..length]);
        self.length += length;
        Ok(())
    }
}

/// Says why, and ends the program as `abort` does.
pub fn die(why: fmt::Arguments<'_>) -> ! {
    let mut line = Line { bytes: [0; 512], length: 0 };
    // A `Line` takes everything, and a `Display` that fails has said what it could.
    let _ = writeln!(line, "bifolio malloc: {why}");
    // SAFETY: the pointer and the length are those of the line's text; `abort` may be called from anywhere.
    unsafe {
        libc::write(libc::STDERR_FILENO, line.bytes.as_ptr().cast(), line.length);
        libc::abort()
    }
}

/// What the heap found wrong, with cache and slot.
pub fn heap_error(error: &HeapError) {
    die(format_args!("{error}"))
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    die(format_args!("{info}"))
}
