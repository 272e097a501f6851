//! A page-frame allocator in the plainest possible words, to hold the real one against.
//!
//! It shares no code with what it checks but the vocabulary of frames: one state a frame, blocks found by asking every
//! aligned candidate, nothing derived and nothing fast.

use std::collections::{BTreeMap, BTreeSet};

use bifolio::allocator::{BlockState, Cpu, PageAllocator, PerCpuPages, Plan};
use bifolio::error::FreeError;
use bifolio::frame::{Order, Pfn, PfnRange, ZoneKind};
pub use bifolio::heap::SingleCpu;
use bifolio::memory_map::{MemoryMap, Region, RegionKind};

use crate::over_numbers;

/// A usable region, in frames.
pub fn usable(start: u64, end: u64) -> Region {
    Region { start: start * 4096, end: end * 4096, kind: RegionKind::Usable }
}

/// An allocator over a map, without a CPU's own pages. Its metadata is leaked: a test is over soon.
pub fn allocator(regions: &[Region]) -> PageAllocator<'static, SingleCpu> {
    allocator_with(regions, &[])
}

/// An allocator over a map, with a CPU's own pages.
pub fn allocator_with_pages(regions: &[Region]) -> PageAllocator<'static, SingleCpu> {
    allocator_with(regions, Box::leak(Box::new([PerCpuPages::new()])))
}

/// An allocator over a map, for any kind of processor.
pub fn allocator_with<C: Cpu>(regions: &[Region], pages: &'static [PerCpuPages]) -> PageAllocator<'static, C> {
    let mut regions = regions.to_vec();
    let map = MemoryMap::sanitise(&mut regions).expect("the map is sound");
    let plan = Plan::new(map).expect("the map has room for the metadata");
    // What the memory held before must not matter.
    let metadata = Box::leak(vec![0xdead_beef_dead_beef; plan.metadata_words()].into_boxed_slice());
    over_numbers(&plan, metadata, pages).expect("the metadata has the planned size")
}

/// A block, as far as the oracle cares: first frame, order, state.
pub type Seen = (u64, u8, BlockState);

/// Every block of every zone, but the reserved ones.
pub fn blocks(frames: &PageAllocator<'_, SingleCpu>) -> BTreeSet<Seen> {
    let mut seen = BTreeSet::new();
    for kind in ZoneKind::ALL {
        frames.for_each_block(kind, |block| {
            if block.state != BlockState::Reserved {
                assert!(seen.insert((block.pfn.number(), block.order.get(), block.state)), "{block:?} twice");
            }
        });
    }
    seen
}

/// What is allocated, and what is managed at all.
pub struct Oracle {
    managed: BTreeSet<u64>,
    allocated: BTreeMap<u64, u8>,
    /// Pageblocks, by number.
    isolated: BTreeSet<u64>,
}

impl Oracle {
    /// Takes over what is free in a fresh allocator: the usable frames of the map but for the metadata.
    pub fn new(regions: &[Region], metadata: PfnRange) -> Self {
        let whole = |region: &Region| region.start.div_ceil(4096)..region.end / 4096;
        let managed = regions
            .iter()
            .filter(|region| region.kind == RegionKind::Usable)
            .flat_map(whole)
            .filter(|frame| *frame >= 256 && !metadata.contains(Pfn::new(*frame)))
            .collect();
        Self { managed, allocated: BTreeMap::new(), isolated: BTreeSet::new() }
    }

    fn owner(&self, frame: u64) -> Option<(u64, u8)> {
        let (head, order) = self.allocated.range(..=frame).next_back()?;
        (frame < head + (1 << order)).then_some((*head, *order))
    }

    /// Whether the frame is free, for anybody to allocate.
    pub fn is_free(&self, frame: u64) -> bool {
        self.managed.contains(&frame) && self.owner(frame).is_none() && !self.is_isolated(frame)
    }

    /// Whether the frame's pageblock is isolated.
    pub fn is_isolated(&self, frame: u64) -> bool {
        self.isolated.contains(&(frame / 512))
    }

    /// Isolates a frame's pageblock, or ends that. Says whether it was isolated before.
    pub fn set_isolated(&mut self, frame: u64, isolated: bool) -> bool {
        if isolated { !self.isolated.insert(frame / 512) } else { self.isolated.remove(&(frame / 512)) }
    }

    /// How many frames are managed, not allocated, and isolated.
    pub fn isolated_frames(&self) -> u64 {
        let free = |frame: &&u64| self.is_isolated(**frame) && self.owner(**frame).is_none();
        self.managed.iter().filter(free).count() as u64
    }

    /// Whether all these frames lie in one zone, and are free.
    pub fn is_free_range(&self, range: PfnRange) -> bool {
        let zone = ZoneKind::of(range.start);
        (range.start.number()..range.end.number())
            .all(|frame| ZoneKind::of(Pfn::new(frame)) == zone && self.is_free(frame))
    }

    /// The first free frames in a row, so many, in a zone up to `highest`.
    pub fn free_run(&self, frames: u64, alignment: u64, highest: ZoneKind) -> Option<u64> {
        let within = |frame: &&u64| ZoneKind::of(Pfn::new(**frame)) <= highest && frame.is_multiple_of(alignment);
        let run = |frame: &&u64| self.is_free_range(PfnRange::new(Pfn::new(**frame), Pfn::new(**frame + frames)));
        self.managed.iter().filter(within).find(run).copied()
    }

    /// Takes note of a range that was allocated, as the largest blocks that make it up.
    pub fn take_range(&mut self, range: PfnRange, highest: ZoneKind) {
        let mut start = range.start.number();
        while start < range.end.number() {
            let fits = |order: &u8| start.is_multiple_of(1 << order) && start + (1 << order) <= range.end.number();
            let order = (0..=Order::MAX.get()).filter(fits).max().unwrap();
            self.take(Pfn::new(start), Order::new(order).unwrap(), highest);
            start += 1 << order;
        }
    }

    /// Takes note of a block that was split.
    pub fn cut(&mut self, pfn: Pfn, into: Order) {
        let order = self.allocated.remove(&pfn.number()).expect("an allocated block starts here");
        let pieces = (0..1u64 << (order - into.get())).map(|nth| (pfn.number() + (nth << into.get()), into.get()));
        self.allocated.extend(pieces);
    }

    fn is_free_block(&self, start: u64, order: u8) -> bool {
        let zone = ZoneKind::of(Pfn::new(start)).range();
        start.is_multiple_of(1 << order)
            && (start..start + (1 << order)).all(|frame| zone.contains(Pfn::new(frame)) && self.is_free(frame))
    }

    /// Whether a zone up to `highest` has a free block of this order.
    pub fn could_serve(&self, order: u8, highest: ZoneKind) -> bool {
        let within = |frame: &u64| ZoneKind::of(Pfn::new(*frame)) <= highest;
        self.managed.iter().copied().filter(within).any(|frame| self.is_free_block(frame, order))
    }

    /// Takes note of a block that was allocated.
    pub fn take(&mut self, pfn: Pfn, order: Order, highest: ZoneKind) {
        let (start, order) = (pfn.number(), order.get());
        assert!(ZoneKind::of(pfn) <= highest, "{pfn} lies above zone {highest}");
        assert!(self.is_free_block(start, order), "order {order} at {pfn} is not a free block");
        self.allocated.insert(start, order);
    }

    /// What freeing must say.
    pub fn give(&mut self, pfn: Pfn, given: Order) -> Result<(), FreeError> {
        let frame = pfn.number();
        let order = |order| Order::new(order).unwrap();
        if !self.managed.contains(&frame) {
            return Err(FreeError::Reserved(pfn));
        }
        match self.owner(frame) {
            None => Err(FreeError::AlreadyFree(pfn)),
            Some((head, actual)) if head != frame => {
                Err(FreeError::Interior { pfn, head: Pfn::new(head), order: order(actual) })
            }
            Some((_, actual)) if actual != given.get() => {
                Err(FreeError::WrongOrder { pfn, given, actual: order(actual) })
            }
            Some(_) => {
                self.allocated.remove(&frame);
                Ok(())
            }
        }
    }

    /// The blocks that there must be: the allocated ones, and every maximal free one.
    pub fn blocks(&self) -> BTreeSet<Seen> {
        let allocated = self.allocated.iter().map(|(start, order)| (*start, *order, BlockState::Allocated));
        let mut blocks: BTreeSet<Seen> = allocated.collect();
        for frame in &self.managed {
            for order in 0..=Order::MAX.get() {
                let parent = frame & !(1 << order);
                let merged = order < Order::MAX.get() && self.is_free_block(parent, order + 1);
                if self.is_free_block(*frame, order) && !merged {
                    blocks.insert((*frame, order, BlockState::Free));
                }
            }
        }
        blocks
    }

    /// The allocated blocks, lowest first.
    pub fn allocated(&self) -> impl Iterator<Item = (Pfn, Order)> + '_ {
        self.allocated.iter().map(|(start, order)| (Pfn::new(*start), Order::new(*order).unwrap()))
    }

    /// Frames that are not allocated, isolated or not.
    pub fn free_frames(&self) -> u64 {
        self.managed.len() as u64 - self.allocated.values().map(|order| 1 << order).sum::<u64>()
    }
}
