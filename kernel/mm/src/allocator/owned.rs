//! A block with an owner that frees it when it goes away.

use core::fmt;
use core::mem::ManuallyDrop;

use super::{AllocError, Cpu, PageAllocator};
use crate::error::FreeError;
use crate::frame::{Block, Gfp, Order, Pfn, PfnRange};
use crate::sync::atomic::Ordering::Relaxed;

/// An allocated block that is freed when this is dropped.
///
/// There is one owner, so it cannot be cloned:
///
/// ```compile_fail,E0599
/// # use bifolio::allocator::{Cpu, OwnedFrames};
/// fn two_owners<'a, 'm, C: Cpu>(frames: OwnedFrames<'a, 'm, C>) -> [OwnedFrames<'a, 'm, C>; 2] {
///     [frames.clone(), frames]
/// }
/// ```
///
/// The frames are its owner's alone, and it says nothing of where their memory is mapped.
#[must_use = "the block is freed again at once"]
pub struct OwnedFrames<'a, 'm, C: Cpu> {
    allocator: &'a PageAllocator<'m, C>,
    block: Block,
}

impl<'m, C: Cpu> PageAllocator<'m, C> {
    /// Allocates a block of `order` that is freed when the handle is dropped.
    ///
    /// # Errors
    /// [`AllocError`], as from [`allocate`](Self::allocate).
    pub fn allocate_owned(&self, order: Order, gfp: Gfp) -> Result<OwnedFrames<'_, 'm, C>, AllocError> {
        Ok(OwnedFrames::from_block(self, self.allocate(order, gfp)?))
    }
}

impl<'a, 'm, C: Cpu> OwnedFrames<'a, 'm, C> {
    /// Takes charge of a block of this allocator.
    pub const fn from_block(allocator: &'a PageAllocator<'m, C>, block: Block) -> Self {
        Self { allocator, block }
    }

    /// Gives the block out of the handle's charge; nobody frees it now but by hand.
    pub fn into_block(self) -> Block {
        let frames = ManuallyDrop::new(self);
        // SAFETY: the handle was the block's only owner, and is neither dropped nor used again.
        unsafe { Block::from_raw(frames.pfn(), frames.order()) }
    }

    /// The block's first frame.
    pub fn pfn(&self) -> Pfn {
        self.block.pfn()
    }

    /// The block's size.
    pub fn order(&self) -> Order {
        self.block.order()
    }

    /// The block's frames.
    pub fn range(&self) -> PfnRange {
        self.block.range()
    }

    /// Frees the block, and says if that went wrong.
    ///
    /// # Errors
    /// [`FreeError`], as from [`PageAllocator::free`].
    pub fn free(self) -> Result<(), FreeError> {
        self.allocator.free(self.into_block())
    }
}

impl<C: Cpu> Drop for OwnedFrames<'_, '_, C> {
    /// Frees the block. If unsafe code has done so by its number, that is shown in the statistics: it was a bad free.
    fn drop(&mut self) {
        // SAFETY: the handle is the block's only owner, and is used no more.
        if unsafe { self.allocator.free_raw(self.pfn(), self.order()) }.is_err() {
            self.allocator.bad_drops.fetch_add(1, Relaxed);
        }
    }
}

impl<C: Cpu> fmt::Debug for OwnedFrames<'_, '_, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnedFrames").field("pfn", &self.pfn()).field("order", &self.order()).finish_non_exhaustive()
    }
}
