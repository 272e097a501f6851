//! `bitmap-allocator`: a segment tree of bits, 16 to a node. Its smallest size above 1 GiB holds 4 GiB.

use crate::{FRAMES, Locked, PageFrames};
use alloc::boxed::Box;
use bifolio::allocator::Cpu;
use bifolio::frame::{Gfp, Order};
use bitmap_allocator::{BitAlloc, BitAlloc1M};

/// See the module.
pub struct Bitmap<C>(Locked<Box<BitAlloc1M>, C>);

impl<C: Cpu> PageFrames for Bitmap<C> {
    const NAME: &'static str = "bitmap-allocator";
    type Block = usize;

    fn new() -> Self {
        // Made where it stays: it is larger than half of a kernel's stack.
        // SAFETY: it consists of integers, and zero is what its own `DEFAULT` has in each.
        let mut bits = unsafe { Box::<BitAlloc1M>::new_zeroed().assume_init() };
        bits.insert(0..FRAMES);
        Self(Locked::new(bits))
    }

    #[inline(always)]
    fn allocate(&self, order: Order, _: Gfp) -> Option<usize> {
        self.0.with(|bits| match order {
            Order::ZERO => bits.alloc(),
            order => bits.alloc_contiguous(None, 1 << order.get(), order.get().into()),
        })
    }

    #[inline(always)]
    fn free(&self, block: usize, order: Order) {
        let freed = self.0.with(|bits| match order {
            Order::ZERO => bits.dealloc(block),
            order => bits.dealloc_contiguous(block, 1 << order.get()),
        });
        assert!(freed, "{}: block {block} was not allocated", Self::NAME);
    }

    fn number(&self, block: usize) -> usize {
        block
    }

    fn bytes_per_frame(&self) -> f64 {
        size_of::<BitAlloc1M>() as f64 / BitAlloc1M::CAP as f64
    }
}
