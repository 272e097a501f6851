//! A block with an owner: freed when the owner goes away.

use core::fmt;
use core::mem::ManuallyDrop;

use super::{AllocError, Cpu, PageAllocator};
use crate::error::FreeError;
use crate::frame::{Gfp, Order, Pfn, PfnRange};

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
/// The handle says who frees the block, and nothing of who may touch the memory: the allocator never does, and whoever
/// calls [`PageAllocator::free`] can free any block. So code that reaches the memory through a handle is as `unsafe` as
/// code that does through a [`Pfn`].
#[must_use = "the block is freed again at once"]
pub struct OwnedFrames<'a, 'm, C: Cpu> {
    allocator: &'a PageAllocator<'m, C>,
    pfn: Pfn,
    order: Order,
}

impl<'m, C: Cpu> PageAllocator<'m, C> {
    /// Allocates a block of `order` that is freed when the handle is dropped.
    ///
    /// # Errors
    /// [`AllocError`], as from [`allocate`](Self::allocate).
    pub fn allocate_owned(&self, order: Order, gfp: Gfp) -> Result<OwnedFrames<'_, 'm, C>, AllocError> {
        let pfn = self.allocate(order, gfp)?;
        Ok(OwnedFrames { allocator: self, pfn, order })
    }
}

impl<'a, 'm, C: Cpu> OwnedFrames<'a, 'm, C> {
    /// Takes charge of an allocated block: of one that came [out of a handle](Self::into_raw), or from
    /// [`PageAllocator::allocate`]. Two handles of one block free it twice, which the second reports and which changes
    /// nothing, unless the block was allocated again in between.
    ///
    /// # Errors
    /// [`FreeError`], saying what is there, if no allocated block of this order starts at `pfn`.
    pub fn from_raw(allocator: &'a PageAllocator<'m, C>, pfn: Pfn, order: Order) -> Result<Self, FreeError> {
        match allocator.order_of(pfn)? {
            actual if actual == order => Ok(Self { allocator, pfn, order }),
            actual => Err(FreeError::WrongOrder { pfn, given: order, actual }),
        }
    }

    /// Gives the block out of the handle's charge; nobody frees it now but by hand.
    #[must_use = "the block stays allocated"]
    pub fn into_raw(self) -> Pfn {
        ManuallyDrop::new(self).pfn
    }

    /// The block's first frame.
    pub fn pfn(&self) -> Pfn {
        self.pfn
    }

    /// The block's size.
    pub fn order(&self) -> Order {
        self.order
    }

    /// The block's frames.
    pub fn range(&self) -> PfnRange {
        PfnRange::new(self.pfn, self.pfn.offset(self.order.frames()))
    }

    /// Frees the block, and says if that went wrong.
    ///
    /// # Errors
    /// [`FreeError`] if somebody else has freed the block.
    pub fn free(self) -> Result<(), FreeError> {
        let frames = ManuallyDrop::new(self);
        frames.allocator.free(frames.pfn, frames.order)
    }
}

impl<C: Cpu> Drop for OwnedFrames<'_, '_, C> {
    /// Frees the block. If somebody else has done so, that is shown in the statistics: it was a bad free.
    fn drop(&mut self) {
        if self.allocator.free(self.pfn, self.order).is_err() {
            self.allocator.slow.count_bad_drop();
        }
    }
}

impl<C: Cpu> fmt::Debug for OwnedFrames<'_, '_, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnedFrames").field("pfn", &self.pfn).field("order", &self.order).finish_non_exhaustive()
    }
}
