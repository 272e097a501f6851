//! Zeroed frames. The allocator touches no memory: it asks [`Cpu::zero`] to.

use super::{AllocError, Cpu, PageAllocator};
use crate::frame::{Gfp, Order, Pfn, PfnRange};

impl<C: Cpu> PageAllocator<'_, C> {
    /// Serves a request for zeroed frames.
    pub(super) fn allocate_zeroed(&self, order: Order, gfp: Gfp) -> Result<Pfn, AllocError> {
        let pfn = self.allocate(order, gfp - Gfp::ZERO)?;
        self.zero(PfnRange::new(pfn, pfn.offset(order.frames())))?;
        Ok(pfn)
    }

    /// Fills frames with zeros that were just allocated, and that nobody else knows of yet; if that cannot be, frees them.
    pub(super) fn zero(&self, frames: PfnRange) -> Result<(), AllocError> {
        // SAFETY: the caller has just allocated the frames, out of RAM, and nobody else knows of them yet.
        if unsafe { C::zero(frames) } {
            return Ok(());
        }
        self.free_range(frames).expect("the frames were allocated just now");
        Err(AllocError::CannotZero)
    }
}
