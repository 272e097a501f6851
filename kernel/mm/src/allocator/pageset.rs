//! What each CPU's pages have of each zone: a pageset, in the words of Linux.

use super::{Cpu, PerCpuPages, View};
use crate::buddy::WORD_FRAMES;
use crate::frame::ZoneKind;

/// What one CPU's pages have of one zone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Pageset {
    /// The CPU's number.
    pub cpu: usize,
    /// Frames of the zone that they hold.
    pub count: u64,
    /// Frames that they can hold, of all zones together.
    pub high: u64,
    /// Frames that they take at once: a word, or what is free of one.
    pub batch: u64,
}

impl<C: Cpu> View<'_, C> {
    /// What each CPU's pages have of a zone. A snapshot: the CPUs go on meanwhile.
    pub fn pagesets(&self, kind: ZoneKind) -> impl Iterator<Item = Pageset> {
        self.pages.iter().enumerate().map(move |(cpu, pages)| {
            let held = pages.held().filter(|(_, pfn)| self.zone_of(*pfn) == kind);
            let count = held.map(|(order, _)| order.frames()).sum();
            Pageset { cpu, count, high: PerCpuPages::CAPACITY, batch: WORD_FRAMES.into() }
        })
    }
}
