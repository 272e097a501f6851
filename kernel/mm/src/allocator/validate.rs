//! The invariants of zones and CPUs' pages, checked from outside of every path that keeps them.

use super::{Cpu, PerCpuPages, View};
use crate::error::Violation;
use crate::frame::ZoneKind;

impl<C: Cpu> View<'_, C> {
    /// Checks every invariant of every zone against the bit planes, and what CPUs' pages hold against the zones: a walk over
    /// all pageblocks.
    ///
    /// All CPUs' pages are stopped while they are checked, so that other CPUs take the zones' locks meanwhile. If another CPU
    /// empties them at that moment, only the zones are checked. Not to be called with interrupts masked.
    ///
    /// # Errors
    /// The first [`Violation`].
    pub fn validate(&self) -> Result<(), Violation> {
        ZoneKind::ALL.into_iter().try_for_each(|kind| self.with(kind, |zone| zone.validate()))?;
        let Some(_alone) = self.draining.try_lock() else { return Ok(()) };
        PerCpuPages::stopping::<C, _>(self.arenas, || {
            ZoneKind::ALL.into_iter().try_for_each(|kind| self.validate_arenas(kind))
        })
    }

    /// Checks that each word which arenas have of a zone is in one arena only, and holds there what the zone has given.
    fn validate_arenas(&self, kind: ZoneKind) -> Result<(), Violation> {
        let of_zone = |(zone, batch)| (zone == kind).then_some(batch);
        self.with(kind, |zone| {
            let loans = self.arenas.iter().flat_map(PerCpuPages::loans).filter_map(of_zone);
            let returns = self.arenas.iter().flat_map(PerCpuPages::returning).filter_map(of_zone);
            zone.validate_arenas(loans, returns)
        })
    }
}
