//! CPUs: each one's own set-up, starting them, interrupts, and work for them. What takes no lock of it is in [`arch`], and is
//! shown here too.
//!
//! | module | gives |
//! |---|---|
//! | [`segments`], `table`, [`exceptions`] | stacks and handlers: a mistake is a report and not a reset |
//! | [`interrupts`] | device interrupts, and those of CPUs |
//! | [`topology`], [`trampoline`], `setup`, [`start`](mod@start) | which CPUs there are, and how they come to run |
//! | [`work`] | work for other CPUs, and what one does that has none |
//! | [`given`] | what layers above hand in |

pub mod exceptions;
pub mod given;
pub mod interrupts;
pub mod segments;
mod setup;
pub mod start;
mod table;
pub mod topology;
pub mod trampoline;
pub mod work;

pub use crate::arch::catch::{self, catch};
pub use crate::arch::local::{self, MAX_CPUS, current, halt, in_interrupt, local};
pub use crate::arch::online::{count, is_online, online};
pub use crate::arch::trap::{self, Trap};
pub use crate::arch::{apic, clock, ipi, timer};
pub use start::{add, start, stop};
pub use work::{on, on_cpus};

#[cfg(doc)]
use crate::arch;

/// Makes the CPU that runs this the boot processor: with its own data, the kernel's segments and exception handlers.
pub fn init() {
    // SAFETY: the boot processor runs this, on the boot loader's segments, and no other CPU.
    unsafe {
        segments::prepare(0);
        setup::init_as(0);
    }
}

/// Lets interrupts in, and starts the machine's other CPUs.
pub fn start_all() {
    interrupts::init();
    start::init();
}
