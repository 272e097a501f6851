//! The vectors of interrupts that CPUs send themselves and each other.

/// The CPU's own timer.
pub(crate) const TIMER: u8 = 0x30;
/// Another CPU asks for something, or has work.
pub(crate) const REQUEST: u8 = 0x31;
/// The local APIC has noticed an error.
pub(crate) const ERROR: u8 = 0x3e;
/// The local APIC has nothing to say after all. Its lower four bits are set, as old ones demand.
pub(crate) const SPURIOUS: u8 = 0x3f;
