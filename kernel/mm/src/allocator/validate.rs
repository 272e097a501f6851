//! The invariants of zones and CPUs' pages, checked from outside of every path that keeps them.

use super::{Cpu, View};
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
        self.stopping(|| {
            ZoneKind::ALL.into_iter().try_for_each(|kind| self.with(kind, |zone| zone.validate_per_cpu(self.pages)))
        })
    }
}
