//! Zeroed frames. The allocator touches no memory but these: where it was told that they are seen; or else it asks [`Cpu::zero`] to.

use super::reclaim::NOWHERE;
use super::{Cpu, PageAllocator};
use crate::frame::{Blocks, FRAME_SIZE, PfnRange};

impl<C: Cpu> PageAllocator<'_, C> {
    /// Has frames be zeroed where they are seen, at their address plus `offset`, in place of [`Cpu::zero`]: for a kernel that has all
    /// of its memory mapped so. A [`Kernel`](crate::kernel::Kernel) does that by itself.
    ///
    /// # Panics
    /// If `offset` is no multiple of a frame's size.
    ///
    /// # Safety
    /// Each frame that is given out is seen there, readable and writable, for as long as the allocator is used.
    pub unsafe fn zero_at(&mut self, offset: u64) {
        assert!(offset % FRAME_SIZE == 0, "frames are not aligned at an offset of {offset:#x}");
        self.0.seen_at = offset;
    }

    /// Fills frames with zeros; `None` if that cannot be, and they are free again.
    pub(super) fn zeroed(&self, frames: Blocks) -> Option<Blocks> {
        // SAFETY: the frames are RAM, by the promise of `new`, and `frames` is their only owner.
        if unsafe { self.zero(frames.range()) } {
            return Some(frames);
        }
        self.free_range(frames).expect("the frames were allocated just now");
        None
    }

    /// Fills frames with zeros; false if that cannot be.
    ///
    /// # Safety
    /// The frames are RAM, and the caller's alone.
    pub(super) unsafe fn zero(&self, frames: PfnRange) -> bool {
        let offset = self.seen_at;
        if offset == NOWHERE {
            // SAFETY: the frames are RAM and nobody else's, as this function's contract has it.
            return unsafe { C::zero(frames) };
        }
        let start = frames.start.address().wrapping_add(offset);
        let start = core::ptr::with_exposed_provenance_mut::<u8>(start as usize);
        // SAFETY: the frames are seen there by the promise of `zero_at`, and nobody else uses them, by this function's contract.
        unsafe { start.write_bytes(0, (frames.frames() * FRAME_SIZE) as usize) };
        true
    }
}
