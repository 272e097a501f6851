//! Stress: all CPUs allocate and free page frames and heap objects of all kinds and sizes, hand them to each other, and check
//! what they hold, while timers fire in between and allocate and free in their handlers.
//!
//! Each piece of memory has a mark in every word, which says who allocated it, and is looked at before it goes; for
//! frames a map says who has them. So two that are given the same memory find out: by the map or by a mark that
//! should not be there at once, by a word that another has written at the latest when the piece is freed.
//!
//! In the end everything is given back, the allocators' invariants are checked, and the state of every frame is compared to
//! what it was before: not one may differ. Only the mobilities of pageblocks may, which are hints for later requests.
//!
//! A CPU's timer comes at random moments, a few thousand instructions apart. It is counted how often it came while the code
//! that it interrupted was inside a call of the allocator or the heap.

#![no_std]

extern crate alloc;

mod before;
mod contents;
mod failure;
mod handler;
mod machine;
mod owners;
mod piece;
mod plan;
mod run;
mod snapshot;
mod summary;
mod worker;

pub use failure::Failure;
pub use machine::{Machine, Tick};
pub use plan::Plan;
pub use run::run;
pub use snapshot::{Difference, Snapshot};
pub use summary::{Summary, Tally};

// What finds mistakes is public for the tests that plant some and see that it does.
pub use before::Before;
pub use contents::{Id, Word, fill, find_other};
pub use owners::Owners;
pub use piece::{Memory, Piece, Record, Records};
