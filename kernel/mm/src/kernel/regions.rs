//! The machine's memory map, gathered piece by piece.

use core::ops::Range;

use super::InitError;
use crate::frame::Profile;
use crate::memory_map::{MemoryMap, Region, RegionKind};

/// A memory map with room for `N` regions, in any order; they may overlap, and the more restrictive kind wins.
#[derive(Clone, Debug)]
pub struct Regions<const N: usize> {
    profile: Profile,
    entries: [Region; N],
    /// How many there are, those that there was no room for among them.
    given: usize,
}

impl<const N: usize> Regions<N> {
    /// No region yet, of a machine of the kind that this is compiled for.
    pub const fn new() -> Self {
        Self::of(Profile::NATIVE)
    }

    /// No region yet, of a machine of this kind.
    pub const fn of(profile: Profile) -> Self {
        Self { profile, entries: [Region { start: 0, end: 0, kind: RegionKind::Reserved }; N], given: 0 }
    }

    /// Adds a region. If there is no room for it, [`Kernel::init`](super::Kernel::init) says so.
    pub fn push(&mut self, region: Region) {
        if let Some(entry) = self.entries.get_mut(self.given) {
            *entry = region;
        }
        self.given += 1;
    }

    /// Gives the allocator these bytes, in whole frames: RAM, for a kernel that knows by itself where that is.
    pub fn usable(&mut self, bytes: Range<u64>) {
        if bytes.start < bytes.end {
            self.push(Region { start: bytes.start, end: bytes.end, kind: RegionKind::Usable });
        }
    }

    /// Keeps these bytes from the allocator, with every frame that they have a part of, whatever else is said of them: the kernel's
    /// image, an initial RAM disk, a framebuffer.
    pub fn reserve(&mut self, bytes: Range<u64>) {
        if bytes.start < bytes.end {
            self.push(Region { start: bytes.start, end: bytes.end, kind: RegionKind::Reserved });
        }
    }

    /// What the machine has, for a kernel that sees a physical address at `offset` bytes behind it. What it would see at address 0 is kept
    /// from the allocator: nothing can be there for a pointer.
    ///
    /// # Errors
    /// [`InitError::TooManyRegions`] if there was no room for some of them, [`InitError::Setup`] if nothing is usable.
    pub fn map(&mut self, offset: u64) -> Result<MemoryMap<'_>, InitError> {
        let null = 0_u64.wrapping_sub(offset);
        if self.entries.iter().take(self.given).any(|region| region.start <= null && null < region.end) {
            self.reserve(null..null.saturating_add(1));
        }
        let given = self.given;
        let entries = self.entries.get_mut(..given).ok_or(InitError::TooManyRegions { given, room: N })?;
        Ok(MemoryMap::sanitise_for(self.profile, entries)?)
    }
}

impl<const N: usize> Default for Regions<N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const N: usize, R: Into<Region>> Extend<R> for Regions<N> {
    fn extend<I: IntoIterator<Item = R>>(&mut self, regions: I) {
        regions.into_iter().for_each(|region| self.push(region.into()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_be_seen_at_address_0_is_kept() {
        let ram = Region { start: 0, end: 64 << 20, kind: RegionKind::Usable };
        let usable = |offset, start: u64| {
            let mut regions = Regions::<2>::of(Profile::MICROCONTROLLER);
            regions.extend([Region { start, ..ram }]);
            let map = regions.map(offset).unwrap();
            map.frames(RegionKind::Usable)
        };
        assert_eq!(usable(0, 0), (64 << 8) - 1);
        assert_eq!(usable(0, 1 << 20), 63 << 8, "there is nothing to keep");
        assert_eq!(usable(0_u64.wrapping_sub(32 << 20), 0), (64 << 8) - 1);
        assert_eq!(usable(0xffff_8000_0000_0000, 0), 64 << 8);
    }
}
