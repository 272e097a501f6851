//! Mistakes planted in copies of the crate: each is a few words of it, changed to what somebody might have written.
//!
//! Here all of them are in one copy, which is built once: `old` becomes `if planted::is(n) { new } else { old }`, and the environment
//! says which of them is in force. What two CPUs do to each other is hunted with mistakes of its own, one in each build, by
//! `make concurrency`, which shares how a copy is made.

mod copy;
mod hunt;
mod plants;
mod table;

pub use copy::{copy, replaced, write};
pub use hunt::{Copy, Outcome};
pub use plants::{PLANTS, Plant, fixed};
pub use table::{in_document, table};
