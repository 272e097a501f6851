//! The CPU's own set-up: segments and stacks, exceptions, device interrupts.
//!
//! Comes right behind the console, since from here on a mistake is a report and not a reset.

pub mod catch;
pub mod exceptions;
pub mod interrupts;
pub mod segments;
pub mod trap;

pub use catch::catch;
pub use trap::Trap;

/// Loads the kernel's segments and its exception handlers.
pub fn init() {
    segments::init();
    exceptions::init();
}
