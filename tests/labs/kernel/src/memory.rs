//! The frames that a piece is given: real ones, with a hole and odd ends.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::ptr::NonNull;

use bifolio::frame::{Gfp, Order};
use kernel::memory::frames;
use kernel::memory::paging::to_virtual;
use labs::lab::Lab;
use labs::layout::{Layout, ONE_ZONE};
use labs::{Frame, Zone};
use x86_64::PhysAddr;

/// Frames that the memory spans, from a multiple of the largest block on.
const FRAMES: u64 = 4096;
/// Words in a frame.
const WORDS: usize = 512;

/// Memory of this machine, in as many zones as the lab has. It is the piece's for as long as the kernel runs.
///
/// # Panics
/// There is none left.
pub fn layout(lab: &Lab) -> Layout {
    let align = Order::MAX.frames();
    let run = frames().allocate_contiguous(FRAMES + align, Gfp::KERNEL).expect("the kernel has memory left");
    let start = run.into_raw().start.number().next_multiple_of(align);
    if lab.layouts[0].zones.len() == 1 {
        let ranges = [start + 3..start + 1500, start + 1531..start + FRAMES - 5];
        return Layout { ranges: Box::leak(Vec::from(ranges).into_boxed_slice()), zones: ONE_ZONE };
    }
    let (low, high) = (start + align, start + 2 * align);
    let ranges = [start + 3..low - 1, low..high - 1, high..start + FRAMES - 5];
    let zone = |end, reserve| Zone { end, min: 32, low: 48, reserve };
    let zones = [zone(low, 128), zone(high, 64), zone(Frame::MAX, 0)];
    Layout {
        ranges: Box::leak(Vec::from(ranges).into_boxed_slice()),
        zones: Box::leak(Vec::from(zones).into_boxed_slice()),
    }
}

/// The first word and the last of a frame, by which it is seen whose the frame is.
pub fn marks(layout: &Layout, frame: Frame) -> Option<[NonNull<u64>; 2]> {
    let is_of_it = layout.ranges.iter().any(|range| range.contains(&frame));
    let start = to_virtual(PhysAddr::try_new(frame.checked_mul(4096)?).ok()?).as_mut_ptr::<u64>();
    let start = NonNull::new(start).filter(|_| is_of_it)?;
    // SAFETY: a frame has so many words.
    Some([start, unsafe { start.add(WORDS - 1) }])
}
