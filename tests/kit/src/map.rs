//! What a memory map says of a frame, found by asking every byte of it that could differ.

use alloc::vec::Vec;

use bifolio::memory_map::{Region, RegionKind};

/// The first byte that cannot be addressed.
pub const LIMIT: u64 = 1 << 52;

/// Bytes at the bottom of an x86_64 machine that nobody gets.
const LOW: u64 = 1 << 20;
const FRAME: u64 = 4096;

/// What an entry has to say of memory: nothing if it is empty; that it is reserved from its start on if its end makes no
/// sense, unless it would give memory.
fn meant(entry: &Region) -> Option<Region> {
    match *entry {
        entry if entry.start == entry.end => None,
        entry if entry.start < entry.end && entry.end <= LIMIT => Some(entry),
        entry if entry.kind == RegionKind::Usable => None,
        entry => Some(Region { end: u64::MAX, kind: RegionKind::Reserved, ..entry }),
    }
}

/// The kind of a frame, below [`LIMIT`], by these entries of an x86_64 machine, which may be in any order; `None` if it is not RAM, nor
/// anything else.
pub fn kind_of(regions: &[Region], frame: u64) -> Option<RegionKind> {
    use RegionKind::{AcpiReclaimable, Reserved, Usable};
    let (start, end) = (frame * FRAME, (frame + 1) * FRAME);
    if end <= LOW {
        return Some(Reserved);
    }
    let here = |entry: &Region| meant(entry).filter(|entry| entry.start < end && start < entry.end);
    let here: Vec<Region> = regions.iter().filter_map(here).collect();
    let touches = |kind| here.iter().any(|entry| entry.kind == kind);
    let fills = |kind| {
        let edges = here.iter().flat_map(|entry| [entry.start, entry.end]).filter(|edge| (start..end).contains(edge));
        let covered =
            |byte: u64| here.iter().any(|entry| entry.kind == kind && entry.start <= byte && byte < entry.end);
        edges.chain([start]).all(covered)
    };
    if touches(Reserved) {
        return Some(Reserved);
    }
    if touches(AcpiReclaimable) {
        return Some(if fills(AcpiReclaimable) { AcpiReclaimable } else { Reserved });
    }
    fills(Usable).then_some(Usable)
}
