//! Where the heap gets its memory.

use core::ptr::NonNull;

use crate::error::FreeError;
use crate::frame::Order;

/// Gives out page frames, mapped, and takes them back.
///
/// Slabs are blocks. An object too large for a slab is a *run*: frames in a row. A source that knows blocks alone has runs
/// too, each in the smallest block that will do, at most 4 MiB. A source that overrides the four functions for runs, all of
/// them, does better: it can waste nothing, resize runs in place, and serve requests of any length out of frames that lie
/// anywhere, by mapping them one behind the other.
///
/// The heap calls it with none of its own locks held, so a source may itself ask the heap to shrink.
///
/// # Safety
///
/// What [`allocate`](Self::allocate) and [`allocate_run`](Self::allocate_run) return is as long as was asked for, readable
/// and writable, aligned as they say, below no other live object, and stays so until it is given back. Its address is
/// canonical in 48 bits: the upper 16 bits of all addresses that a source returns follow from the lower 48.
pub unsafe trait PageSource {
    /// A block of `2^order` frames with unspecified contents, aligned to its own size, or `None` if there is none.
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

    /// Whether there is so little memory that the heap is rather to be slow than to hold any that it might not use: then
    /// slabs are as small as they can be, and CPUs share what they would have each.
    fn is_scarce(&self) -> bool {
        false
    }

    /// How many frames the shortest run has that has at least `frames`, which is at least one, and is aligned to a block of
    /// order `align`. All runs are of such a length. `None` if none is that long.
    fn run_frames(frames: u64, align: Order) -> Option<u64> {
        block_of_run(frames, align).map(Order::frames)
    }

    /// A run of `frames` frames, a [length that runs have](Self::run_frames), with unspecified contents, aligned to a block
    /// of order `align`. `None` if there is none.
    fn allocate_run(&self, frames: u64, align: Order) -> Option<NonNull<u8>> {
        self.allocate(block_of_run(frames, align)?)
    }

    /// Takes back a run.
    ///
    /// # Errors
    /// As for [`release`](Self::release).
    ///
    /// # Safety
    /// `run` came from [`allocate_run`](Self::allocate_run) of this source with the same `frames` and `align`, or was last
    /// [resized](Self::resize_run) to that many frames; it was not given back since, and nobody uses it any more.
    unsafe fn release_run(&self, run: NonNull<u8>, frames: u64, align: Order) -> Result<(), FreeError> {
        match block_of_run(frames, align) {
            // SAFETY: this is the block that `allocate_run` asked for, and the caller promises that nobody uses it any more.
            Some(order) => unsafe { self.release(run, order) },
            None => Ok(()), // there was no such run
        }
    }

    /// Makes a run of `from` frames one of `to` frames where it is, another [length that runs have](Self::run_frames). The
    /// contents stay, as far as there are still frames for them. `false`, and nothing changed, if that cannot be.
    ///
    /// # Safety
    /// As for [`release_run`](Self::release_run), but that only what lies behind the first `to` frames is unused.
    unsafe fn resize_run(&self, run: NonNull<u8>, from: u64, to: u64, align: Order) -> bool {
        let _ = (run, from, to, align);
        false
    }
}

/// The order of the block that a run takes where there are only blocks.
fn block_of_run(frames: u64, align: Order) -> Option<Order> {
    Some(Order::covering(frames)?.max(align))
}

// SAFETY: every promise is the referenced source's own.
unsafe impl<S: PageSource> PageSource for &S {
    fn allocate(&self, order: Order) -> Option<NonNull<u8>> {
        (**self).allocate(order)
    }

    unsafe fn release(&self, block: NonNull<u8>, order: Order) -> Result<(), FreeError> {
        // SAFETY: the caller keeps the same contract.
        unsafe { (**self).release(block, order) }
    }

    fn is_scarce(&self) -> bool {
        (**self).is_scarce()
    }

    fn run_frames(frames: u64, align: Order) -> Option<u64> {
        S::run_frames(frames, align)
    }

    fn allocate_run(&self, frames: u64, align: Order) -> Option<NonNull<u8>> {
        (**self).allocate_run(frames, align)
    }

    unsafe fn release_run(&self, run: NonNull<u8>, frames: u64, align: Order) -> Result<(), FreeError> {
        // SAFETY: the caller keeps the same contract.
        unsafe { (**self).release_run(run, frames, align) }
    }

    unsafe fn resize_run(&self, run: NonNull<u8>, from: u64, to: u64, align: Order) -> bool {
        // SAFETY: the caller keeps the same contract.
        unsafe { (**self).resize_run(run, from, to, align) }
    }
}
