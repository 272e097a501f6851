//! Slabs: blocks of page frames cut into equal slots, with a bitmap of the free ones kept elsewhere.
//!
//! Page frames come in powers of two of 4 KiB; most of what a kernel allocates is far smaller. A slab is one block of
//! frames shared by up to 512 objects of one size. Unlike in the textbook slab, *nothing about an object
//! is stored in or beside it*: no link in freed memory, no header, no footer. A slab's state is a `Slab` descriptor in
//! other pages. So a write through a dangling pointer harms the object that now lives there and never the allocator,
//! and every bad free can be told exactly, because the truth lies where the mistake cannot reach.
//!
//! The parts:
//!
//! - `error`: what can be wrong with a free;
//! - `source`: where blocks of frames come from, which with `Cpu` is all that this layer asks of its surroundings;
//! - `class`: object sizes, and what follows from a size once and for all;
//! - `list`: pointers to metadata, and the list they form;
//! - `descriptor`: one slab, and all that is known of it;
//! - `bitmap`: which of its slots are free, and how the owner and others free;
//! - `bin`: the slabs of one cache that one CPU allocates from, and the slots in hand;
//! - `arena`: all bins of a CPU, and the gate that it goes through to them;
//! - `incoming`: the queue of slabs that others have freed slots of;
//! - `per_cpu`: each CPU's place in the heap, and its gate;
//! - `page_map`: from an address to the slab that holds it;
//! - `pool`: the pages that descriptors live in;
//! - `debug`: slabs with redzones and tracks, for caches that are debugged;
//! - `registry`: opens and closes slabs: frames, descriptor and map entries together or not at all.
//!
//! # Invariants that the unsafe blocks lean on
//!
//! - **Block**: a block that the source gave belongs to this layer alone, is mapped, and is aligned to its size, until
//!   it is given back. An open slab's slots lie inside its block, do not overlap, and have the block's provenance.
//! - **Metadata**: what a `Meta` points to is initialised and stays where it is for as long as that `Meta` may be used.
//!   Arenas and tables of the page map are given back only while the heap *stands still*: nobody is
//!   inside an arena, every lock of the heap is held, and nothing leads to them any more. A descriptor that was closed is
//!   opened again, or its page given back, only after a *grace period*: once each CPU was outside of its arena, and each lock of the
//!   heap was free, since nothing leads to the descriptor. Nobody keeps a `Meta` of a slab beyond the arena or the lock it was found
//!   under. So what a descriptor says is as it was when it was opened, but for what is atomic or the owner's.
//! - **Ownership**: an arena is touched by its CPU alone, which has interrupts masked meanwhile, or by a CPU that made the heap
//!   stand still; the shared arena by the CPU that holds its lock. A slab that is in an arena has its lists, its count of frees
//!   and its bitmap `free` changed under the same rule. Others read its descriptor and set bits in its bitmap `remote`.
//!   Blocks that no arena has are touched under the lock of large objects or of records, or the registry's while they come and
//!   go.
//!
//! # Invariants that `validate` derives anew
//!
//! - **Mask**: the slots in hand are a subset of the word of `free` that they came from.
//! - **Remembered**: the slabs that an arena remembers are its own. A slab that leaves is forgotten in the same section.
//! - **Filed** and **Until**: a slab is on the list that its fill demands, and its count says after how many frees by the
//!   owner it belongs on another; one that was full is moved only when a 32nd of its slots is free.
//! - **Announced**: a slab of which a word is announced has a slot neither live nor free. So it is in an arena, whose queue
//!   leads to it or is about to.
//! - **One owner**: a slot is free, freed by another CPU, or live, by two bits; what is handed out has none in `remote`.

pub(crate) mod arena;
pub(crate) mod bin;
pub(crate) mod bitmap;
pub(crate) mod class;
pub(crate) mod debug;
pub(crate) mod descriptor;
pub(crate) mod error;
pub(crate) mod incoming;
pub(crate) mod list;
#[cfg(bifolio_loom)]
pub mod models;
pub(crate) mod page_map;
pub(crate) mod per_cpu;
pub(crate) mod pool;
pub(crate) mod registry;
pub(crate) mod sample;
pub(crate) mod source;

pub use class::SizeClass;
pub use debug::{SlabDebug, SlotPart};
pub use error::HeapError;
pub use sample::{Sample, Sampler};
pub use source::PageSource;
