//! Nothing at all: what the harness itself costs.

use bifolio::frame::{Gfp, Order};
use std::hint::black_box;
use workloads::PageFrames;

/// Gives out block 0, always.
pub struct Nothing;

impl PageFrames for Nothing {
    const NAME: &'static str = "(harness)";
    type Block = usize;

    fn new() -> Self {
        Self
    }

    #[inline(always)]
    fn allocate(&self, _: Order, _: Gfp) -> Option<usize> {
        Some(0)
    }

    #[inline(always)]
    fn free(&self, block: usize, _: Order) {
        black_box(block);
    }

    fn number(&self, block: usize) -> usize {
        block
    }

    fn bytes_per_frame(&self) -> f64 {
        0.0
    }
}
