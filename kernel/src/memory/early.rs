//! Page frames before there is an allocator, for page tables and metadata.

use super::frames::MEMORY;
use crate::sync::{Mutex, Processor};
use bifolio::allocator::{EarlyFrames, PageAllocator, Plan};
use bifolio::frame::{Pfn, PfnRange};
use core::mem;
use x86_64::PhysAddr;
use x86_64::structures::paging::{FrameAllocator, PhysFrame, Size4KiB};

static EARLY: Mutex<EarlyFrames> = Mutex::new("early frames", EarlyFrames::none());

/// Chooses a piece of so many frames.
///
/// # Panics
/// If there is none.
pub(super) fn init(plan: &Plan<'_>, frames: u64) {
    let piece = plan.early_frames(frames);
    *EARLY.lock() = piece.unwrap_or_else(|| panic!("no {frames} frames in a row for page tables"));
}

/// What is left and right of a hole in a range.
pub(super) fn without(range: PfnRange, hole: PfnRange) -> impl Iterator<Item = PfnRange> + Clone {
    let hole = if hole.is_empty() { PfnRange::new(range.end, range.end) } else { hole };
    let pieces =
        [PfnRange::new(range.start, range.end.min(hole.start)), PfnRange::new(range.start.max(hole.end), range.end)];
    pieces.into_iter().filter(|piece| !piece.is_empty())
}

/// Takes so many frames in a row. `None` if there are no more, or the allocator has all of them by now.
pub(super) fn take(frames: u64) -> Option<PfnRange> {
    EARLY.lock().take(frames)
}

/// Frames for page tables: the allocator's, and these while there is none.
pub(super) struct TableFrames;

// SAFETY: each frame is taken once, of what is usable, here or from the allocator, which is told what was taken here.
unsafe impl FrameAllocator<Size4KiB> for TableFrames {
    fn allocate_frame(&mut self) -> Option<PhysFrame> {
        match MEMORY.try_frames() {
            Some(mut frames) => frames.allocate_frame(),
            None => take(1).map(|taken| PhysFrame::containing_address(PhysAddr::new(taken.start.address()))),
        }
    }
}

/// Whether a frame was taken here, and not handed over yet.
pub(super) fn has_taken(pfn: Pfn) -> bool {
    EARLY.lock().taken().contains(pfn)
}

/// Tells the allocator what was taken, before it gives anything out. There is nothing to be had here from now on.
///
/// # Panics
/// If the allocator does not have the frames.
pub(super) fn hand_over(frames: &PageAllocator<'_, Processor>) {
    let early = mem::take(&mut *EARLY.lock());
    let taken = frames.hand_over(early).unwrap_or_else(|error| panic!("early frames: {error}"));
    // Page tables and metadata are for good.
    let _ = taken.map(bifolio::frame::Blocks::into_raw);
}
