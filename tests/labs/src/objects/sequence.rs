//! What lab 4's pieces are asked for.

use core::alloc::Layout;
use core::ops::Range;

use kit::Random;

use super::{CLASSES, SLAB, class_of};
use crate::Frame;
use crate::operation::{Asks, Wanted};

/// Objects of a few classes, so that slabs become full; sometimes of any.
pub(crate) struct Sizes {
    common: [usize; 3],
}

impl Sizes {
    /// Those of a seed.
    pub fn new(seed: u64) -> Self {
        let mut random = Random::new(!seed);
        Self { common: core::array::from_fn(|_| random.index(CLASSES.len())) }
    }
}

impl Asks for Sizes {
    type Request = Layout;

    fn good(&mut self, random: &mut Random, _: Wanted<'_>) -> Layout {
        let class = if random.per_mille(100) { random.index(CLASSES.len()) } else { random.one_of(&self.common) };
        let below = class.checked_sub(1).map_or(0, |below| CLASSES[below]);
        // The largest and the smallest of a class are where comparisons go wrong.
        let any = random.between(below as u64 + 1, CLASSES[class] as u64 + 1) as usize;
        let size = random.one_of(&[below + 1, any, CLASSES[class], CLASSES[class]]);
        let align = 1 << if random.per_mille(700) { random.below(4) } else { random.below(8) };
        layout(size, align)
    }

    fn too_large(&mut self, random: &mut Random, _: Wanted<'_>) -> Option<Layout> {
        let largest = CLASSES[CLASSES.len() - 1];
        Some(layout(random.one_of(&[largest + 1, SLAB, SLAB + 1, 1 << 30]), 8))
    }

    fn length(layout: Layout) -> u64 {
        class_of(layout).map_or(0, |class| CLASSES[class] as u64)
    }

    fn order(random: &mut Random, _: Layout) -> u8 {
        random.index(CLASSES.len()) as u8
    }

    fn bounds(range: &Range<Frame>) -> Range<u64> {
        range.start * SLAB as u64..range.end * SLAB as u64
    }
}

/// A size and an alignment as a layout.
pub(super) fn layout(size: usize, align: usize) -> Layout {
    Layout::from_size_align(size, align).expect("the alignment is a small power of two")
}
