//! Device interrupts: only COM1's, so that a kernel that waits for input lets the CPU sleep.
//!
//! Through the two 8259 interrupt controllers that every PC, real or emulated, starts with. All their other lines stay
//! masked: nothing here would handle them.

use super::exceptions::set;
use pic8259::ChainedPics;
use spin::Mutex;
use x86_64::instructions::interrupts;
use x86_64::structures::idt::InterruptDescriptorTable;

/// The first vector of the controllers' sixteen: the first behind the CPU's exceptions.
const FIRST: u8 = 0x20;
/// COM1's line at the first controller.
const COM1_LINE: u8 = 4;

// SAFETY: sixteen vectors from the first one behind the exceptions, all of which `fill` gives a handler.
static CONTROLLERS: Mutex<ChainedPics> = Mutex::new(unsafe { ChainedPics::new_contiguous(FIRST) });

/// Unmasks COM1's line and lets interrupts in.
pub fn init() {
    let mut controllers = CONTROLLERS.lock();
    // SAFETY: the exception table is loaded and has handlers for all sixteen vectors; interrupts are still masked.
    unsafe {
        controllers.initialize();
        controllers.write_masks(!(1 << COM1_LINE), !0);
    }
    drop(controllers);
    interrupts::enable();
}

/// Gives all vectors of the controllers an entry. Masked lines need one too: a controller whose request went away
/// reports its last line instead.
pub(super) fn fill(table: &mut InterruptDescriptorTable) {
    set::<0x20, _>(&mut table[0x20]);
    set::<0x21, _>(&mut table[0x21]);
    set::<0x22, _>(&mut table[0x22]);
    set::<0x23, _>(&mut table[0x23]);
    set::<0x24, _>(&mut table[0x24]);
    set::<0x25, _>(&mut table[0x25]);
    set::<0x26, _>(&mut table[0x26]);
    set::<0x27, _>(&mut table[0x27]);
    set::<0x28, _>(&mut table[0x28]);
    set::<0x29, _>(&mut table[0x29]);
    set::<0x2a, _>(&mut table[0x2a]);
    set::<0x2b, _>(&mut table[0x2b]);
    set::<0x2c, _>(&mut table[0x2c]);
    set::<0x2d, _>(&mut table[0x2d]);
    set::<0x2e, _>(&mut table[0x2e]);
    set::<0x2f, _>(&mut table[0x2f]);
}

/// Acknowledges an interrupt. COM1's byte stays where it is: whoever sleeps is awake now and fetches it.
pub(super) fn handle(vector: u8) {
    // Interrupts are masked in here, and `init` holds the lock only while they are masked too.
    // SAFETY: this very vector is being handled.
    unsafe { CONTROLLERS.lock().notify_end_of_interrupt(vector) };
}
