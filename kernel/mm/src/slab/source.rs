//! Where the heap gets its memory.

use core::alloc::Layout;
use core::ptr::NonNull;

use super::sample::Sampler;
use crate::error::FreeError;
use crate::frame::{FRAME_SIZE, Order};
use crate::hardening::Hardening;

/// Gives out page frames, mapped, and takes them back.
///
/// Slabs are blocks. An object too large for a slab is a *run*: memory in a row, as long and as aligned as a `Layout` says. A
/// source that knows blocks alone has runs too, each in the smallest block that will do, at most 4 MiB. A source that overrides
/// the four functions for runs, all of them, does better: it can waste nothing, resize runs in place, and serve requests of any
/// length out of frames that lie anywhere, by mapping them one behind the other.
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

    /// [`allocate`](Self::allocate) for a slab's block, of which the heap itself touches nothing, unless the cache has a constructor or is
    /// debugged.
    fn allocate_slab(&self, order: Order) -> Option<NonNull<u8>> {
        self.allocate(order)
    }

    /// [`release`](Self::release) for a slab's block.
    ///
    /// # Errors
    /// As there.
    ///
    /// # Safety
    /// As there, of [`allocate_slab`](Self::allocate_slab).
    unsafe fn release_slab(&self, block: NonNull<u8>, order: Order) -> Result<(), FreeError> {
        // SAFETY: `allocate_slab` had it from `allocate`, and the caller promises the rest.
        unsafe { self.release(block, order) }
    }

    /// An address, as a [recorder](crate::allocator::Recorder) is told of it: a number that does not depend on where memory is mapped.
    fn number_of(&self, address: usize) -> u64 {
        address as u64
    }

    /// [`number_of`](Self::number_of) an address in a slab's block, where a source can tell that one more quickly; any number of others.
    #[inline(always)]
    fn number_in_slab(&self, address: usize) -> u64 {
        self.number_of(address)
    }

    /// Whether there is so little memory that the heap is rather to be slow than to hold any that it might not use: then
    /// slabs are as small as they can be, and CPUs share what they would have each.
    fn is_scarce(&self) -> bool {
        false
    }

    /// What the source itself does with what it gives out and takes back: the heap need not do that again to whole runs.
    fn hardening(&self) -> Hardening {
        Hardening::empty()
    }

    /// What has memory for [samples](crate::heap::Heap::sample), if anything has: always the same.
    fn sampler(&self) -> Option<&'static dyn Sampler> {
        None
    }

    /// Bytes of memory that the source has ready and nobody uses, if it keeps what is given back to it: for reports.
    fn kept(&self) -> u64 {
        0
    }

    /// The run for an object of this layout: the shortest that there is with as many bytes, and its alignment. All runs are such.
    /// `None` if none is as long, or as aligned.
    fn run_for(object: Layout) -> Option<Layout> {
        let bytes = block_of_run(object)?.bytes() as usize;
        Layout::from_size_align(bytes, object.align()).ok()
    }

    /// A run like this, which is [one that there is](Self::run_for), with unspecified contents. `None` if there is no memory for
    /// it.
    fn allocate_run(&self, run: Layout) -> Option<NonNull<u8>> {
        self.allocate(block_of_run(run)?)
    }

    /// Takes back a run.
    ///
    /// # Errors
    /// As for [`release`](Self::release).
    ///
    /// # Safety
    /// `start` came from [`allocate_run`](Self::allocate_run) of this source with the same `run`, or was last
    /// [resized](Self::resize_run) to that; it was not given back since, and nobody uses it any more.
    unsafe fn release_run(&self, start: NonNull<u8>, run: Layout) -> Result<(), FreeError> {
        match block_of_run(run) {
            // SAFETY: this is the block that `allocate_run` asked for, and the caller promises that nobody uses it any more.
            Some(order) => unsafe { self.release(start, order) },
            None => Ok(()), // there was no such run
        }
    }

    /// Makes a run one of `bytes` bytes where it is, another length that [runs](Self::run_for) of its alignment have. The
    /// contents stay, as far as there is still room for them. `false`, and nothing changed, if that cannot be.
    ///
    /// # Safety
    /// As for [`release_run`](Self::release_run), but that only what lies behind the first `bytes` bytes is unused.
    unsafe fn resize_run(&self, start: NonNull<u8>, run: Layout, bytes: usize) -> bool {
        let _ = (start, run, bytes);
        false
    }
}

/// The order of the block that a run takes where there are only blocks.
fn block_of_run(run: Layout) -> Option<Order> {
    Order::covering((run.size().max(run.align()) as u64).div_ceil(FRAME_SIZE))
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

    fn allocate_slab(&self, order: Order) -> Option<NonNull<u8>> {
        (**self).allocate_slab(order)
    }

    unsafe fn release_slab(&self, block: NonNull<u8>, order: Order) -> Result<(), FreeError> {
        // SAFETY: the caller keeps the same contract.
        unsafe { (**self).release_slab(block, order) }
    }

    fn number_of(&self, address: usize) -> u64 {
        (**self).number_of(address)
    }

    #[inline(always)]
    fn number_in_slab(&self, address: usize) -> u64 {
        (**self).number_in_slab(address)
    }

    fn is_scarce(&self) -> bool {
        (**self).is_scarce()
    }

    fn hardening(&self) -> Hardening {
        (**self).hardening()
    }

    fn sampler(&self) -> Option<&'static dyn Sampler> {
        (**self).sampler()
    }

    fn kept(&self) -> u64 {
        (**self).kept()
    }

    fn run_for(object: Layout) -> Option<Layout> {
        S::run_for(object)
    }

    fn allocate_run(&self, run: Layout) -> Option<NonNull<u8>> {
        (**self).allocate_run(run)
    }

    unsafe fn release_run(&self, start: NonNull<u8>, run: Layout) -> Result<(), FreeError> {
        // SAFETY: the caller keeps the same contract.
        unsafe { (**self).release_run(start, run) }
    }

    unsafe fn resize_run(&self, start: NonNull<u8>, run: Layout, bytes: usize) -> bool {
        // SAFETY: the caller keeps the same contract.
        unsafe { (**self).resize_run(start, run, bytes) }
    }
}
