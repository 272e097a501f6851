//! The processor and what is around it on every PC, as far as it takes no lock: whatever is above may use it anywhere.
//!
//! | module | gives |
//! |---|---|
//! | [`local`] | what each CPU has of its own: its number, before all |
//! | [`window`], [`backtrace`] | what is in memory, by the page tables that are in force |
//! | [`trap`], [`catch`] | what an exception interrupted, and how to go on behind it |
//! | [`control`], [`machine_check`] | what the processor has against mistakes, its own among them |
//! | [`clock`], [`apic`], [`vectors`], [`timer`] | time, and interrupts of CPUs |
//! | [`online`], [`ipi`] | which CPUs run; barriers and TLB shootdowns by interrupt |

pub mod apic;
pub mod backtrace;
pub mod catch;
pub mod clock;
pub mod control;
pub mod ipi;
pub mod local;
pub mod machine_check;
pub mod online;
mod request;
pub mod timer;
pub mod trap;
pub mod vectors;
pub mod window;
