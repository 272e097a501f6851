//! A PC, as far as a kernel for x86_64 has to know it: how to say something, and how to end.

use core::fmt::{self, Write};
use core::panic::PanicInfo;

use x86_64::instructions::port::Port;

/// What the device `isa-debug-exit` is told if all is well.
pub const SUCCESS: u32 = 0x10;
/// What it is told after a panic.
const PANIC: u32 = 0x12;

/// Ends the machine.
pub fn exit(code: u32) -> ! {
    // SAFETY: that ends the machine.
    unsafe { Port::new(0xf4).write(code) };
    loop {
        x86_64::instructions::hlt();
    }
}

/// Says what a panic is about, and ends the machine.
pub fn fail(info: &PanicInfo<'_>) -> ! {
    let _ = writeln!(Serial, "{info}");
    exit(PANIC)
}

/// Writes to the first serial port, as it stands.
#[derive(Debug)]
pub struct Serial;

impl Write for Serial {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // SAFETY: to write there prints a character, and does nothing else.
        text.bytes().for_each(|byte| unsafe { Port::new(0x3f8).write(byte) });
        Ok(())
    }
}
