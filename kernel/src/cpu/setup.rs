//! A CPU's own set-up.

use super::{segments, table};
use crate::arch::{control, local, machine_check};

/// Makes the CPU that runs this the one of that number, with its own data, the kernel's segments, which are prepared, and
/// exception handlers, and protected from mistakes as far as it can be.
///
/// # Safety
/// No other CPU has that number.
pub(super) unsafe fn init_as(number: usize) {
    // SAFETY: by this function's contract.
    unsafe {
        local::init(number);
        segments::init(number);
    }
    table::init();
    control::init();
    machine_check::init();
}
