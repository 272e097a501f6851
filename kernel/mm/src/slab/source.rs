//! Where slabs get their memory.

use core::ptr::NonNull;

use crate::error::FreeError;
use crate::frame::Order;

/// Gives out blocks of page frames, mapped, and takes them back.
///
/// The heap calls it with none of its own locks held, so a source may itself ask the heap to shrink.
///
/// # Safety
///
/// A block that [`allocate`](Self::allocate) returns is [`Order::bytes`] long, readable and writable, aligned to its own
/// size, below no other live object, and stays so until it is given back. Its address is canonical in 48 bits: the upper
/// 16 bits of all addresses that a source returns follow from the lower 48.
pub unsafe trait PageSource {
    /// A block of `2^order` frames with unspecified contents, or `None` if there is none.
    fn allocate(&self, order: Order) -> Option<NonNull<u8>>;

    /// Takes back a block.
    ///
    /// # Errors
    /// Whatever the page allocator has against it; the block then stays allocated for ever.
    ///
    /// # Safety
    /// `block` came from [`allocate`](Self::allocate) of this source with the same order, was not given back since, and
    /// nobody uses it any more.
    unsafe fn release(&self, block: NonNull<u8>, order: Order) -> Result<(), FreeError>;
}

// SAFETY: every promise is the referenced source's own.
unsafe impl<S: PageSource + ?Sized> PageSource for &S {
    fn allocate(&self, order: Order) -> Option<NonNull<u8>> {
        (**self).allocate(order)
    }

    unsafe fn release(&self, block: NonNull<u8>, order: Order) -> Result<(), FreeError> {
        // SAFETY: the caller keeps the same contract.
        unsafe { (**self).release(block, order) }
    }
}
