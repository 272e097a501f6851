//! Where a zone has RAM, so that metadata follows RAM and never the address span.
//!
//! Real maps have RAM below 2 GiB and again from 1 TiB up, with nothing between. A [`Span`] is a stretch of pageblocks
//! without a large hole; a zone has a handful. Pageblocks are numbered through the spans of their zone.

use crate::frame::{Order, PAGEBLOCK_FRAMES, Pfn, PfnRange};

/// Frames in the smallest hole that ends a span: 128 MiB, a section in Linux. The metadata of a smaller hole (a few
/// KiB) costs less than one more span to bisect.
const HOLE_FRAMES: u64 = 128 << 20 >> crate::frame::FRAME_SHIFT;

/// A stretch of pageblocks, most of which have RAM. It starts and ends at the bounds of blocks of order 10.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Span {
    /// The first frame.
    pub start: Pfn,
    /// The number of the first pageblock in the zone.
    pub first: usize,
    /// How many pageblocks there are.
    pub pageblocks: usize,
}

/// A [`Span`], as it lies in the metadata.
pub(super) type Stored = [u64; 2];

impl Span {
    /// Words of metadata.
    pub(super) const WORDS: usize = size_of::<Stored>() / size_of::<u64>();

    /// What [`store`](Self::store) made words of.
    pub(super) fn load([start, numbers]: Stored) -> Self {
        Self { start: Pfn::new(start), first: numbers as u32 as usize, pageblocks: (numbers >> 32) as usize }
    }

    pub(super) fn store(self) -> Stored {
        [self.start.number(), self.first as u64 | (self.pageblocks as u64) << 32]
    }

    /// The number in the zone of the pageblock that a frame of the span is in, and the frame's offset there.
    #[inline]
    pub(crate) fn locate(&self, pfn: Pfn) -> Option<(usize, u32)> {
        let distance = pfn.number().wrapping_sub(self.start.number());
        let pageblock = distance / PAGEBLOCK_FRAMES;
        let inside = pageblock < self.pageblocks as u64;
        inside.then(|| (self.first + pageblock as usize, (distance % PAGEBLOCK_FRAMES) as u32))
    }
}

/// The spans of the zone that has these frames, from the RAM of the whole machine in ascending order.
pub(crate) fn spans(zone: PfnRange, ram: impl Iterator<Item = PfnRange>) -> impl Iterator<Item = Span> {
    let step = Order::MAX.frames();
    let mut stretches = ram
        .map(move |range| range.intersection(zone))
        .filter(|range| !range.is_empty())
        .map(move |range| (range.start.number() / step * step, range.end.number().next_multiple_of(step)))
        .peekable();
    let mut first = 0;
    core::iter::from_fn(move || {
        let (start, mut end) = stretches.next()?;
        while let Some((_, more)) = stretches.next_if(|(next, _)| *next < end + HOLE_FRAMES) {
            end = end.max(more);
        }
        let span = Span { start: Pfn::new(start), first, pageblocks: ((end - start) / PAGEBLOCK_FRAMES) as usize };
        first += span.pageblocks;
        Some(span)
    })
}
