//! The frames that a piece is given: real ones, with a hole and odd ends.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::ptr::NonNull;

use bifolio::frame::{Gfp, Order};
use kernel::memory::frames;
use kernel::memory::paging::to_virtual;
use labs::Frame;
use labs::layout::Layout;
use x86_64::PhysAddr;

/// Frames that the memory spans, from a multiple of the largest block on.
const FRAMES: u64 = 4096;
/// Words in a frame.
const WORDS: usize = 512;

/// Memory of this machine. It is the piece's for as long as the kernel runs.
///
/// # Panics
/// There is none left.
pub fn layout() -> Layout {
    let align = Order::MAX.frames();
    let run = frames().allocate_contiguous(FRAMES + align, Gfp::KERNEL).expect("the kernel has memory left");
    let start = run.into_raw().start.number().next_multiple_of(align);
    let ranges = [start + 3..start + 1500, start + 1531..start + FRAMES - 5];
    Layout { ranges: Box::leak(Vec::from(ranges).into_boxed_slice()) }
}

/// The first word and the last of a frame, by which it is seen whose the frame is.
pub fn marks(layout: &Layout, frame: Frame) -> Option<[NonNull<u64>; 2]> {
    let is_of_it = layout.ranges.iter().any(|range| range.contains(&frame));
    let start = to_virtual(PhysAddr::try_new(frame.checked_mul(4096)?).ok()?).as_mut_ptr::<u64>();
    let start = NonNull::new(start).filter(|_| is_of_it)?;
    // SAFETY: a frame has so many words.
    Some([start, unsafe { start.add(WORDS - 1) }])
}
