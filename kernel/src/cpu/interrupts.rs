//! Interrupts: which vector means what, and what each does.
//!
//! Of the machine's devices only COM1 interrupts, so that a kernel that waits for input lets the CPU sleep. It does so
//! through the two 8259 controllers that every PC, real or emulated, starts with, and the boot processor hears them. All
//! other lines stay masked: nothing here would handle them. The rest are the CPUs' own: their timers, and each other.

use crate::arch::trap::Trap;
use crate::arch::vectors::{ERROR, REQUEST, TIMER};
use crate::arch::{apic, ipi, local, timer};
use crate::sync::{Mutex, lockdep};
use core::sync::atomic::Ordering;
use pic8259::ChainedPics;
use x86_64::instructions::interrupts;

/// The first vector of the controllers' sixteen: the first behind the CPU's exceptions.
const FIRST: u8 = 0x20;
const LAST: u8 = FIRST + 15;
/// COM1's line at the first controller.
const COM1_LINE: u8 = 4;
// SAFETY: sixteen vectors from the first one behind the exceptions, all of which the table gives a handler.
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
