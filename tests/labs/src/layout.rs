//! The memory that pieces are tried on: small first, since a mistake in little memory is easier to look at.

use alloc::boxed::Box;
use alloc::vec;
use core::ops::Range;

use bifolio::frame::{Pfn, PfnRange};
use kit::oracle::Oracle;

use crate::{Frame, Memory};

/// Memory, as ranges of frames.
#[derive(Debug)]
pub struct Layout {
    /// In ascending order, not touching.
    pub ranges: &'static [Range<Frame>],
}

/// A whole block, a block and a bit, a hole, odd ends: from 16 frames to some thousands.
pub const LAYOUTS: &[Layout] = &[
    Layout { ranges: &[0x1000..0x1010] },
    Layout { ranges: &[0x1000..0x100b] },
    Layout { ranges: &[0x1003..0x1010, 0x1014..0x1020] },
    Layout { ranges: &[0x1000..0x1080] },
    Layout { ranges: &[0x1005..0x1043, 0x1050..0x10f1] },
    Layout { ranges: &[0x1000..0x1800] },
    Layout { ranges: &[0x1021..0x1802, 0x1900..0x1bff] },
];

impl Layout {
    /// The first frame.
    pub fn first(&self) -> Frame {
        self.ranges[0].start
    }

    /// The frame behind the last.
    pub fn end(&self) -> Frame {
        self.ranges[self.ranges.len() - 1].end
    }

    /// How many frames there are.
    pub fn frames(&self) -> u64 {
        self.ranges.iter().map(|range| range.end - range.start).sum()
    }

    /// The memory for a piece. Its words are not zero, and leaked: a piece is tried in a process or a boot that is over soon.
    pub fn memory(&self) -> Memory {
        let words = vec![0xdead_beef_dead_beef; (self.end() - self.first()) as usize];
        Memory { ranges: self.ranges, words: Box::leak(words.into_boxed_slice()) }
    }

    /// What knows how that memory is used.
    pub fn oracle(&self) -> Oracle {
        let of = |range: &Range<Frame>| PfnRange::new(Pfn::new(range.start), Pfn::new(range.end));
        let ranges: alloc::vec::Vec<PfnRange> = self.ranges.iter().map(of).collect();
        let mut oracle = Oracle::new(&ranges);
        ranges.iter().for_each(|range| oracle.add(*range));
        oracle
    }
}
