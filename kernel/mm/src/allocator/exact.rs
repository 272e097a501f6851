//! Blocks in pieces: an allocated block split into smaller ones, and counts of frames that are no power of two (Linux:
//! `split_page`, `alloc_pages_exact`).

use super::record::{done, first_of};
use super::{AllocError, Call, Cpu, PageAllocator};
use crate::error::{FreeError, Refused, SplitError};
use crate::frame::{Block, Blocks, Gfp, Order, Pfn, PfnRange};

impl<C: Cpu> PageAllocator<'_, C> {
    /// Makes a block several of order `into`, each of which is freed by itself. They come in ascending order; what is not
    /// taken out of the iterator stays allocated.
    ///
    /// # Errors
    /// [`SplitError`] if `into` is larger than the block. It gives the block back, which is as it was.
    pub fn split(
        &self,
        block: Block,
        into: Order,
    ) -> Result<impl ExactSizeIterator<Item = Block> + use<C>, Refused<Block, SplitError>> {
        let (pfn, order) = (block.pfn(), block.order());
        // SAFETY: `block` is the only owner, and is used no more if the block becomes its pieces.
        if let Err(error) = unsafe { self.split_raw(pfn, order, into) } {
            return Err(Refused { given: block, error });
        }
        // SAFETY: `split_raw` has made it this many allocated blocks of that order, each of which is made a `Block` once.
        let piece = move |nth: u32| unsafe { Block::from_raw(pfn.offset(u64::from(nth) << into.get()), into) };
        Ok((0..1 << (order.get() - into.get())).map(piece))
    }

    /// Makes the allocated block of `order` that starts at `pfn` allocated blocks of order `into`, each of which is freed by
    /// itself.
    ///
    /// # Errors
    /// [`SplitError`] if there is no such block, or `into` is larger than `order`; nothing has changed.
    ///
    /// # Safety
    /// As for [`free_raw`](Self::free_raw), but that its memory may be in use.
    pub unsafe fn split_raw(&self, pfn: Pfn, order: Order, into: Order) -> Result<(), SplitError> {
        let split = || {
            if into > order {
                return Err(SplitError::Larger { order, into });
            }
            self.with(self.zone_of(pfn), |zone| Ok(zone.split(pfn, order, into)?))
        };
        self.recorded(Call::Split { pfn, order, into }, done, split)
    }

    /// Allocates exactly this many frames in a row. They are allocated as the [largest blocks](PfnRange::blocks) that
    /// make up the range: to be freed together, with [`free_range`](Self::free_range), or each by itself.
    ///
    /// The smallest sufficient block is allocated and split, and what is left over is free again when this returns.
    ///
    /// # Errors
    /// [`AllocError`] if no frames are asked for, or more than the largest block has, or for the reasons that
    /// [`allocate`](Self::allocate) has.
    pub fn allocate_exact(&self, frames: u64, gfp: Gfp) -> Result<Blocks, AllocError> {
        self.allocate_exact_aligned(frames, Order::ZERO, gfp)
    }

    /// [`allocate_exact`](Self::allocate_exact), aligned to blocks of `align` at least. Without that, the frames are aligned
    /// to the smallest block that holds as many.
    ///
    /// # Errors
    /// As for [`allocate_exact`](Self::allocate_exact).
    pub fn allocate_exact_aligned(&self, frames: u64, align: Order, gfp: Gfp) -> Result<Blocks, AllocError> {
        let refused = AllocError::OutOfMemory { order: Order::covering(frames).unwrap_or(Order::MAX), gfp };
        let call = Call::AllocateExact { frames, align, gfp };
        self.allocate_row(call, frames, gfp, [refused, AllocError::CannotZero], || self.take_exact(frames, align, gfp))
    }

    /// Does what all requests for frames in a row have in common: `take` has them be allocated, as the largest blocks that make them
    /// up.
    ///
    /// # Errors
    /// That of `take`; or `refused`, for a test's sake; or that frames cannot be zeroed.
    pub(super) fn allocate_row<E>(
        &self,
        call: Call,
        frames: u64,
        gfp: Gfp,
        [refused, cannot_zero]: [E; 2],
        take: impl FnOnce() -> Result<PfnRange, E>,
    ) -> Result<Blocks, E> {
        if self.begin(frames, gfp) {
            return Err(refused);
        }
        self.recorded(call, first_of, || {
            // SAFETY: the frames were allocated just now, to this call alone, as the largest blocks.
            let blocks = unsafe { Blocks::from_raw(take()?) };
            if self.is_to_zero(gfp) { self.zeroed(blocks).ok_or(cannot_zero) } else { Ok(blocks) }
        })
    }

    pub(super) fn take_exact(&self, frames: u64, align: Order, gfp: Gfp) -> Result<PfnRange, AllocError> {
        if frames == 0 {
            return Err(AllocError::NoFrames);
        }
        let order = Order::covering(frames).ok_or(AllocError::TooManyFrames(frames))?.max(align);
        let start = self.allocate_from_zones(order, gfp - Gfp::ZERO)?;
        self.with(self.zone_of(start), |zone| zone.trim(start, order, frames))
            .expect("the block was allocated just now");
        Ok(PfnRange::new(start, start.offset(frames)))
    }

    /// Frees frames in a row: what [`allocate_exact`](Self::allocate_exact) and its like gave.
    ///
    /// # Errors
    /// [`FreeError`] if they are not allocated so, as for [`free`](Self::free); nothing is freed then.
    pub fn free_range(&self, frames: Blocks) -> Result<(), FreeError> {
        // SAFETY: `frames` was the only owner of its blocks, and is gone.
        unsafe { self.free_range_raw(frames.into_raw()) }
    }

    /// Frees the allocated blocks that make up the range, which are as large as can be.
    ///
    /// # Errors
    /// [`FreeError`] if the range is empty, or for the first block that is not there; nothing is freed then.
    ///
    /// # Safety
    /// As for [`free_raw`](Self::free_raw), for each of the blocks.
    pub unsafe fn free_range_raw(&self, range: PfnRange) -> Result<(), FreeError> {
        if range.is_empty() {
            return Err(FreeError::NoFrames);
        }
        range.blocks().try_for_each(|(pfn, order)| self.look_for(pfn, order))?;
        // SAFETY: by this function's contract each block is nobody else's, and its memory not in use, as `free_raw` asks.
        range.blocks().try_for_each(|(pfn, order)| unsafe { self.free_raw(pfn, order) })
    }
}
