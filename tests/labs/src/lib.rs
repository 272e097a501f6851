//! The labs: a learner writes a piece of an allocator, and the machine runs it.
//!
//! [`piece`] is the seam between the two: the trait that a piece implements, and the words that it speaks. Labs 4 and 5 have seams of
//! their own, in [`objects`] and [`caches`]. Everything else here tries whether a piece does what it must, on the host and in a
//! booted kernel alike:
//!
//! | module | its part |
//! |---|---|
//! | [`operation`] | sequences of allocations and frees, good and bad, that a seed decides |
//! | [`layout`] | the memory that a piece is given |
//! | [`subject`] | pieces of all kinds, for code that need not know which it is |
//! | [`exam`] | a sequence done by a piece, with the oracle of all tests beside it |
//! | [`judge`] | what is said of that |
//! | [`draw`] | the same as a picture, to show where it went wrong |
//! | `script` | and as commands of the explorer's |
//! | [`given`] | what learners of later labs build on |
//! | [`source`] | where pieces that take memory as they need it have that from |
//! | [`zones`] | which zone has to serve a request |
//! | [`lab`] | which exams a lab has, and what they are worth |
#![no_std]
#![allow(clippy::single_range_in_vec_init, reason = "memory of one range is memory all the same")]

extern crate alloc;

pub mod caches;
pub mod draw;
pub mod exam;
pub mod fragmentation;
pub mod given;
pub mod judge;
pub mod lab;
pub mod layout;
pub mod objects;
pub mod operation;
pub mod piece;
mod script;
pub mod source;
pub mod subject;
pub mod zones;

pub use piece::{BadFree, Frame, Frames, MAX_ORDER, Memory, Refused, Request, Urgency, Zone};
