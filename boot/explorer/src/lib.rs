//! The explorer: the allocator in a browser, as [`App`].
//!
//! This is all that the page knows of memory. It hands on what a person does, and shows what is drawn and written here; what
//! happens is decided by the crate `bifolio`, in a [`World`](replay::World), which has it all in a trace. So every moment can be gone back
//! to, and the page of a recorded kernel and that of a machine to play with are the same.
//!
//! | module | its part |
//! |---|---|
//! | [`app`] | a machine, what is done with it, and what of that is undone |
//! | [`command`] | the words of the command line |
//! | `heap` | objects, and slabs word by word |
//! | [`firmware`] | memory maps as people have them |
//! | [`filter`] | which operations are gone to |
//! | [`change`] | what an operation has split or merged, level by level |
//! | [`cells`] | what each frame is, to be drawn |
//! | [`map`], [`tree`] | pixels |
//! | [`palette`] | colours, and how kinds are told apart without them |
//! | [`describe`] | words, and numbers as JSON |
//!
//! Built for wasm32, as `cargo rustc -p explorer --crate-type cdylib --target wasm32-unknown-unknown`, it has plain exports; see
//! `exports.rs`.
#![no_std]
#![warn(unreachable_pub, missing_debug_implementations)]

extern crate alloc;

pub mod app;
pub mod cells;
pub mod change;
pub mod command;
pub mod describe;
#[cfg(target_arch = "wasm32")]
mod exports;
pub mod filter;
pub mod firmware;
mod heap;
pub mod map;
pub mod palette;
pub mod tree;

pub use app::App;
