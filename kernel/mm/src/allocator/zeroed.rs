//! Zeroed frames. The allocator touches no memory: it asks [`Cpu::zero`] to.

use super::{AllocError, Cpu, PageAllocator};
use crate::frame::{Gfp, Order, Pfn, PfnRange};

impl<C: Cpu> PageAllocator<'_, C> {
    /// Serves a request with flags that the fast path knows nothing of.
    #[inline(never)]
    pub(super) fn allocate_specially(&self, order: Order, gfp: Gfp) -> Result<Pfn, AllocError> {
        if gfp.contains(Gfp::ZERO) {
            let pfn = self.allocate(order, gfp - Gfp::ZERO)?;
            self.zero(PfnRange::new(pfn, pfn.offset(order.frames())))?;
            return Ok(pfn);
        }
        self.allocate_from_zones(order, gfp)
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
