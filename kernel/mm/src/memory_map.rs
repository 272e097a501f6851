//! What firmware says of physical memory, made fit to be believed.
//!
//! Maps arrive unsorted, overlapping, with empty entries, with frame 0 called usable, with holes of terabytes and with
//! entries that wrap around the end of the address space. [`MemoryMap::sanitise`] turns such a list into one in which
//! every frame has exactly one kind, and whose usable frames can be handed out without a second thought:
//!
//! - entries are sorted and merged before anything is rounded, so that two usable entries that meet inside a frame
//!   lose nothing;
//! - where entries overlap, the more restrictive kind wins;
//! - usable memory is rounded inward to whole frames, everything else outward;
//! - the first MiB is reserved, whatever the firmware says: it holds the BIOS data and the place where other
//!   processors start;
//! - what wraps around, or claims memory beyond what the architecture can address, is refused with an error that
//!   names the entry.
//!
//! It works in the caller's buffer and needs no other memory, because it runs before there is any.

use core::fmt;

use crate::frame::{FRAME_SIZE, PHYSICAL_LIMIT, Pfn, PfnRange};

/// The end, in bytes, of the memory that is kept from the allocator on every machine: the first MiB.
pub const LOW_MEMORY_END: u64 = 1 << 20;

/// What a region of physical memory may be used for, least restrictive first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum RegionKind {
    /// RAM that nobody uses.
    Usable,
    /// RAM that holds ACPI tables, and becomes usable once they have been read.
    AcpiReclaimable,
    /// Everything else: in use, not RAM, broken, or of a kind that is not known.
    Reserved,
}

impl RegionKind {
    /// The kinds, least restrictive first.
    pub const ALL: [Self; 3] = [Self::Usable, Self::AcpiReclaimable, Self::Reserved];
}

impl fmt::Display for RegionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Usable => "usable",
            Self::AcpiReclaimable => "ACPI reclaimable",
            Self::Reserved => "reserved",
        })
    }
}

/// One entry of a memory map: the bytes from `start` up to, but not including, `end`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Region {
    /// The physical address of the region's first byte.
    pub start: u64,
    /// The physical address of the first byte behind the region.
    pub end: u64,
    /// What the region may be used for.
    pub kind: RegionKind,
}

/// Why a memory map was refused. The machine cannot be trusted with any of it then.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MapError {
    /// The entry ends before it starts: its length wraps around the address space.
    WrapsAround(Region),
    /// The entry calls memory usable that lies beyond [`PHYSICAL_LIMIT`].
    BeyondPhysicalLimit(Region),
    /// No whole frame is usable.
    NothingUsable,
}

impl fmt::Display for MapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WrapsAround(r) => {
                write!(f, "memory map: the {} entry at {:#x} wraps around to {:#x}", r.kind, r.start, r.end)
            }
            Self::BeyondPhysicalLimit(r) => write!(
                f,
                "memory map: the {} entry {:#x}..{:#x} lies beyond the {PHYSICAL_LIMIT:#x} bytes that can be addressed",
                r.kind, r.start, r.end
            ),
            Self::NothingUsable => write!(f, "memory map: no usable frame above the first MiB"),
        }
    }
}

impl core::error::Error for MapError {}

/// A memory map in which every frame has one kind.
#[derive(Clone, Copy, Debug)]
pub struct MemoryMap<'a> {
    /// Sorted by start; none is empty, wraps, or is usable beyond the limit. They may still overlap: the ranges are
    /// derived from them, so that no space is needed for the pieces that an overlap leaves.
    regions: &'a [Region],
}

impl<'a> MemoryMap<'a> {
    /// Sorts the entries in place and checks them.
    ///
    /// # Errors
    /// [`MapError`], when an entry cannot be true or nothing is usable.
    pub fn sanitise(raw: &'a mut [Region]) -> Result<Self, MapError> {
        for region in raw.iter() {
            if region.end < region.start {
                return Err(MapError::WrapsAround(*region));
            }
            if region.kind != RegionKind::Reserved && region.end > PHYSICAL_LIMIT {
                return Err(MapError::BeyondPhysicalLimit(*region));
            }
        }
        raw.sort_unstable_by_key(|region| (region.start, region.end));
        let map = Self { regions: raw };
        if map.ranges(RegionKind::Usable).next().is_none() {
            return Err(MapError::NothingUsable);
        }
        Ok(map)
    }

    /// The frames of one kind, as maximal ranges in ascending order.
    ///
    /// No frame is in the ranges of two kinds. Reserved frames are those that an entry calls so, and the first MiB;
    /// what no entry speaks of is in no range, and is not RAM.
    pub fn ranges(&self, kind: RegionKind) -> impl Iterator<Item = PfnRange> + Clone + use<'a> {
        Ranges { regions: self.regions, kind, position: 0 }
    }

    /// The frames that are RAM, usable now or once the ACPI tables were read, in ascending order.
    pub fn ram(&self) -> impl Iterator<Item = PfnRange> + Clone + use<'a> {
        let mut usable = self.ranges(RegionKind::Usable).peekable();
        let mut acpi = self.ranges(RegionKind::AcpiReclaimable).peekable();
        core::iter::from_fn(move || match (usable.peek(), acpi.peek()) {
            (Some(first), Some(second)) if second.start < first.start => acpi.next(),
            (Some(_), _) => usable.next(),
            (None, _) => acpi.next(),
        })
    }

    /// How many frames are of this kind.
    pub fn frames(&self, kind: RegionKind) -> u64 {
        self.ranges(kind).map(PfnRange::frames).sum()
    }
}

/// Walks the frames of one kind.
///
/// Each step is a pass over the sorted entries from the start, so a whole walk is quadratic in their number. That is
/// a few hundred at most, and it is what makes the map need no memory of its own.
#[derive(Clone)]
struct Ranges<'a> {
    regions: &'a [Region],
    kind: RegionKind,
    /// Everything below this address has been dealt with, in bytes.
    position: u64,
}

impl Ranges<'_> {
    /// The first maximal stretch of bytes, from `from` upwards, that entries of the `wanted` kinds cover between them.
    fn covered(&self, from: u64, wanted: impl Fn(RegionKind) -> bool) -> Option<(u64, u64)> {
        let low = Region { start: 0, end: LOW_MEMORY_END, kind: RegionKind::Reserved };
        let mut stretch: Option<(u64, u64)> = None;
        for region in core::iter::once(&low).chain(self.regions) {
            let (start, end) = match region.kind {
                RegionKind::Usable => (region.start, region.end),
                _ => (frame_floor(region.start), frame_ceil(region.end)),
            };
            if !wanted(region.kind) || region.start == region.end || end <= from {
                continue;
            }
            stretch = match stretch {
                None => Some((start.max(from), end)),
                Some((first, last)) if start <= last => Some((first, last.max(end))),
                Some(_) => break,
            };
        }
        stretch
    }
}

impl Iterator for Ranges<'_> {
    type Item = PfnRange;

    fn next(&mut self) -> Option<PfnRange> {
        loop {
            let (start, mut end) = self.covered(self.position, |kind| kind == self.kind)?;
            self.position = end;
            if let Some((cut, resume)) = self.covered(start, |kind| kind > self.kind)
                && cut < end
            {
                end = cut;
                self.position = resume;
            }
            let range = PfnRange::new(Pfn::containing(frame_ceil(start)), Pfn::containing(frame_floor(end)));
            if !range.is_empty() {
                return Some(range);
            }
        }
    }
}

/// The address rounded down to a frame, and to what can be addressed at all.
fn frame_floor(address: u64) -> u64 {
    address.min(PHYSICAL_LIMIT) & !(FRAME_SIZE - 1)
}

/// The address rounded up to a frame, but not beyond what can be addressed at all.
fn frame_ceil(address: u64) -> u64 {
    address.min(PHYSICAL_LIMIT).next_multiple_of(FRAME_SIZE)
}
