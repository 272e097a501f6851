//! Slabs: blocks of page frames cut into equal slots, with a bitmap of the free ones kept elsewhere.
//!
//! Page frames come in powers of two of 4 KiB; most of what a kernel allocates is far smaller. A slab is one block of
//! frames shared by up to 512 objects of one size. Unlike in the textbook slab, *nothing about an object
//! is stored in or beside it*: no link in freed memory, no header, no footer. A slab's state is a `Slab` descriptor in
//! other pages. So a write through a dangling pointer harms the object that now lives there and never the allocator,
//! and every bad free can be told exactly, because the truth lies where the mistake cannot reach.
//!
//! The parts, each standing on those before it:
//!
//! - `error`: what can be wrong with a free;
//! - `source`: where blocks of frames come from, which with `Cpu` is all that this layer asks of its surroundings;
//! - `class`: object sizes, and what follows from a size once and for all;
//! - `list`: pointers to metadata, and the list they form;
//! - `descriptor`: one slab: its slots, their bitmaps, and how others than its owner free;
//! - `stock`: the word of a slab's slots that is handed out next;
//! - `bin`: the slabs of one cache that one CPU allocates from;
//! - `arena`: all bins of a CPU, and the door that it goes through to them;
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
//!   Arenas, pages of descriptors and tables of the page map are given back only while the heap *stands still*: nobody is
//!   inside an arena, every lock of the heap is held, and nothing leads to them any more. Nobody keeps a `Meta` of a slab
//!   that is not open beyond the arena or the lock it was found under.
//! - **Ownership**: an arena is touched by its CPU alone, which has interrupts masked meanwhile, or by who made the heap
//!   stand still; the shared arena by who holds its lock. A slab that an arena owns has its lists, its summary and its
//!   bitmap `free` changed under the same rule. Others read its descriptor and set bits in its bitmap `remote`. All is
//!   atomic that more than one CPU may touch, so the worst that a bad free can meet is a value that is out of date.
//!   Blocks that no arena owns are touched under the lock of large objects, or the registry's while they come and go.

pub(crate) mod arena;
pub(crate) mod bin;
pub(crate) mod class;
pub(crate) mod debug;
pub(crate) mod descriptor;
pub(crate) mod error;
pub(crate) mod list;
#[cfg(bifolio_loom)]
pub mod models;
pub(crate) mod page_map;
pub(crate) mod pool;
pub(crate) mod registry;
pub(crate) mod source;
pub(crate) mod stock;

pub use class::SizeClass;
pub use debug::{SlabDebug, SlotPart};
pub use error::HeapError;
pub use source::PageSource;
