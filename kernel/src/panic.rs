//! How the kernel dies: message, location, backtrace, an event for the host program, and the end of the machine.
//!
//! Nothing here allocates, waits for a lock or trusts the stack.

use crate::arch::backtrace::Backtrace;
use crate::arch::ipi;
use crate::sync::lockdep;
use crate::{console, host, println, screen};
use core::fmt;
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicBool, Ordering};
use protocol::{Event, ExitCode};
use x86_64::instructions::interrupts;

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    interrupts::disable();
    ipi::stop_others();
    // SAFETY: interrupts are masked, and whatever panicked never runs again; nor does any other CPU: all have stopped, but for
    // one that has heard nothing for so long that it is as good as dead.
    unsafe { seize() };
    match info.location() {
        Some(location) => die(format_args!("{}", info.message()), format_args!("{location}"), Backtrace::here()),
        None => die(format_args!("{}", info.message()), format_args!("(unknown)"), Backtrace::here()),
    }
}

/// Breaks the locks that a last report needs.
///
/// # Safety
/// Interrupts are masked and whoever holds those locks never runs again.
pub(crate) unsafe fn seize() {
    lockdep::off();
    // SAFETY: by this function's contract.
    unsafe {
        console::seize();
        host::seize();
        screen::seize();
    }
}

/// Says why the kernel stops, and ends the machine.
pub(crate) fn die(message: fmt::Arguments<'_>, location: fmt::Arguments<'_>, backtrace: Backtrace) -> ! {
    /// Set when the first report begins: if the report itself fails, there is no point in a second try.
    static DYING: AtomicBool = AtomicBool::new(false);
    if DYING.swap(true, Ordering::Relaxed) {
        println!("\nPANIC while reporting a panic: {message}\n  at {location}");
        host::exit(ExitCode::Panic);
    }
    // The event goes first: it needs the least that can still work.
    host::with_text(message, |message| {
        host::with_text(location, |location| host::send(&Event::Panicked { message, location }));
    });
    println!("\nPANIC {message}\n  at {location}");
    println!("backtrace:\n{backtrace}");
    host::exit(ExitCode::Panic);
}
