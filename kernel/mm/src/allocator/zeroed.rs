//! Zeroed frames. The allocator touches no memory: it asks [`Cpu::zero`] to.

use super::{AllocError, Cpu, PageAllocator};
use crate::frame::{Gfp, Order, Pfn, PfnRange};

impl<C: Cpu> PageAllocator<'_, C> {
    /// Allocates a block, and sees that it holds zeros.
    #[inline(never)]
    pub(super) fn allocate_zeroed(&self, order: Order, gfp: Gfp) -> Result<Pfn, AllocError> {
        let pfn = self.allocate(order, gfp - Gfp::ZERO)?;
        self.zero(pfn, order)?;
        Ok(pfn)
    }

    /// Fills a block with zeros that was just allocated, and that nobody else knows of yet; if that cannot be, frees it.
    pub(super) fn zero(&self, pfn: Pfn, order: Order) -> Result<(), AllocError> {
        // SAFETY: the caller has just allocated the block, out of RAM, and nobody else knows of it yet.
        if unsafe { C::zero(PfnRange::new(pfn, pfn.offset(order.frames()))) } {
            return Ok(());
        }
        self.free(pfn, order).expect("the block was allocated just now");
        Err(AllocError::CannotZero)
    }
}
