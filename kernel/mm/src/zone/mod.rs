//! A zone: the pageblocks of one class of memory, and which of them to allocate from.
//!
//! The truth is the two bits of each frame. Everything else here follows from them: the summaries say what a pageblock
//! holds, the index says which pageblock to look in. A request goes to the pageblock whose largest free block is the
//! smallest sufficient one, so that whole pageblocks stay whole as long as anything else will do.
//!
//! No allocation or free loops over frames, pageblocks or lists: only over orders, the words of one pageblock, the
//! levels of the index, and, by bisection, the zone's few spans of RAM.

mod add;
mod blocks;
mod fragmentation;
mod free;
mod highatomic;
mod index;
mod isolate;
mod levels;
mod loan;
mod mobility;
mod pageblock;
mod resize;
mod span;
mod split;
mod states;
mod validate;
#[cfg(test)]
mod violations;
mod watermark;
mod whole;

pub use blocks::{BlockInfo, BlockState};
pub(crate) use loan::Lent;
pub use mobility::{Fallback, Fallbacks};
pub(crate) use span::{Extent, Span, spans};
pub use watermark::{Watermarks, min_free_kib, protection};

use crate::frame::{Mobility, Order, Pfn, ZoneKind};
use index::{Bucket, Index};
use pageblock::{Key, Pageblock, Summary};
pub(crate) use states::{Shared, States};
use states::{Unity, WORDS};

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
    /// Frames that are free, those that are kept for pressing requests among them.
    pub free: u64,
    /// Frames that are free in isolated pageblocks, and that nobody can allocate.
    pub isolated: u64,
    /// Free frames in HighAtomic pageblocks, which are for pressing requests.
    pub free_highatomic: u64,
    /// Frames of HighAtomic pageblocks.
    pub reserved_highatomic: u64,
    /// Frames that have left the zone since boot: allocated, or lent to an arena. What an arena hands out and takes back
    /// in between is not seen here.
    pub allocated: u64,
    /// Frames that have come back to the zone since boot.
    pub freed: u64,
    /// The zone's watermarks.
    pub watermarks: Watermarks,
    /// Frames kept from a request that could use each zone, by that zone (Linux: `lowmem_reserve`).
    pub protection: [u64; ZoneKind::COUNT],
    /// How often requests were served from pageblocks of another mobility.
    pub fallbacks: Fallbacks,
}

/// What a zone's free memory is in pieces of.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FreeBlocks {
    /// Free blocks, by mobility and order.
    pub blocks: [[u64; Order::COUNT]; Mobility::COUNT],
    /// Pageblocks that hold managed frames, by mobility.
    pub pageblocks: [u64; Mobility::COUNT],
}

impl FreeBlocks {
    /// Free blocks of this order, of any mobility.
    pub fn of(&self, order: Order) -> u64 {
        saturating_sum(self.blocks.iter().map(|blocks| blocks[order.index()]))
    }
}

/// The sum of what anybody may have written down.
fn saturating_sum(numbers: impl Iterator<Item = u64>) -> u64 {
    numbers.fold(0, u64::saturating_add)
}

/// One zone's state. Its memory is borrowed for as long as the allocator lives; it never touches the frames.
pub(crate) struct Zone<'m> {
    kind: ZoneKind,
    extent: Extent,
    states: States<'m>,
    summaries: &'m mut [Summary],
    index: Index<'m>,
    managed: u64,
    free: u64,
    /// Frames that were freed into words on loan.
    waiting: u64,
    special: Special,
    pub watermarks: Watermarks,
    pub protection: [u64; ZoneKind::COUNT],
}

/// What a zone counts beside its free frames.
#[derive(Default)]
struct Special {
    /// Free frames in isolated pageblocks, which are not among the zone's free frames.
    isolated: u64,
    /// Free frames in pageblocks that are kept for pressing requests, which are.
    free_highatomic: u64,
    /// Frames of those pageblocks.
    reserved_highatomic: u64,
    /// Frames that were ever allocated or lent.
    allocated: u64,
    fallbacks: Fallbacks,
}

/// A word of a zone: 64 frames, numbered through the zone's pageblocks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct WordNumber(pub u64);

impl WordNumber {
    #[inline]
    pub fn new(pageblock: usize, word: usize) -> Self {
        Self((pageblock * WORDS + word) as u64)
    }

    /// The pageblock that the word is in, and its place there.
    #[inline]
    fn place(self) -> (usize, usize) {
        (self.0 as usize / WORDS, self.0 as usize % WORDS)
    }
}

/// Blocks of one order, smaller than a word, in one word: what a zone lends or takes back together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Batch {
    pub word: WordNumber,
    pub order: Order,
    /// The first frame of each block, a bit each.
    pub heads: u64,
}

impl<'m> Zone<'m> {
    /// Words of metadata that only the zone reads.
    pub fn private_words(extent: &Extent) -> usize {
        let bytes = extent.pageblocks * size_of::<Summary>() + extent.spans * size_of::<Span>();
        bytes / size_of::<u64>() + Index::words_for(extent.pageblocks)
    }

    /// A zone in which every frame is reserved, over [`Zone::private_words`] words of metadata and what
    /// [`States`] need. What the memory held before does not matter.
    pub fn new(
        kind: ZoneKind,
        extent: Extent,
        memory: impl Iterator<Item = Span>,
        private: &'m mut [u64],
        shared: Shared<'m>,
    ) -> Self {
        let words = |bytes: usize| bytes / size_of::<u64>();
        let (summaries, rest) = private.split_at_mut(extent.pageblocks * words(size_of::<Summary>()));
        let (spans, index) = rest.split_at_mut(extent.spans * words(size_of::<Span>()));

        let summaries: &mut [Summary] = bytemuck::cast_slice_mut(summaries);
        summaries.fill(Summary::reserved());
        let spans: &mut [Span] = bytemuck::cast_slice_mut(spans);
        for (slot, span) in spans.iter_mut().zip(memory) {
            *slot = span;
        }
        Self {
            kind,
            extent,
            states: States::new(spans, extent.pageblocks, shared),
            summaries,
            index: Index::new(extent.pageblocks, index),
            managed: 0,
            free: 0,
            waiting: 0,
            special: Special::default(),
            watermarks: Watermarks::default(),
            protection: [0; ZoneKind::COUNT],
        }
    }

    /// The states of the zone's frames, to be read without its lock.
    pub fn states(&self) -> States<'m> {
        self.states
    }

    /// Which zone it is.
    pub fn kind(&self) -> ZoneKind {
        self.kind
    }

    /// Frames that were given to the allocator.
    pub fn managed(&self) -> u64 {
        self.managed
    }

    /// Frames that are free, for any request to take.
    pub fn free_frames(&self) -> u64 {
        self.free - self.special.free_highatomic
    }

    /// Counts frames of a pageblock that became free.
    #[inline]
    fn count_free(&mut self, pageblock: usize, frames: u64) {
        if self.summaries[pageblock].key().is_ordinary() {
            self.free += frames;
        } else {
            self.count_special(pageblock, frames);
        }
    }

    #[cold]
    fn count_special(&mut self, pageblock: usize, frames: u64) {
        if self.summaries[pageblock].mobility() == Mobility::Isolate {
            self.special.isolated += frames;
        } else {
            self.free += frames;
            self.special.free_highatomic += frames;
        }
    }

    #[inline]
    fn pageblock(&mut self, number: usize) -> Pageblock<'_, 'm> {
        Pageblock { number, summary: &mut self.summaries[number], states: &self.states }
    }

    /// Changes one pageblock, and with it its place in the index.
    #[inline]
    fn change<R>(&mut self, pageblock: usize, change: impl FnOnce(&mut Pageblock<'_, 'm>) -> R) -> R {
        let before = self.summaries[pageblock].key();
        let result = change(&mut self.pageblock(pageblock));
        if self.summaries[pageblock].key() != before {
            self.reindex(pageblock, before);
        }
        result
    }

    /// Moves a pageblock from the bucket that it was in to the one that it belongs into now.
    #[inline(never)]
    fn reindex(&mut self, pageblock: usize, before: Key) {
        let after = self.summaries[pageblock].key();
        if before.largest().max(after.largest()) >= Some(Order::PAGEBLOCK) {
            return self.reindex_whole(pageblock, before, after);
        }
        if let Some(order) = before.largest() {
            self.index.remove(Bucket { mobility: before.mobility(), order }, pageblock);
        }
        if let Some(order) = after.largest() {
            self.index.insert(Bucket { mobility: after.mobility(), order }, pageblock);
        }
    }

    /// Takes a block of `order` from a pageblock that has room for it; its first frame.
    #[inline]
    fn take(&mut self, pageblock: usize, order: Order) -> Pfn {
        self.free -= order.frames();
        self.special.allocated += order.frames();
        let start = self.states.start_of(pageblock);
        if order >= Order::PAGEBLOCK {
            self.take_whole(pageblock, order);
            return start;
        }
        start.offset(self.change(pageblock, |pageblock| pageblock.allocate(order)).into())
    }

    /// Finds a pageblock for a block of `order`: one of the request's own mobility, else one taken over from another
    /// kind, else one of another kind. `None` if no block is large enough.
    #[inline]
    fn find(&mut self, order: Order, mobility: Mobility) -> Option<usize> {
        let bucket = match self.index.smallest_sufficient(mobility, order) {
            Some(order) => Bucket { mobility, order },
            None => self.fall_back(order, mobility)?,
        };
        Some(self.index.lowest(bucket))
    }

    /// Allocates a block of `order` for contents of this mobility. `None` if no block is large enough.
    pub fn allocate(&mut self, order: Order, mobility: Mobility) -> Option<Pfn> {
        let pageblock = self.find(order, mobility)?;
        Some(self.take(pageblock, order))
    }

    /// How the zone stands.
    pub fn stats(&self) -> ZoneStats {
        ZoneStats {
            kind: self.kind,
            start: self.extent.start,
            spanned: self.extent.spanned,
            present: self.extent.present,
            managed: self.managed,
            free: self.free,
            watermarks: self.watermarks,
            protection: self.protection,
            isolated: self.special.isolated,
            free_highatomic: self.special.free_highatomic,
            reserved_highatomic: self.special.reserved_highatomic,
            allocated: self.special.allocated,
            // What was allocated and is not any more.
            freed: self.special.allocated + self.free + self.special.isolated + self.waiting - self.managed,
            fallbacks: self.special.fallbacks,
        }
    }

    /// What the free memory is in pieces of: a walk over the pageblocks, for reports.
    pub fn free_blocks(&self) -> FreeBlocks {
        let mut count = FreeBlocks::default();
        for (pageblock, summary) in self.summaries.iter().enumerate() {
            if self.states.unity(pageblock) == Unity::Reserved {
                continue;
            }
            let mobility = summary.mobility().index();
            count.pageblocks[mobility] += 1;
            for block in self.blocks_of(pageblock).filter(|block| block.state == BlockState::Free) {
                count.blocks[mobility][block.order.index()] += 1;
            }
        }
        count
    }
}

/// The bucket that a pageblock is in, if any: the upper half of a free block of order 10 is in none.
fn bucket(pageblock: usize, key: Key) -> Option<Bucket> {
    let order = key.largest()?;
    (order < Order::MAX || is_lower_half(pageblock)).then(|| Bucket { mobility: key.mobility(), order })
}

/// Whether the pageblock is the lower half of what would be a block of order 10. Spans start at even pageblocks.
fn is_lower_half(pageblock: usize) -> bool {
    pageblock.is_multiple_of(2)
}
