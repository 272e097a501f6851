//! The page allocator by bare frame numbers: for tests that speak of frames in lists, or that free what they must not.

use alloc::vec::Vec;

use bifolio::allocator::{AllocError, Cpu, PageAllocator, PerCpuPages, Plan, SetupError};
use bifolio::error::{AddError, FreeError, RangeError, ResizeError, SplitError};
use bifolio::frame::{Block, Blocks, Gfp, Order, Pfn, PfnRange};

/// An allocator whose frames are numbers, and nobody's memory.
///
/// # Errors
/// [`SetupError`], as from [`PageAllocator::new`].
pub fn over_numbers<'m, C: Cpu>(
    plan: &Plan<'_>,
    metadata: &'m mut [u64],
    pages: &'m [PerCpuPages],
) -> Result<PageAllocator<'m, C>, SetupError> {
    // SAFETY: nobody uses the frames as memory.
    unsafe { PageAllocator::new(plan, metadata, pages) }
}

/// [`PageAllocator`] without owners.
///
/// These are as `unsafe` as what they call: a test that uses the frames' memory answers for what it frees.
pub trait Raw {
    /// [`PageAllocator::allocate`].
    fn take(&self, order: Order, gfp: Gfp) -> Result<Pfn, AllocError>;

    /// [`PageAllocator::free_raw`].
    fn give(&self, pfn: Pfn, order: Order) -> Result<(), FreeError>;

    /// [`PageAllocator::split_raw`].
    fn cut(&self, pfn: Pfn, order: Order, into: Order) -> Result<(), SplitError>;

    /// [`PageAllocator::allocate_exact`].
    fn take_exact(&self, frames: u64, gfp: Gfp) -> Result<PfnRange, AllocError>;

    /// [`PageAllocator::allocate_exact_aligned`].
    fn take_exact_aligned(&self, frames: u64, align: Order, gfp: Gfp) -> Result<PfnRange, AllocError>;

    /// [`PageAllocator::allocate_contiguous`].
    fn take_contiguous(&self, frames: u64, gfp: Gfp) -> Result<PfnRange, AllocError>;

    /// [`PageAllocator::allocate_range`].
    fn take_range(&self, range: PfnRange, gfp: Gfp) -> Result<(), RangeError>;

    /// [`PageAllocator::free_range_raw`].
    fn give_range(&self, range: PfnRange) -> Result<(), FreeError>;

    /// [`PageAllocator::resize_raw`].
    fn regrow(&self, range: PfnRange, frames: u64, gfp: Gfp) -> Result<PfnRange, ResizeError>;

    /// [`PageAllocator::allocate_bulk`].
    fn take_bulk(&self, slots: &mut [Option<Pfn>], gfp: Gfp) -> Result<usize, AllocError>;

    /// [`PageAllocator::free_bulk`].
    fn give_bulk(&self, slots: &mut [Option<Pfn>]) -> Result<(), FreeError>;

    /// [`PageAllocator::add`].
    fn give_more(&self, range: PfnRange) -> Result<(), AddError>;
}

impl<C: Cpu> Raw for PageAllocator<'_, C> {
    #[inline(always)]
    fn take(&self, order: Order, gfp: Gfp) -> Result<Pfn, AllocError> {
        self.allocate(order, gfp).map(|block| block.into_raw().0)
    }

    #[inline(always)]
    fn give(&self, pfn: Pfn, order: Order) -> Result<(), FreeError> {
        // SAFETY: the test's.
        unsafe { self.free_raw(pfn, order) }
    }

    fn cut(&self, pfn: Pfn, order: Order, into: Order) -> Result<(), SplitError> {
        // SAFETY: the test's.
        unsafe { self.split_raw(pfn, order, into) }
    }

    fn take_exact(&self, frames: u64, gfp: Gfp) -> Result<PfnRange, AllocError> {
        self.allocate_exact(frames, gfp).map(Blocks::into_raw)
    }

    fn take_exact_aligned(&self, frames: u64, align: Order, gfp: Gfp) -> Result<PfnRange, AllocError> {
        self.allocate_exact_aligned(frames, align, gfp).map(Blocks::into_raw)
    }

    fn take_contiguous(&self, frames: u64, gfp: Gfp) -> Result<PfnRange, AllocError> {
        self.allocate_contiguous(frames, gfp).map(Blocks::into_raw)
    }

    fn take_range(&self, range: PfnRange, gfp: Gfp) -> Result<(), RangeError> {
        self.allocate_range(range, gfp).map(|blocks| assert_eq!(blocks.into_raw(), range))
    }

    fn give_range(&self, range: PfnRange) -> Result<(), FreeError> {
        // SAFETY: the test's.
        unsafe { self.free_range_raw(range) }
    }

    fn regrow(&self, range: PfnRange, frames: u64, gfp: Gfp) -> Result<PfnRange, ResizeError> {
        // SAFETY: the test's.
        unsafe { self.resize_raw(range, frames, gfp) }
    }

    fn take_bulk(&self, slots: &mut [Option<Pfn>], gfp: Gfp) -> Result<usize, AllocError> {
        through_blocks(slots, |blocks| self.allocate_bulk(blocks, gfp))
    }

    fn give_bulk(&self, slots: &mut [Option<Pfn>]) -> Result<(), FreeError> {
        through_blocks(slots, |blocks| self.free_bulk(blocks))
    }

    fn give_more(&self, range: PfnRange) -> Result<(), AddError> {
        // SAFETY: the test's.
        unsafe { self.add(range) }
    }
}

/// Has `work` do its work on slots of blocks.
fn through_blocks<R>(slots: &mut [Option<Pfn>], work: impl FnOnce(&mut [Option<Block>]) -> R) -> R {
    // SAFETY: the test's.
    let block = |pfn| unsafe { Block::from_raw(pfn, Order::ZERO) };
    let mut blocks: Vec<Option<Block>> = slots.iter().map(|slot| slot.map(block)).collect();
    let result = work(&mut blocks);
    for (slot, block) in slots.iter_mut().zip(blocks) {
        *slot = block.map(|block| block.into_raw().0);
    }
    result
}
