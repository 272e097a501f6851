//! Interrupts: which vector means what, and what each does.
//!
//! Of the machine's devices only COM1 interrupts, so that a kernel that waits for input lets the CPU sleep. It does so
//! through the two 8259 controllers that every PC, real or emulated, starts with, and the boot processor hears them. All
//! other lines stay masked: nothing here would handle them. The rest are the CPUs' own: their timers, and each other.

use super::exceptions::set;
use super::{Trap, apic, ipi, local, timer};
use crate::sync::{Mutex, lockdep};
use core::sync::atomic::Ordering;
use pic8259::ChainedPics;
use x86_64::instructions::interrupts;
use x86_64::structures::idt::InterruptDescriptorTable;

/// The first vector of the controllers' sixteen: the first behind the CPU's exceptions.
const FIRST: u8 = 0x20;
const LAST: u8 = FIRST + 15;
/// COM1's line at the first controller.
const COM1_LINE: u8 = 4;
/// The CPU's own timer.
pub(super) const TIMER: u8 = 0x30;
/// Another CPU asks for something, or has work.
pub(super) const REQUEST: u8 = 0x31;
/// The local APIC has noticed an error.
pub(super) const ERROR: u8 = 0x3e;
/// The local APIC has nothing to say after all. Its lower four bits are set, as old ones demand.
pub(super) const SPURIOUS: u8 = 0x3f;

// SAFETY: sixteen vectors from the first one behind the exceptions, all of which `fill` gives a handler.
static CONTROLLERS: Mutex<ChainedPics> = Mutex::new("8259", unsafe { ChainedPics::new_contiguous(FIRST) });

/// Unmasks COM1's line and lets interrupts in.
pub(super) fn init() {
    let mut controllers = CONTROLLERS.lock();
    // SAFETY: the exception table is loaded and has handlers for all sixteen vectors; interrupts are still masked.
    unsafe {
        controllers.initialize();
        controllers.write_masks(!(1 << COM1_LINE), !0);
    }
    drop(controllers);
    interrupts::enable();
}

/// Gives all vectors an entry. The controllers' masked lines need one too: a controller whose request went away reports its
/// last line instead.
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
    set::<TIMER, _>(&mut table[TIMER]);
    set::<REQUEST, _>(&mut table[REQUEST]);
    set::<ERROR, _>(&mut table[ERROR]);
    set::<SPURIOUS, _>(&mut table[SPURIOUS]);
}

/// Handles an interrupt. COM1's byte stays where it is: whoever sleeps is awake now and fetches it.
pub(super) fn handle(trap: &mut Trap) {
    let depth = &local::local().interrupts;
    depth.store(depth.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    lockdep::enter_interrupt();
    let vector = trap.vector as u8;
    match vector {
        // Interrupts are masked in here, and `init` holds the lock only while they are masked too.
        // SAFETY: this very vector is being handled.
        FIRST..=LAST => unsafe { CONTROLLERS.lock().notify_end_of_interrupt(vector) },
        TIMER => timer::tick(trap),
        REQUEST => ipi::answer(),
        ERROR => log::warn!("CPU {}: an error of the local APIC", local::current()),
        _ => {}
    }
    if let TIMER | REQUEST | ERROR = vector {
        apic::end_of_interrupt();
    }
    depth.store(depth.load(Ordering::Relaxed) - 1, Ordering::Relaxed);
}
