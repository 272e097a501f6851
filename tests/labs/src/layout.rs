//! The memory that pieces are tried on: small first, since a mistake in little memory is easier to look at.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec;
use core::iter;
use core::ops::Range;

use bifolio::frame::{FRAME_SIZE, Pfn, PfnRange};
use kit::oracle::Oracle;

use crate::source::Source;
use crate::{Frame, MAX_ORDER, Memory, Request, Urgency, Zone};

/// Memory, as ranges of frames.
#[derive(Debug)]
pub struct Layout {
    /// In ascending order, not touching.
    pub ranges: &'static [Range<Frame>],
    /// From the lowest on.
    pub zones: &'static [Zone],
}

/// A zone of everything, of which nothing is kept for anybody.
pub const ONE_ZONE: &[Zone] = &[Zone { end: Frame::MAX, min: 0, low: 0, reserve: 0 }];

const fn zone(end: Frame, min: u64, low: u64, reserve: u64) -> Zone {
    Zone { end, min, low, reserve }
}

/// Memory with three zones. The last frame of the lower ones is none, so that no block could lie in two.
pub const ZONED: &[Layout] = &[
    Layout {
        ranges: &[0x1000..0x100f, 0x1010..0x101f, 0x1020..0x1040],
        zones: &[zone(0x1010, 1, 3, 4), zone(0x1020, 2, 4, 3), zone(Frame::MAX, 2, 5, 0)],
    },
    Layout {
        ranges: &[0x1002..0x103f, 0x1040..0x107d, 0x1080..0x10f9],
        zones: &[zone(0x1040, 4, 8, 12), zone(0x1080, 4, 8, 9), zone(Frame::MAX, 8, 15, 0)],
    },
    Layout {
        ranges: &[0x1000..0x12ff, 0x1300..0x15ff, 0x1700..0x1c00],
        zones: &[zone(0x1300, 32, 40, 64), zone(0x1600, 32, 48, 60), zone(Frame::MAX, 64, 99, 0)],
    },
];

/// A whole block, a block and a bit, a hole, odd ends: from 16 frames to some thousands.
pub const LAYOUTS: &[Layout] = &[
    Layout { ranges: &[0x1000..0x1010], zones: ONE_ZONE },
    Layout { ranges: &[0x1000..0x100b], zones: ONE_ZONE },
    Layout { ranges: &[0x1003..0x1010, 0x1014..0x1020], zones: ONE_ZONE },
    Layout { ranges: &[0x1000..0x1080], zones: ONE_ZONE },
    Layout { ranges: &[0x1005..0x1043, 0x1050..0x10f1], zones: ONE_ZONE },
    Layout { ranges: &[0x1000..0x1800], zones: ONE_ZONE },
    Layout { ranges: &[0x1021..0x1802, 0x1900..0x1bff], zones: ONE_ZONE },
];

/// Memory for slabs: a few frames, so that they are soon gone.
pub const SLABBED: &[Layout] = &[
    Layout { ranges: &[0x1000..0x1002], zones: ONE_ZONE },
    Layout { ranges: &[0x1000..0x1006], zones: ONE_ZONE },
    Layout { ranges: &[0x1001..0x1005, 0x1008..0x1021], zones: ONE_ZONE },
];

/// Memory for batches of frames: fewer than CPUs could have, and enough.
pub const BATCHED: &[Layout] = &[
    Layout { ranges: &[0x1000..0x1018], zones: ONE_ZONE },
    Layout { ranges: &[0x1000..0x1020, 0x1028..0x1040], zones: ONE_ZONE },
];

/// More frames than the notes of an allocator take of memory as little as this.
const NOTES: u64 = 16;

impl Layout {
    /// A usual request for a block, from any zone.
    pub fn request(&self, order: u8) -> Request {
        Request::of(order).up_to(self.zones.len() - 1, Urgency::Normal)
    }

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

    /// The memory as firmware would tell of it, a range a line. There is a little more behind it, which is nobody's here: an allocator takes
    /// what it needs for itself from the end.
    pub fn map(&self) -> String {
        let behind = self.end().next_multiple_of(1 << MAX_ORDER);
        let notes = behind..behind + NOTES;
        let line = |range: &Range<Frame>| {
            let (start, end) = (range.start * FRAME_SIZE, range.end * FRAME_SIZE - 1);
            format!("[mem {start:#018x}-{end:#018x}] usable\n")
        };
        self.ranges.iter().chain(iter::once(&notes)).map(line).collect()
    }

    /// The memory for a piece. Its words are not zero, and leaked: a piece is tried in a process or a boot that is over soon.
    pub fn memory(&self) -> Memory {
        let words = vec![0xdead_beef_dead_beef; (self.end() - self.first()) as usize];
        Memory { ranges: self.ranges, words: Box::leak(words.into_boxed_slice()), zones: self.zones }
    }

    /// Runs of so many frames of that memory, to be taken one by one. Leaked as well.
    pub fn source(&self, length: u64) -> &'static Source {
        Box::leak(Box::new(Source::new(self.ranges, length)))
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
