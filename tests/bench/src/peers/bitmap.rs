//! `bitmap-allocator`: a segment tree of bits, 16 to a node. Its smallest size above 1 GiB holds 4 GiB.

use crate::page::frames::{FRAMES, PageFrames};
use bifolio::frame::{Gfp, Order};
use bitmap_allocator::{BitAlloc, BitAlloc1M};
use spin::Mutex;

/// See the module.
pub struct Bitmap(Mutex<Box<BitAlloc1M>>);

impl PageFrames for Bitmap {
    const NAME: &'static str = "bitmap-allocator";
    type Block = usize;

    fn new() -> Self {
        let mut bits = Box::new(BitAlloc1M::DEFAULT);
        bits.insert(0..FRAMES);
        Self(Mutex::new(bits))
    }

    #[inline]
    fn allocate(&self, order: Order, _: Gfp) -> Option<usize> {
        let mut bits = self.0.lock();
        if order == Order::ZERO {
            bits.alloc()
        } else {
            bits.alloc_contiguous(None, 1 << order.get(), order.get().into())
        }
    }

    #[inline]
    fn free(&self, block: usize, order: Order) {
        let mut bits = self.0.lock();
        let freed =
            if order == Order::ZERO { bits.dealloc(block) } else { bits.dealloc_contiguous(block, 1 << order.get()) };
        assert!(freed, "{}: block {block} was not allocated", Self::NAME);
    }

    fn number(&self, block: usize) -> usize {
        block
    }

    fn bytes_per_frame(&self) -> f64 {
        size_of::<BitAlloc1M>() as f64 / BitAlloc1M::CAP as f64
    }
}
