//! A zone: the pageblocks of one class of memory, and which of them to allocate from.
//!
//! The truth is the pageblocks' bit planes. Everything else here follows from them: the summaries say what a pageblock
//! holds, the index says which pageblock to look in. A request goes to the pageblock whose largest free block is the
//! smallest sufficient one, so that whole pageblocks stay whole as long as anything else will do.
//!
//! No allocation or free loops over frames, pageblocks or lists: only over orders, the words of one pageblock, the
//! levels of the index, and, by bisection, the zone's few [`Span`]s.

mod blocks;
mod index;
mod levels;
mod mobility;
mod pageblock;
mod span;
mod validate;
mod watermark;

pub use blocks::{Block, BlockState};
pub(crate) use span::{Extent, Span, spans};
pub use watermark::{Watermarks, min_free_kib, protection};

use crate::error::{AddError, FreeError};
use crate::frame::{Mobility, Order, PAGEBLOCK_FRAMES, Pfn, PfnRange, ZoneKind};
use index::{Bucket, Index};
use pageblock::{Pageblock, Planes, Summary, Unity};

/// How a zone stands, in frames.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ZoneStats {
    /// Which zone.
    pub kind: ZoneKind,
    /// The zone's first frame of RAM; 0 in an empty zone.
    pub start: Pfn,
    /// Frames from the first of RAM to the last, holes included.
    pub spanned: u64,
    /// Frames of RAM.
    pub present: u64,
    /// Frames that were given to the allocator.
    pub managed: u64,
    /// Frames that are free.
    pub free: u64,
    /// Free blocks, by mobility and order.
    pub blocks: [[u64; Order::COUNT]; Mobility::COUNT],
    /// Pageblocks that hold managed frames, by mobility.
    pub pageblocks: [u64; Mobility::COUNT],
    /// The zone's watermarks.
    pub watermarks: Watermarks,
    /// Frames kept from a request that could use each zone, by that zone (Linux: `lowmem_reserve`).
    pub protection: [u64; ZoneKind::COUNT],
}

/// One zone's state. Its memory is borrowed for as long as the allocator lives; it never touches the frames.
pub(crate) struct Zone<'m> {
    kind: ZoneKind,
    extent: Extent,
    spans: &'m [Span],
    summaries: &'m mut [Summary],
    planes: &'m mut [Planes],
    index: Index<'m>,
    managed: u64,
    free: u64,
    pub watermarks: Watermarks,
    pub protection: [u64; ZoneKind::COUNT],
}

impl<'m> Zone<'m> {
    /// Words of metadata that a zone with this much memory needs.
    pub fn words_for(extent: &Extent) -> usize {
        let per_pageblock = size_of::<Planes>() + size_of::<Summary>();
        (extent.pageblocks * per_pageblock + extent.spans * size_of::<Span>()) / size_of::<u64>()
            + Index::words_for(extent.pageblocks)
    }

    /// A zone in which every frame is reserved, over the first [`Zone::words_for`] words of `metadata`, and the rest
    /// of the words. What the words held before does not matter.
    pub fn new(
        kind: ZoneKind,
        extent: Extent,
        memory: impl Iterator<Item = Span>,
        metadata: &'m mut [u64],
    ) -> (Self, &'m mut [u64]) {
        let words = |bytes: usize| bytes / size_of::<u64>();
        let (planes, rest) = metadata.split_at_mut(extent.pageblocks * words(size_of::<Planes>()));
        let (summaries, rest) = rest.split_at_mut(extent.pageblocks * words(size_of::<Summary>()));
        let (spans, rest) = rest.split_at_mut(extent.spans * words(size_of::<Span>()));
        let (index, rest) = rest.split_at_mut(Index::words_for(extent.pageblocks));

        let summaries: &mut [Summary] = bytemuck::cast_slice_mut(summaries);
        summaries.fill(Summary::reserved());
        let spans: &mut [Span] = bytemuck::cast_slice_mut(spans);
        for (slot, span) in spans.iter_mut().zip(memory) {
            *slot = span;
        }
        let zone = Self {
            kind,
            extent,
            spans,
            summaries,
            planes: bytemuck::cast_slice_mut(planes),
            index: Index::new(extent.pageblocks, index),
            managed: 0,
            free: 0,
            watermarks: Watermarks::default(),
            protection: [0; ZoneKind::COUNT],
        };
        (zone, rest)
    }

    /// Frames that were given to the allocator.
    pub fn managed(&self) -> u64 {
        self.managed
    }

    /// Frames that are free.
    pub fn free_frames(&self) -> u64 {
        self.free
    }

    /// The pageblock that a frame is in, and the frame's offset there; `None` where there is no RAM.
    fn locate(&self, pfn: Pfn) -> Option<(usize, u32)> {
        let behind = self.spans.partition_point(|span| span.start() <= pfn);
        let span = self.spans.get(behind.checked_sub(1)?)?;
        let distance = pfn.number() - span.start().number();
        let pageblock = (distance / PAGEBLOCK_FRAMES) as usize;
        (pageblock < span.pageblocks()).then(|| (span.first() + pageblock, (distance % PAGEBLOCK_FRAMES) as u32))
    }

    /// The first frame of a pageblock.
    fn start_of(&self, pageblock: usize) -> Pfn {
        let span = &self.spans[self.spans.partition_point(|span| span.first() <= pageblock) - 1];
        span.start()
            .offset((pageblock - span.first()) as u64 * PAGEBLOCK_FRAMES)
    }

    fn pageblock(&mut self, pageblock: usize) -> Pageblock<'_> {
        Pageblock {
            summary: &mut self.summaries[pageblock],
            planes: &mut self.planes[pageblock],
        }
    }

    /// The bucket that the pageblock is in, if any: the upper half of a free block of order 10 is in none.
    fn bucket(&self, pageblock: usize) -> Option<Bucket> {
        let summary = &self.summaries[pageblock];
        let order = summary.largest()?;
        (order < Order::MAX || is_lower_half(pageblock)).then(|| Bucket {
            mobility: summary.mobility(),
            order,
        })
    }

    /// Moves the pageblock from the bucket that it was in to the one it belongs into now.
    fn reindex(&mut self, pageblock: usize, before: Option<Bucket>) {
        let after = self.bucket(pageblock);
        if before != after {
            if let Some(bucket) = before {
                self.index.remove(bucket, pageblock);
            }
            if let Some(bucket) = after {
                self.index.insert(bucket, pageblock);
            }
        }
    }

    /// Changes one pageblock, and with it its place in the index.
    fn change<R>(&mut self, pageblock: usize, change: impl FnOnce(&mut Pageblock<'_>) -> R) -> R {
        let before = self.bucket(pageblock);
        let result = change(&mut self.pageblock(pageblock));
        self.reindex(pageblock, before);
        result
    }

    /// Makes the two halves of a free block of order 10 blocks of order 9.
    fn split_pair(&mut self, pageblock: usize) {
        for half in [pageblock & !1, pageblock | 1] {
            self.change(half, |half| half.summary.unite(Unity::Free, Some(Order::PAGEBLOCK)));
        }
    }

    /// Makes a pageblock that became free one block of order 10 with its buddy, if that is free too.
    ///
    /// The buddy takes over the pageblock's mobility, as in Linux, so that a block has one.
    fn merge_pair(&mut self, pageblock: usize) {
        let free = |pageblock: usize| self.summaries[pageblock].unity() == Unity::Free;
        if free(pageblock) && free(pageblock ^ 1) {
            let mobility = self.summaries[pageblock].mobility();
            for half in [pageblock & !1, pageblock | 1] {
                self.change(half, |half| {
                    half.summary.set_mobility(mobility);
                    half.summary.unite(Unity::Free, Some(Order::MAX));
                });
            }
        }
    }

    /// Takes a block of `order` from a pageblock that has room for it; its first frame.
    fn take(&mut self, pageblock: usize, order: Order) -> Pfn {
        self.free -= order.frames();
        let start = self.start_of(pageblock);
        if order == Order::MAX {
            for (half, unity) in [(pageblock, Unity::LowerHalf), (pageblock | 1, Unity::UpperHalf)] {
                self.change(half, |half| half.summary.unite(unity, None));
            }
            return start;
        }
        if self.summaries[pageblock].largest() == Some(Order::MAX) {
            self.split_pair(pageblock);
        }
        start.offset(self.change(pageblock, |pageblock| pageblock.allocate(order)).into())
    }

    /// Allocates a block of `order` for contents of this mobility: from its own pageblocks, else by taking over one
    /// of another kind's, else out of one. `None` if no block is large enough.
    pub fn allocate(&mut self, order: Order, mobility: Mobility) -> Option<Pfn> {
        let own = self
            .index
            .smallest_sufficient(mobility, order)
            .map(|order| Bucket { mobility, order });
        let bucket = match own {
            Some(bucket) => bucket,
            None => self.fall_back(order, mobility)?,
        };
        Some(self.take(self.index.lowest(bucket), order))
    }

    /// Frees the block of `order` that starts at `pfn`, merging it with its buddy as long as the buddy is free.
    ///
    /// # Errors
    /// [`FreeError`] if no such block starts there; the zone is unchanged.
    pub fn free(&mut self, pfn: Pfn, order: Order) -> Result<(), FreeError> {
        let (pageblock, offset) = self.locate(pfn).ok_or(FreeError::NotManaged(pfn))?;
        let start = self.start_of(pageblock);
        if order == Order::MAX {
            let actual = self.order_of(pfn)?;
            if actual != order {
                return Err(FreeError::WrongOrder {
                    pfn,
                    given: order,
                    actual,
                });
            }
            for half in [pageblock, pageblock | 1] {
                self.change(half, |half| half.summary.unite(Unity::Free, Some(Order::PAGEBLOCK)));
            }
        } else {
            self.change(pageblock, |pageblock| pageblock.free(start, offset, order))?;
        }
        self.free += order.frames();
        self.merge_pair(pageblock);
        Ok(())
    }

    /// The order of the allocated block that starts at `pfn`.
    ///
    /// # Errors
    /// [`FreeError`], saying what is there instead.
    pub fn order_of(&mut self, pfn: Pfn) -> Result<Order, FreeError> {
        let (pageblock, offset) = self.locate(pfn).ok_or(FreeError::NotManaged(pfn))?;
        let start = self.start_of(pageblock);
        self.pageblock(pageblock).order_of(start, offset)
    }

    /// Checks that frames lie in the zone's spans and are reserved, so that they can be added.
    ///
    /// # Errors
    /// [`AddError`], saying which frame is not.
    pub fn check_addable(&mut self, range: PfnRange) -> Result<(), AddError> {
        self.for_each_part(range, |zone, pageblock, from, to| {
            let start = zone.start_of(pageblock);
            let error = |offset: u32| AddError::Overlaps(start.offset(offset.into()));
            zone.pageblock(pageblock).check_reserved(from, to).map_err(error)
        })
    }

    /// Gives reserved frames to the zone. This is set-up, and loops over the pageblocks of the range.
    ///
    /// # Errors
    /// [`AddError`] if any of the frames is not in a span or was given before; the zone is unchanged.
    pub fn add(&mut self, range: PfnRange) -> Result<(), AddError> {
        self.check_addable(range)?;
        self.for_each_part(range, |zone, pageblock, from, to| {
            zone.change(pageblock, |pageblock| pageblock.add(from, to));
            zone.merge_pair(pageblock);
            Ok(())
        })?;
        self.managed += range.frames();
        self.free += range.frames();
        Ok(())
    }

    /// Visits the pageblocks of a range, with the offsets of the range's first frame there and the one behind its last.
    fn for_each_part(
        &mut self,
        range: PfnRange,
        mut visit: impl FnMut(&mut Self, usize, u32, u32) -> Result<(), AddError>,
    ) -> Result<(), AddError> {
        let mut pfn = range.start;
        while pfn < range.end {
            let (pageblock, from) = self.locate(pfn).ok_or(AddError::NotPlanned(range))?;
            let to = (u64::from(from) + range.end.number() - pfn.number()).min(PAGEBLOCK_FRAMES) as u32;
            visit(self, pageblock, from, to)?;
            pfn = pfn.offset((to - from).into());
        }
        Ok(())
    }

    /// How the zone stands. The counts of blocks come from a walk over the pageblocks: for reports, not for hot paths.
    pub fn stats(&self) -> ZoneStats {
        let mut stats = ZoneStats {
            kind: self.kind,
            start: self.extent.start,
            spanned: self.extent.spanned,
            present: self.extent.present,
            managed: self.managed,
            free: self.free,
            blocks: Default::default(),
            pageblocks: Default::default(),
            watermarks: self.watermarks,
            protection: self.protection,
        };
        for block in self.blocks().filter(|block| block.state == BlockState::Free) {
            stats.blocks[block.mobility.index()][block.order.index()] += 1;
        }
        for summary in self
            .summaries
            .iter()
            .filter(|summary| summary.unity() != Unity::Reserved)
        {
            stats.pageblocks[summary.mobility().index()] += 1;
        }
        stats
    }
}

/// Whether the pageblock is the lower half of what would be a block of order 10. Spans start at even pageblocks.
fn is_lower_half(pageblock: usize) -> bool {
    pageblock.is_multiple_of(2)
}
