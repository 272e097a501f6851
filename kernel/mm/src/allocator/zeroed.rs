//! Zeroed frames. The allocator touches no memory: it asks [`Cpu::zero`] to.

use super::{AllocError, Cpu, PageAllocator};
use crate::frame::{Blocks, Gfp, Order, Pfn};

impl<C: Cpu> PageAllocator<'_, C> {
    /// Serves a request for zeroed frames.
    #[cold]
    pub(super) fn allocate_zeroed(&self, order: Order, gfp: Gfp) -> Result<Pfn, AllocError> {
        let block = self.allocate(order, gfp - Gfp::ZERO)?;
        self.zeroed(block.into()).map(|zeroed| zeroed.range().start)
    }

    /// Fills frames with zeros; if that cannot be, frees them.
    pub(super) fn zeroed(&self, frames: Blocks) -> Result<Blocks, AllocError> {
        // SAFETY: the frames are RAM, by the promise of `new`, and `frames` is their only owner.
        if unsafe { C::zero(frames.range()) } {
            return Ok(frames);
        }
        self.free_range(frames).expect("the frames were allocated just now");
        Err(AllocError::CannotZero)
    }
}
