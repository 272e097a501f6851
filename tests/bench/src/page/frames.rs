//! What every page-frame allocator is asked to do, in words that cost none of them anything.

use bifolio::frame::{Gfp, Order};

/// Frames that each allocator manages: 1 GiB of them.
pub const FRAMES: usize = 1 << 18;

/// An allocator over [`FRAMES`] frames, for all threads of a run. Calls are resolved and inlined at compile time.
pub trait PageFrames: Sync + Sized {
    /// The package's name.
    const NAME: &'static str;

    /// What it calls a block by: a frame number, an address. The harness only keeps it.
    type Block: Copy + Default + Send + Sync;

    /// An allocator of which every frame is free.
    fn new() -> Self;

    /// Allocates a block. A peer that knows no flags ignores them.
    fn allocate(&self, order: Order, gfp: Gfp) -> Option<Self::Block>;

    /// Frees a block that [`PageFrames::allocate`] returned for this order.
    fn free(&self, block: Self::Block, order: Order);

    /// The number of a block's first frame, from 0.
    fn number(&self, block: Self::Block) -> usize;

    /// How much memory it needs to manage them, in bytes for each frame.
    fn bytes_per_frame(&self) -> f64;
}
