//! The frames that a piece is given: real ones, with a hole and odd ends.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering};

use bifolio::frame::{Gfp, Order};
use kernel::memory::frames;
use kernel::memory::paging::to_virtual;
use kernel::sync::Mutex;
use labs::lab::Lab;
use labs::layout::{Layout, ONE_ZONE};
use labs::{Frame, Zone};
use x86_64::PhysAddr;

/// The first of the frames that pieces are given, one piece after another.
static GIVEN: Mutex<Option<Frame>> = Mutex::new("given frames", None);
/// So many there are, as many as any lab has.
const FRAMES: u64 = 4096;

/// Memory of this machine, in as many zones as the lab has. It is the piece's until the next one has it.
///
/// # Panics
/// There is none left.
pub fn layout(lab: &Lab) -> Layout {
    let (align, span) = (Order::MAX.frames(), lab.booted_frames.min(FRAMES));
    let given = *GIVEN.lock();
    // Not with the lock held: a search for so many frames in a row may have to wait for other CPUs.
    let start = given.unwrap_or_else(|| {
        let run = frames().allocate_contiguous(FRAMES + align, Gfp::KERNEL).expect("the kernel has memory left");
        run.into_raw().start.number().next_multiple_of(align)
    });
    *GIVEN.lock() = Some(start);
    if lab.layouts[0].zones.len() == 1 {
        let hole = start + span * 3 / 8;
        let ranges = [start + 3..hole - 36, hole - 5..start + span - 5];
        return Layout { ranges: Box::leak(Vec::from(ranges).into_boxed_slice()), zones: ONE_ZONE };
    }
    let (low, high) = (start + align, start + 2 * align);
    let ranges = [start + 3..low - 1, low..high - 1, high..start + span - 5];
    let zone = |end, reserve| Zone { end, min: 32, low: 48, reserve };
    let zones = [zone(low, 128), zone(high, 64), zone(Frame::MAX, 0)];
    Layout {
        ranges: Box::leak(Vec::from(ranges).into_boxed_slice()),
        zones: Box::leak(Vec::from(zones).into_boxed_slice()),
    }
}

/// In place of a mark: nobody has what is there.
pub const NOBODY: u64 = 0;
/// Bytes of a frame.
const FRAME: u64 = 4096;
/// Bytes of a mark.
const MARK: u64 = 8;

/// The word at an address, if that is in this memory.
fn word(layout: &Layout, address: u64) -> Option<NonNull<u64>> {
    let frame = address / FRAME;
    let is_of_it = layout.ranges.iter().any(|range| range.contains(&frame)) && address.is_multiple_of(MARK);
    let start = to_virtual(PhysAddr::try_new(address).ok()?).as_mut_ptr::<u64>();
    NonNull::new(start).filter(|_| is_of_it)
}

/// Has nobody have anything.
pub fn clear(layout: &Layout) {
    for start in layout.ranges.iter().cloned().flatten().filter_map(|frame| word(layout, frame * FRAME)) {
        // SAFETY: so many words are the whole of a frame that this crate has from the kernel's allocator, and that nobody else
        // looks at. All bytes of a word that nobody has are 0.
        unsafe { start.as_ptr().write_bytes(NOBODY as u8, (FRAME / MARK) as usize) };
    }
}

/// Writes a mark into the first and the last word of some memory, of each frame of it where it is larger. `complain` is told what was
/// there before, `None` if it is no memory of this layout.
///
/// # Errors
/// What `complain` says.
pub fn replace(
    layout: &Layout,
    address: u64,
    bytes: u64,
    mark: u64,
    complain: impl Fn(Option<u64>) -> Option<String>,
) -> Result<(), String> {
    for start in (address..address.saturating_add(bytes)).step_by(FRAME as usize) {
        let length = FRAME.min(address + bytes - start);
        let last = start + (length - MARK) / MARK * MARK;
        for place in [Some(start), (last > start).then_some(last)].into_iter().flatten() {
            // SAFETY: the place is in a frame that this crate has from the kernel's allocator. Where a piece hands something out
            // twice, two CPUs may come here at once: the word is replaced as a whole.
            let swap =
                |place: NonNull<u64>| unsafe { AtomicU64::from_ptr(place.as_ptr()) }.swap(mark, Ordering::AcqRel);
            complain(word(layout, place).map(swap)).map_or(Ok(()), Err)?;
        }
    }
    Ok(())
}
