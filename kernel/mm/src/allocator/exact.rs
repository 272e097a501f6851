//! Blocks in pieces: an allocated block split into smaller ones, and counts of frames that are no power of two (Linux:
//! `split_page`, `alloc_pages_exact`).

use super::{AllocError, Cpu, PageAllocator};
use crate::error::{FreeError, SplitError};
use crate::frame::{Gfp, Order, Pfn, PfnRange, ZoneKind};

impl<C: Cpu> PageAllocator<'_, C> {
    /// Makes the allocated block of `order` that starts at `pfn` allocated blocks of order `into`, each of which is freed by
    /// itself.
    ///
    /// # Errors
    /// [`SplitError`] if there is no such block, or `into` is larger than `order`; nothing has changed.
    pub fn split(&self, pfn: Pfn, order: Order, into: Order) -> Result<(), SplitError> {
        if into > order {
            return Err(SplitError::Larger { order, into });
        }
        self.with(ZoneKind::of(pfn), |zone| {
            zone.split(pfn, order, into)?;
            Ok(())
        })
    }

    /// Allocates exactly this many frames in a row. They are allocated as the [largest blocks](PfnRange::blocks) that
    /// make up the range: to be freed together, with [`free_range`](Self::free_range), or each by itself.
    ///
    /// The smallest sufficient block is allocated and split, and what is left over is free again when this returns.
    ///
    /// # Errors
    /// [`AllocError`] if no frames are asked for, or more than the largest block has, or for the reasons that
    /// [`allocate`](Self::allocate) has.
    pub fn allocate_exact(&self, frames: u64, gfp: Gfp) -> Result<PfnRange, AllocError> {
        self.allocate_exact_aligned(frames, Order::ZERO, gfp)
    }

    /// [`allocate_exact`](Self::allocate_exact), aligned to blocks of `align` at least. Without that, the frames are aligned
    /// to the smallest block that holds as many.
    ///
    /// # Errors
    /// As for [`allocate_exact`](Self::allocate_exact).
    pub fn allocate_exact_aligned(&self, frames: u64, align: Order, gfp: Gfp) -> Result<PfnRange, AllocError> {
        Self::announce(gfp);
        if frames == 0 {
            return Err(AllocError::NoFrames);
        }
        let order = Order::covering(frames).ok_or(AllocError::TooManyFrames(frames))?.max(align);
        let start = self.allocate_from_zones(order, gfp - Gfp::ZERO)?;
        let range = PfnRange::new(start, start.offset(frames));
        self.with(ZoneKind::of(start), |zone| zone.trim(start, order, frames))
            .expect("the block was allocated just now");
        if gfp.contains(Gfp::ZERO) {
            self.zero(range)?;
        }
        Ok(range)
    }

    /// Frees the allocated blocks that make up the range, which are as large as can be: what
    /// [`allocate_exact`](Self::allocate_exact) and its like gave.
    ///
    /// # Errors
    /// [`FreeError`] if the range is empty, or for the first block that is not there; nothing is freed then.
    pub fn free_range(&self, range: PfnRange) -> Result<(), FreeError> {
        if range.is_empty() {
            return Err(FreeError::NoFrames);
        }
        for (pfn, order) in range.blocks() {
            let actual = self.order_of(pfn)?;
            if actual != order {
                return Err(FreeError::WrongOrder { pfn, given: order, actual });
            }
        }
        range.blocks().try_for_each(|(pfn, order)| self.free(pfn, order))
    }
}
