//! What each CPU's arena has of each zone, in the words of Linux, where it is a pageset.

use super::{Cpu, PageAllocator};
use crate::buddy::WORD_FRAMES;
use crate::frame::ZoneKind;
use crate::per_cpu::PerCpuPages;

/// What one CPU's arena has of one zone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pageset {
    /// The CPU's number.
    pub cpu: usize,
    /// Frames of the zone that the arena holds.
    pub count: u64,
    /// Frames that it can hold, of all zones together.
    pub high: u64,
    /// Frames that it takes at once: a word, or what is free of one.
    pub batch: u64,
}

impl<C: Cpu> PageAllocator<'_, C> {
    /// What each CPU's arena has of a zone. A snapshot: the CPUs go on meanwhile.
    pub fn pagesets(&self, kind: ZoneKind) -> impl Iterator<Item = Pageset> {
        self.pages.iter().enumerate().map(move |(cpu, pages)| {
            let held = pages.held().filter(|(_, pfn)| ZoneKind::of(*pfn) == kind);
            let count = held.map(|(order, _)| order.frames()).sum();
            Pageset { cpu, count, high: PerCpuPages::CAPACITY, batch: WORD_FRAMES.into() }
        })
    }
}
