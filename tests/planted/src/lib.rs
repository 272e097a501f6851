//! Mistakes planted in copies of the crate and of the kernel: each is a few words, changed to what somebody might have written.
//!
//! All those of the crate are in one copy, which is built once, and all those of the kernel in another: `old` becomes
//! `if planted::is(n) { new } else { old }`. Which of them is in force the environment says, or, of a kernel, QEMU's `fw_cfg`. What two
//! CPUs do to each other is hunted with mistakes of its own, one in each build, by `make concurrency`, which shares how a copy is made.

mod copy;
mod hunt;
mod plants;
mod switch;
mod table;

pub use copy::{copy, replaced, write};
pub use hunt::{Copy, Outcome};
pub use plants::{Home, Plant, fixed, plants, plants_of};
pub use table::{in_document, table};
