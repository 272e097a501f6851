//! What the kernel and the host program say to each other, in one crate so that the two cannot drift apart.
//!
//! There are four ways between them, each with one purpose:
//!
//! | way | carries | direction |
//! |---|---|---|
//! | COM1 | plain text for people: log, shell, panics, backtraces | both |
//! | COM2 | [`Event`]s for the host program, framed by [`encode`] | guest to host |
//! | `isa-debugcon` | a trace of all operations on page frames, where the host asks for one | guest to host |
//! | `isa-debug-exit` | the one [`ExitCode`] that ends the machine | guest to host |
//!
//! What the host asks of a guest stands in QEMU's `fw_cfg` under the names in [`input`]. Text for people is never
//! parsed, with one exception that [`backtrace`] describes.
#![no_std]

/// The port of the `isa-debugcon` that a trace goes out of.
pub const TRACE_PORT: u16 = 0xe9;

pub mod backtrace;
pub mod event;
pub mod exit;
pub mod input;
pub mod selection;
mod terminal;

pub use event::{Event, TestResult, decode, encode};
pub use exit::ExitCode;
pub use selection::Selection;
pub use terminal::Terminal;
