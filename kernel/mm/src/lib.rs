//! Bifolio: a Linux-style page-frame allocator, and a bitmap slab heap on top of it, for `no_std` kernels.
//!
//! The crate knows no hardware and no globals, and all its state lies outside of the memory that it manages: it runs on
//! a host as it is, over frames that need not exist.
//!
//! # The story of an allocation
//!
//! 1. Firmware hands over a list of memory regions. [`memory_map`] makes it fit to be believed: every frame has one
//!    kind, whatever the list said.
//! 2. An [`allocator::Plan`] says how much metadata the map's RAM needs (a third of a byte a frame) and where in the
//!    map it goes. The caller maps it, and [`allocator::PageAllocator::new`] makes every usable frame free.
//! 3. A request names an [`Order`](frame::Order) and [`Gfp`](frame::Gfp) flags. Most are for a few frames of no special
//!    zone, and end in the CPU's own [pages](allocator::PerCpuPages): a *batch* is the free blocks of a word of 64 frames, lent by
//!    a zone, and a block out of it the lowest set bit of a mask. That takes no lock and no locked instruction
//!    (`cargo test -p model --test locked` counts them).
//! 4. For all others the flags say which zones may serve the request, and how much of their reserves it may take; the
//!    [`allocator`] walks the zones from the highest down. The zone, under its lock, finds by a bitmap for each order and mobility
//!    the pageblock whose largest free block is the smallest sufficient one: so whole pageblocks stay whole. Those serve orders 9
//!    and 10, by the same arithmetic on words of 64 pageblocks.
//! 5. In the pageblock, `buddy.rs` finds the tightest block by arithmetic on a word of 64 frames:
//!
//! ```text
//!   a pageblock: 512 frames in 8 words, and a header that is its lock too
//!   +--------+------+------+------+------+------+------+------+------+
//!   | header |      |      |  *   |      |      |      |      |      |   largest free block of each word, of all, free count
//!   +--------+------+------+--|---+------+------+------+------+------+
//!                             '-> a word: 64 frames, two bits each
//!       bit     11 10  9  8   7  6  5  4   3  2   1  0
//!       free     1  1  1  1   0  0  0  0   1  1   0  0
//!       head     0  0  0  0   0  0  0  1   1  1   0  1
//!                free         allocated    lent   alloc.
//!                order 2      order 2      0  0   order 1
//! ```
//!
//! 6. Allocating clears *free* bits and sets one *head* bit. Freeing does the reverse, and that is all there is to
//!    splitting and coalescing: the blocks are what the bits say. An allocated block ends where the next bit of
//!    *free | head* is set; one that is lent to a CPU's pages has both bits at its start, and is no block that can be freed.
//!    A free takes the pageblock's own lock, one swap, and no other as a rule. What the zone knows lags behind: each search looks
//!    at two of the pageblocks that were freed into, and at as many as it takes before anything is refused.
//!
//!    What is allocated is a [`Block`](frame::Block) with one owner, so safe code frees it once and as
//!    what it is; where unsafe code goes by numbers, a double free, a wrong order, a frame inside a block or a reserved one is
//!    [named](error::FreeError), and changes nothing. (Of two CPUs that free one block at the very same moment, one of which has
//!    it on loan, the second is only [counted](allocator::View::late_double_frees), when the loan ends. The block is free once
//!    all the same.)
//! 7. Where no zone has memory to spare, a request goes below the watermarks as far as its flags allow, then empties the
//!    CPUs' pages, asks [shrinkers](allocator::Shrinker) for memory, and takes what is kept for more pressing ones. Only then is
//!    it refused, with a [report](cpu::Hooks::report).
//!
//! `docs/architecture.md` has the same file by file, with the order of locks, the invariants and the measurements.
//!
//! # In a kernel
//!
//! ```
//! use bifolio::allocator::{Cpu, Hooks, PageAllocator, PerCpuPages, Plan};
//! use bifolio::frame::{Gfp, Order};
//! use bifolio::memory_map::{MemoryMap, Region, RegionKind};
//!
//! static PAGES: [PerCpuPages; 1] = [PerCpuPages::new()]; // one for each CPU
//!
//! struct Machine;
//! // SAFETY: one CPU at a time, which nothing interrupts.
//! unsafe impl Cpu for Machine {
//!     fn current() -> usize {
//!         0 // a kernel reads its per-CPU data
//!     }
//!
//!     fn synchronize() {} // with more than one CPU: see `Cpu`
//!
//!     fn mask_interrupts() -> bool {
//!         false // a kernel masks them, and says whether they were enabled
//!     }
//!
//!     fn restore_interrupts(_: bool) {} // a kernel enables them, if they were
//! }
//!
//! impl Hooks for Machine {}
//!
//! # fn main() -> Result<(), Box<dyn core::error::Error>> {
//! let mut firmware = [Region { start: 0, end: 64 << 20, kind: RegionKind::Usable }];
//! let plan = Plan::new(MemoryMap::sanitise(&mut firmware)?)?;
//! // A kernel makes this slice from the frames `plan.metadata()`, mapped somewhere.
//! let mut metadata = vec![0; plan.metadata_words()];
//! // SAFETY: here the frames are numbers; in a kernel nobody else uses what its map calls usable.
//! let frames = unsafe { PageAllocator::<Machine>::new(&plan, &mut metadata, &PAGES) }?;
//!
//! let order = Order::new(3).ok_or("no such order")?;
//! let block = frames.allocate(order, Gfp::KERNEL)?;
//! assert!(block.pfn().is_aligned(order));
//! frames.free(block)?; // the block is gone: it can be freed once
//! # Ok(())
//! # }
//! ```
//!
//! # On a host
//!
//! Frames are numbers, and need not exist: a test, or a study of fragmentation, has as many as it likes, and each thread is a
//! CPU. This is 4 TiB, in 333 MiB of metadata, of which only what is used is ever touched after set-up.
//!
//! ```
//! use std::cell::Cell;
//!
//! use bifolio::allocator::{Cpu, Hooks, PageAllocator, PerCpuPages, Plan};
//! use bifolio::frame::{Gfp, Order, ZoneKind};
//! use bifolio::memory_map::{MemoryMap, Region, RegionKind};
//!
//! thread_local! {
//!     static NUMBER: Cell<usize> = const { Cell::new(usize::MAX) }; // no pages of its own until it has a number
//! }
//!
//! struct Thread;
//! // SAFETY: one CPU at a time, which nothing interrupts.
//! unsafe impl Cpu for Thread {
//!     fn current() -> usize {
//!         NUMBER.get()
//!     }
//!
//!     fn synchronize() {
//!         // With a second thread: `membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED)` on Linux.
//!     }
//!
//!     fn mask_interrupts() -> bool {
//!         false // nothing interrupts a thread and comes back for frames
//!     }
//!
//!     fn restore_interrupts(_: bool) {}
//! }
//!
//! impl Hooks for Thread {}
//!
//! # fn main() -> Result<(), Box<dyn core::error::Error>> {
//! const TIB: u64 = 1 << 40;
//! let mut ram = [Region { start: TIB, end: 5 * TIB, kind: RegionKind::Usable }];
//! let plan = Plan::new(MemoryMap::sanitise(&mut ram)?)?;
//! let mut metadata = vec![0; plan.metadata_words()];
//! let pages = [const { PerCpuPages::new() }; 2];
//! // SAFETY: the frames are numbers, and nobody's memory.
//! let frames = unsafe { PageAllocator::<Thread>::new(&plan, &mut metadata, &pages) }?;
//!
//! NUMBER.set(0);
//! let taken = (0..1000).map(|_| frames.allocate(Order::ZERO, Gfp::MOVABLE)).collect::<Result<Vec<_>, _>>()?;
//! assert!(frames.cached() > 0, "a word was lent to the thread, and not all of it is in use");
//! for block in taken {
//!     frames.free(block)?;
//! }
//! frames.drain();
//! let whole = frames.free_blocks(ZoneKind::Normal).of(Order::MAX);
//! assert!(whole > 1_040_000, "all of memory is in blocks of 4 MiB again");
//! # Ok(())
//! # }
//! ```
#![cfg_attr(not(test), no_std)]
#![warn(unreachable_pub, missing_debug_implementations, clippy::exhaustive_enums, clippy::exhaustive_structs)]

// Which module stands on which is said, and seen to, by `tests/layers.rs`.
pub mod allocator;
#[forbid(unsafe_code)]
mod buddy;
pub mod cpu;
#[forbid(unsafe_code)]
pub mod error;
pub mod frame;
#[forbid(unsafe_code)]
pub mod hardening;
#[cfg(feature = "heap")]
pub mod heap;
#[cfg(feature = "heap")]
pub mod kernel;
#[forbid(unsafe_code)]
pub mod memory_map;
#[forbid(unsafe_code)]
mod per_cpu;
#[forbid(unsafe_code)]
pub mod report;
#[cfg(all(feature = "heap", not(bifolio_loom)))]
mod slab;
// With models of its parts, for loom.
#[cfg(bifolio_loom)]
pub mod slab;
#[forbid(unsafe_code)]
pub mod sync;
#[forbid(unsafe_code)]
mod zone;

/// The README's code, which must compile.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
