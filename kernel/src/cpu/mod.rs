//! CPUs: each one's own set-up, starting them, interrupts, and what they ask of each other.
//!
//! | module | gives |
//! |---|---|
//! | [`segments`], [`exceptions`], [`trap`], [`catch`](mod@catch) | stacks and handlers: a mistake is a report and not a reset |
//! | [`local`](mod@local) | what each CPU has of its own: its number, before all |
//! | [`interrupts`], [`apic`], [`timer`], [`clock`] | device interrupts, interrupts of CPUs, time |
//! | [`topology`], [`trampoline`], [`start`](mod@start) | which CPUs there are, and how they come to run |
//! | [`ipi`], [`work`] | barriers and TLB shootdowns by interrupt; work for other CPUs |

pub mod apic;
pub mod catch;
pub mod clock;
pub mod exceptions;
pub mod interrupts;
pub mod ipi;
pub mod local;
pub mod segments;
pub mod start;
pub mod timer;
pub mod topology;
pub mod trampoline;
pub mod trap;
pub mod work;

pub use catch::catch;
pub use local::{MAX_CPUS, current, in_interrupt, local};
pub use start::{add, start, stop};
pub use trap::Trap;
pub use work::{count, is_online, on, on_cpus, online};

use x86_64::instructions::{hlt, interrupts as masking};

/// Makes the CPU that runs this the boot processor: with its own data, the kernel's segments and exception handlers.
pub fn init() {
    // SAFETY: the boot processor runs this, on the boot loader's segments, and no other CPU.
    unsafe {
        segments::prepare(0);
        init_as(0);
    }
}

/// The same for any CPU, whose segments are prepared.
///
/// # Safety
/// No other CPU has that number.
unsafe fn init_as(number: usize) {
    // SAFETY: by this function's contract.
    unsafe {
        local::init(number);
        segments::init(number);
    }
    exceptions::init();
}

/// Stops the CPU that runs this for good, or until it is started anew.
pub fn halt() -> ! {
    masking::disable();
    loop {
        hlt();
    }
}

/// Lets interrupts in, and starts the machine's other CPUs.
pub fn start_all() {
    interrupts::init();
    start::init();
}
