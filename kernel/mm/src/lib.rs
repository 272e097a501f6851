//! Bifolio: a Linux-style page-frame allocator and a bitmap slab heap for `no_std` kernels.
#![cfg_attr(not(test), no_std)]

pub mod allocator;
pub mod buddy;
pub mod error;
pub mod frame;
pub mod memory_map;
pub mod report;
pub mod zone;
