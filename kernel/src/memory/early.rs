//! Page frames before there is an allocator (Linux: `memblock`): a piece of usable memory, taken from its end on. What was taken
//! is the allocator's first allocation, so that nothing has to be cut out of the memory map.

use crate::sync::{Mutex, Processor};
use bifolio::allocator::{PageAllocator, Plan};
use bifolio::frame::{Gfp, Pfn, PfnRange, ZoneKind};
use bifolio::memory_map::{MemoryMap, RegionKind};

/// The piece: what is left of it, and what was taken.
struct Early {
    left: PfnRange,
    taken: PfnRange,
}

static EARLY: Mutex<Early> = Mutex::new("early frames", Early { left: NONE, taken: NONE });
const NONE: PfnRange = PfnRange::new(Pfn::new(0), Pfn::new(0));

/// Chooses a piece of so many frames: the end of the highest usable range that has them in one zone, beside the allocator's
/// metadata.
///
/// # Panics
/// If there is none.
pub(super) fn init(plan: &Plan<'_>, map: &MemoryMap<'_>, frames: u64) {
    let metadata = plan.metadata();
    let usable = map.ranges(RegionKind::Usable).flat_map(|range| without(range, metadata));
    let in_zones = usable.flat_map(|range| ZoneKind::ALL.map(|kind| range.intersection(map.profile().range(kind))));
    let piece = in_zones.filter(|range| range.frames() >= frames).max_by_key(|range| range.end);
    let piece = piece.unwrap_or_else(|| panic!("no {frames} frames in a row for page tables"));
    *EARLY.lock() = Early { left: piece, taken: PfnRange::new(piece.end, piece.end) };
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
    let mut early = EARLY.lock();
    if early.left.frames() < frames {
        return None;
    }
    let end = early.left.end;
    let taken = PfnRange::new(Pfn::new(end.number() - frames), end);
    early.left.end = taken.start;
    early.taken.start = taken.start;
    Some(taken)
}

/// Whether a frame was taken here.
pub(super) fn has_taken(pfn: Pfn) -> bool {
    EARLY.lock().taken.contains(pfn)
}

/// Tells the allocator what was taken, before it gives anything out. There is nothing to be had here from now on.
///
/// # Panics
/// If the allocator does not have the frames.
pub(super) fn hand_over(frames: &PageAllocator<'_, Processor>) {
    let taken = {
        let mut early = EARLY.lock();
        early.left = NONE;
        early.taken
    };
    let taken = frames.allocate_range(taken, Gfp::KERNEL).unwrap_or_else(|error| panic!("early frames: {error}"));
    // Page tables and metadata are for good.
    let _ = taken.into_raw();
}
