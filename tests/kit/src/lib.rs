//! What tests of the page-frame allocator and the heap have in common.
#![cfg_attr(not(feature = "std"), no_std)]

extern crate alloc;

mod raw;

pub use raw::{Raw, over_numbers};
