//! Page frames before there is an allocator (Linux: `memblock`): for the page tables that its metadata is mapped by.

use super::{Cpu, PageAllocator, Plan};
use crate::error::RangeError;
use crate::frame::{Blocks, Gfp, Pfn, PfnRange, ZoneKind};

/// A piece of usable memory, which is taken from its end on. What was taken is the allocator's first allocation: nothing has to be
/// cut out of the memory map.
///
/// ```
/// use bifolio::allocator::{PageAllocator, Plan};
/// use bifolio::memory_map::{MemoryMap, Region, RegionKind};
/// # type Machine = bifolio::kernel::Uniprocessor<bifolio::kernel::NoInterrupts>;
///
/// # fn main() -> Result<(), Box<dyn core::error::Error>> {
/// let mut firmware = [Region { start: 0, end: 64 << 20, kind: RegionKind::Usable }];
/// let plan = Plan::new(MemoryMap::sanitise(&mut firmware)?)?;
/// let mut early = plan.early_frames(100).ok_or("there are not so many in a row")?;
/// let table = early.take(1).ok_or("no page table")?; // and more of them, until `plan.metadata()` is mapped
/// # let mut metadata = vec![0; plan.metadata_words()];
/// // SAFETY: here the frames are numbers; in a kernel nobody uses what its map calls usable, but for early frames.
/// let frames = unsafe { PageAllocator::<Machine>::new(&plan, &mut metadata, &[]) }?;
/// let tables = frames.hand_over(early)?; // before anything else is allocated
/// assert_eq!(frames.usage().used, 1);
/// # assert_eq!(tables.map(|blocks| blocks.range()), Some(table));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Default)]
pub struct EarlyFrames {
    left: PfnRange,
    taken: PfnRange,
}

impl Plan<'_> {
    /// The end of the highest usable range that has so many frames in one zone, beside the metadata; `None` if there is no such
    /// range.
    pub fn early_frames(&self, frames: u64) -> Option<EarlyFrames> {
        let usable = ZoneKind::ALL.into_iter().flat_map(|kind| self.usable(kind));
        let left = usable.filter(|range| range.frames() >= frames).last()?;
        Some(EarlyFrames { left, taken: PfnRange::new(left.end, left.end) })
    }
}

impl EarlyFrames {
    /// None at all.
    pub const fn none() -> Self {
        const NONE: PfnRange = PfnRange::new(Pfn::new(0), Pfn::new(0));
        Self { left: NONE, taken: NONE }
    }

    /// Takes so many frames in a row, which lie just below those that were taken before. `None` if there are no more.
    pub fn take(&mut self, frames: u64) -> Option<PfnRange> {
        if self.left.frames() < frames {
            return None;
        }
        let start = Pfn::new(self.left.end.number() - frames);
        let taken = PfnRange::new(start, self.left.end);
        (self.left.end, self.taken.start) = (start, start);
        Some(taken)
    }

    /// All that was taken.
    pub fn taken(&self) -> PfnRange {
        self.taken
    }
}

impl<C: Cpu> PageAllocator<'_, C> {
    /// Has the frames that were taken early be allocated, as the [largest blocks](PfnRange::blocks) that make them up; `None` if
    /// there are none. They are unmovable. For an allocator that was set up by the same plan, before it gives anything out.
    ///
    /// # Errors
    /// [`RangeError`] if any of them is not free.
    pub fn hand_over(&self, early: EarlyFrames) -> Result<Option<Blocks>, RangeError> {
        let taken = early.taken();
        if taken.is_empty() { Ok(None) } else { self.allocate_range(taken, Gfp::KERNEL).map(Some) }
    }
}
