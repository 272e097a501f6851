//! Replay: a [`World`] does again what a [trace] says, with the very allocator that did it before, and must come to the same
//! state, bit for bit.
//!
//! A world is frames and objects that are numbers, CPUs that take turns, and a place in a trace. Its whole state lies in memory that does
//! not move: so a copy of that is a [checkpoint](World::seek), and any moment of a long trace is a copy and
//! a few steps away. A world can also go on where its trace ends: what is [done](World::perform) then is written into it.
//!
//! The same crate runs on the host (`boot replay`) and, as wasm, in the browser.
#![no_std]
#![warn(unreachable_pub, missing_debug_implementations)]

extern crate alloc;
#[cfg(not(target_arch = "wasm32"))]
extern crate std;

mod checkpoints;
mod cpu;
mod memory;
mod perform;
mod read;
mod script;
mod source;
mod world;

pub use cpu::{Replayed, take_turn_of};
pub use script::{Difference, Found};
pub use source::Source;
pub use world::{Last, OpenError, Stop, World};
