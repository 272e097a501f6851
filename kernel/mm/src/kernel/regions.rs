//! The machine's memory map, gathered piece by piece.

use core::ops::Range;

use super::InitError;
use crate::memory_map::{Region, RegionKind};

/// A memory map with room for `N` regions, in any order; they may overlap, and the more restrictive kind wins.
#[derive(Clone, Debug)]
pub struct Regions<const N: usize> {
    entries: [Region; N],
    /// How many there are, those that there was no room for among them.
    given: usize,
}

impl<const N: usize> Regions<N> {
    /// No region yet.
    pub const fn new() -> Self {
        Self { entries: [Region { start: 0, end: 0, kind: RegionKind::Reserved }; N], given: 0 }
    }

    /// Adds a region. If there is no room for it, [`Kernel::init`](super::Kernel::init) says so.
    pub fn push(&mut self, region: Region) {
        if let Some(entry) = self.entries.get_mut(self.given) {
            *entry = region;
        }
        self.given += 1;
    }

    /// Keeps these bytes from the allocator, with every frame that they have a part of, whatever else is said of them: the kernel's
    /// image, an initial RAM disk, a framebuffer.
    pub fn reserve(&mut self, bytes: Range<u64>) {
        if bytes.start < bytes.end {
            self.push(Region { start: bytes.start, end: bytes.end, kind: RegionKind::Reserved });
        }
    }

    /// All of them.
    ///
    /// # Errors
    /// There was no room for some.
    pub(super) fn entries(&mut self) -> Result<&mut [Region], InitError> {
        let given = self.given;
        self.entries.get_mut(..given).ok_or(InitError::TooManyRegions { given, room: N })
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
