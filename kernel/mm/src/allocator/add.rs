//! Memory that comes later: what the map called reclaimable, and nothing else.
//!
//! A frame that was not usable at set-up looks like any other that is not for the allocator to give out: firmware's, a
//! hole's, a device's. So which may be added is kept beside the zones, two words a range; a machine has one range or two.

use super::record::done;
use super::{Call, Cpu, PageAllocator, set_marks};
use crate::error::AddError;
use crate::frame::{Pfn, PfnRange, ZoneKind};

/// The ranges that may be added, ascending, each as the numbers of its first frame and of the one behind its last. None
/// touches another.
pub(super) struct Later<'m>(&'m [[u64; 2]]);

impl<'m> Later<'m> {
    /// Words of metadata for each range.
    pub(super) const WORDS: usize = 2;

    /// Keeps the ranges, which are maximal and ascend, in this memory.
    pub(super) fn new(ranges: impl Iterator<Item = PfnRange>, memory: &'m mut [u64]) -> Self {
        let slots: &mut [[u64; Later::WORDS]] = bytemuck::cast_slice_mut(memory);
        for (slot, range) in slots.iter_mut().zip(ranges) {
            *slot = [range.start.number(), range.end.number()];
        }
        Self(slots)
    }

    /// Checks that all frames of the range may be added.
    ///
    /// # Errors
    /// [`AddError`], naming the first frame that may not.
    fn check(&self, range: PfnRange) -> Result<(), AddError> {
        let behind = self.0.partition_point(|[start, _]| *start <= range.start.number());
        let end = behind.checked_sub(1).map_or(Pfn::default(), |before| Pfn::new(self.0[before][1]));
        if range.end <= end { Ok(()) } else { Err(AddError::NotReclaimable(end.max(range.start))) }
    }
}

impl<C: Cpu> PageAllocator<'_, C> {
    /// Gives the allocator frames that the map called [reclaimable](crate::memory_map::RegionKind::AcpiReclaimable) and
    /// that are free now, such as those of ACPI tables that have been read: all of them, or some at a time.
    ///
    /// # Errors
    /// [`AddError`] if there are none, or any of them is not where the plan had RAM, was given before, holds the
    /// allocator's metadata, or was not reclaimable; the allocator is unchanged.
    ///
    /// # Safety
    /// Nobody uses these frames any more.
    pub unsafe fn add(&self, range: PfnRange) -> Result<(), AddError> {
        self.recorded(Call::Add(range), done, || self.add_later(range))
    }

    /// What [`add`](Self::add) records. As there, nobody uses these frames any more.
    fn add_later(&self, range: PfnRange) -> Result<(), AddError> {
        if range.is_empty() {
            return Err(AddError::NoFrames);
        }
        let own = range.intersection(self.metadata);
        if !own.is_empty() {
            return Err(AddError::Overlaps(own.start));
        }
        if range.end > self.profile.range(ZoneKind::Normal).end {
            return Err(AddError::NotPlanned(range));
        }
        C::without_interrupts(|| {
            let [dma, dma32, normal] = &self.zones;
            let mut zones = [dma.lock(), dma32.lock(), normal.lock()];
            for kind in ZoneKind::ALL {
                zones[kind.index()].check_addable(range.intersection(self.profile.range(kind)))?;
            }
            self.later.check(range)?;
            for kind in ZoneKind::ALL {
                zones[kind.index()].add(range.intersection(self.profile.range(kind)))?;
            }
            set_marks(&mut zones.each_mut().map(|zone| &mut **zone));
            Ok(())
        })
    }
}
