//! Memory that comes later: what the map called reclaimable, and nothing else.
//!
//! A frame that was not usable at set-up looks like any other that is not for the allocator to give out: firmware's, a
//! hole's, a device's. So which may be added is kept beside the zones, two words a range; a machine has one range or two.

use super::record::done;
use super::{Call, Cpu, PageAllocator, set_marks};
use crate::error::AddError;
use crate::frame::{Pfn, PfnRange, ZoneKind};

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
            let behind = self.later.partition_point(|[start, _]| *start <= range.start.number());
            let end = behind.checked_sub(1).map_or(Pfn::default(), |before| Pfn::new(self.later[before][1]));
            if range.end > end {
                return Err(AddError::NotReclaimable(end.max(range.start)));
            }
            for kind in ZoneKind::ALL {
                zones[kind.index()].add(range.intersection(self.profile.range(kind)))?;
            }
            set_marks(&mut zones.each_mut().map(|zone| &mut **zone));
            Ok(())
        })
    }
}
