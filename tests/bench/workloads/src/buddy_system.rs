//! `buddy_system_allocator`: free blocks in a `BTreeSet` for each order, in the heap.

use crate::{FRAMES, Locked, PageFrames};
use bifolio::allocator::Cpu;
use bifolio::frame::{Gfp, Order};
use buddy_system_allocator::FrameAllocator;

/// See the module.
pub struct BuddySystem<C>(Locked<FrameAllocator, C>);

impl<C: Cpu> PageFrames for BuddySystem<C> {
    const NAME: &'static str = "buddy_system_allocator";
    type Block = usize;

    fn new() -> Self {
        let mut frames = FrameAllocator::new();
        frames.add_frame(FRAMES, 2 * FRAMES);
        Self(Locked::new(frames))
    }

    #[inline(always)]
    fn allocate(&self, order: Order, _: Gfp) -> Option<usize> {
        self.0.with(|frames| frames.alloc(1 << order.get()))
    }

    #[inline(always)]
    fn free(&self, block: usize, order: Order) {
        self.0.with(|frames| frames.dealloc(block, 1 << order.get()));
    }

    fn number(&self, block: usize) -> usize {
        block - FRAMES
    }

    /// At its worst, when every other frame is free: a key for each in B-tree nodes, which are two thirds full as a rule.
    fn bytes_per_frame(&self) -> f64 {
        size_of::<usize>() as f64 * 1.5 / 2.0
    }
}
