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
    start: u64,
    first: u32,
    pageblocks: u32,
}

/// A [`Span`], as it lies in the metadata.
pub(super) type Stored = [u64; 2];

impl Span {
    /// Words of metadata.
    pub(super) const WORDS: usize = size_of::<Stored>() / size_of::<u64>();

    /// What [`store`](Self::store) made words of.
    pub(super) fn load([start, numbers]: Stored) -> Self {
        Self { start, first: numbers as u32, pageblocks: (numbers >> 32) as u32 }
    }

    pub(super) fn store(self) -> Stored {
        [self.start, u64::from(self.first) | u64::from(self.pageblocks) << 32]
    }

    /// The first frame.
    pub(crate) fn start(&self) -> Pfn {
        Pfn::new(self.start)
    }

    /// The number of the first pageblock in the zone.
    pub(crate) fn first(&self) -> usize {
        self.first as usize
    }

    /// How many pageblocks there are.
    pub(crate) fn pageblocks(&self) -> usize {
        self.pageblocks as usize
    }

    /// The number in the zone of the pageblock that a frame of the span is in, and the frame's offset there.
    #[inline]
    pub(crate) fn locate(&self, pfn: Pfn) -> Option<(usize, u32)> {
        let distance = pfn.number().wrapping_sub(self.start);
        let pageblock = distance / PAGEBLOCK_FRAMES;
        let inside = pageblock < u64::from(self.pageblocks);
        inside.then(|| (self.first() + pageblock as usize, (distance % PAGEBLOCK_FRAMES) as u32))
    }

    fn end(&self) -> u64 {
        self.start + u64::from(self.pageblocks) * PAGEBLOCK_FRAMES
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
        let span = Span { start, first, pageblocks: ((end - start) / PAGEBLOCK_FRAMES) as u32 };
        first += span.pageblocks;
        debug_assert!(span.end() == end);
        Some(span)
    })
}
