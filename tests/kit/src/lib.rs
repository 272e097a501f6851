//! What tests of the page-frame allocator and the heap have in common: CPUs, random numbers, memory, and an oracle.
#![cfg_attr(not(feature = "std"), no_std)]

extern crate alloc;

pub mod everything;
pub mod machine;
pub mod map;
pub mod oracle;
mod random;
mod raw;
pub mod scale;
mod shortest;
pub mod source;
#[cfg(feature = "std")]
mod thread;
pub mod tree;
#[cfg(feature = "std")]
mod turns;

pub use random::Random;
pub use raw::{Raw, over_numbers};
pub use scale::Sound;
pub use shortest::shortest;
#[cfg(feature = "std")]
pub use {
    thread::Thread,
    turns::{Turns, Watch},
};
