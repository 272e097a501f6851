//! What firmware says of physical memory, made fit to be believed.
//!
//! Maps arrive unsorted, overlapping, with empty entries, with frame 0 called usable, with holes of terabytes and with
//! entries that wrap around the end of the address space. [`MemoryMap::sanitise`] turns such a list into one in which
//! every frame has exactly one kind, and whose usable frames can be handed out without a second thought:
//!
//! - entries are sorted and merged before anything is rounded, so that two usable entries that meet inside a frame
//!   lose nothing;
//! - where entries overlap, the more restrictive kind wins;
//! - memory that is usable, now or later, is rounded inward to whole frames, everything else outward. A frame that ACPI
//!   data has only a part of is reserved: not even its whole is free one day;
//! - where the [profile](Profile) has low memory, as on x86_64 the first MiB, that is reserved, whatever the firmware says: it holds
//!   the BIOS data and the place where other processors start;
//! - an entry that cannot be true costs no more than itself: see [`Fault`]. Only a map that leaves no usable frame at all
//!   is refused.
//!
//! It works in the caller's buffer and needs no other memory, because it runs before there is any, and is done in
//! `O(n log n)` for `n` entries, whatever they are.

mod fault;
mod sweep;

use core::fmt;

pub use fault::{Defect, Fault};

use crate::error::SetupError;
use crate::frame::{PfnRange, Profile};

/// What a region of physical memory may be used for, least restrictive first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[expect(clippy::exhaustive_enums, reason = "what writes a map down names each")]
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
#[expect(clippy::exhaustive_structs, reason = "callers make them")]
pub struct Region {
    /// The physical address of the region's first byte.
    pub start: u64,
    /// The physical address of the first byte behind the region.
    pub end: u64,
    /// What the region may be used for.
    pub kind: RegionKind,
}

/// A memory map in which every frame has one kind.
#[derive(Clone, Copy, Debug)]
pub struct MemoryMap<'a> {
    /// As they were given, but sorted by start. They may overlap, and not all can be true: the ranges are derived from
    /// them, so that no space is needed for the pieces that an overlap leaves, nor to remember what was wrong.
    regions: &'a [Region],
    profile: Profile,
}

impl<'a> MemoryMap<'a> {
    /// Sorts the entries of an x86_64 machine's map in place, and believes of them what can be true.
    ///
    /// # Errors
    /// [`SetupError::NothingUsable`], if it is so.
    pub fn sanitise(raw: &'a mut [Region]) -> Result<Self, SetupError> {
        Self::sanitise_for(Profile::X86_64, raw)
    }

    /// [`sanitise`](Self::sanitise), for a machine of any kind.
    ///
    /// # Errors
    /// [`SetupError::NothingUsable`], if it is so.
    pub fn sanitise_for(profile: Profile, raw: &'a mut [Region]) -> Result<Self, SetupError> {
        raw.sort_unstable_by_key(|region| region.start);
        let map = Self { regions: raw, profile };
        map.ranges(RegionKind::Usable).next().map(|_| map).ok_or(SetupError::NothingUsable)
    }

    /// The kind of machine that it is the map of.
    pub fn profile(&self) -> Profile {
        self.profile
    }

    /// The entries that cannot be true, by their start, each with what became of it.
    ///
    /// ```
    /// use bifolio::memory_map::{Defect, MemoryMap, Region, RegionKind};
    ///
    /// // Up to the end of the address space, whose address is 2^64.
    /// let reserved = Region { start: 0xfd_0000_0000, end: 0, kind: RegionKind::Reserved };
    /// let mut entries = [reserved, Region { start: 0, end: 64 << 20, kind: RegionKind::Usable }];
    /// let map = MemoryMap::sanitise(&mut entries)?;
    /// let fault = map.faults().next().ok_or("the first entry cannot be true")?;
    /// assert_eq!((fault.entry, fault.defect), (reserved, Defect::WrapsAround));
    /// assert_eq!(map.frames(RegionKind::Usable), 63 << 8);
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    pub fn faults(&self) -> impl Iterator<Item = Fault> + Clone + use<'a> {
        self.regions.iter().filter_map(Region::fault)
    }

    /// Every frame that has a kind, as maximal ranges of one kind each, in ascending order.
    ///
    /// What no entry speaks of, or only in part, is in no range, and is not RAM. A walk looks at every entry a few times,
    /// however many there are.
    pub fn iter(&self) -> impl Iterator<Item = (PfnRange, RegionKind)> + Clone + use<'a> {
        sweep::ranges(self.regions, self.profile.low_memory())
    }

    /// The frames of one kind, as maximal ranges in ascending order.
    ///
    /// No frame is in the ranges of two kinds. Reserved frames are those that an entry calls so, those that ACPI data has
    /// only a part of, and [low memory](Profile::low_memory).
    pub fn ranges(&self, kind: RegionKind) -> impl Iterator<Item = PfnRange> + Clone + use<'a> {
        self.iter().filter(move |(_, other)| *other == kind).map(|(range, _)| range)
    }

    /// The frames that are RAM, usable now or once the ACPI tables were read, in ascending order.
    pub fn ram(&self) -> impl Iterator<Item = PfnRange> + Clone + use<'a> {
        self.iter().filter(|(_, kind)| *kind != RegionKind::Reserved).map(|(range, _)| range)
    }

    /// How many frames are of this kind.
    pub fn frames(&self, kind: RegionKind) -> u64 {
        self.ranges(kind).map(PfnRange::frames).sum()
    }
}
