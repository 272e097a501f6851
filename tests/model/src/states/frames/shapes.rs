//! The machines that are looked at: each so small that all its states can be visited, each with something of its own.

use bifolio::frame::Gfp;

/// The first frame of zone Normal.
const NORMAL: u64 = 1 << 20;

/// Every request may take all that is free, so that a refusal says that there is nothing. Watermarks of so few frames are none.
const ALL: Gfp = Gfp::MEMALLOC.union(Gfp::NOWARN);
const UNMOVABLE: Gfp = ALL;
const MOVABLE: Gfp = ALL.union(Gfp::MOVABLE);
const LOW: Gfp = ALL.union(Gfp::DMA32);

/// A machine, and what is done with it.
#[derive(Debug)]
pub struct Shape {
    /// What it has of its own.
    pub name: &'static str,
    /// Its RAM: first frames, and those behind the last.
    pub usable: &'static [(u64, u64)],
    /// RAM that is added while it runs.
    pub later: &'static [(u64, u64)],
    /// CPUs with pages of their own.
    pub cpus: usize,
    /// The least order of a request, and the highest.
    pub orders: (u8, u8),
    /// The flags of requests.
    pub gfps: &'static [Gfp],
    /// With so many blocks allocated, no more are asked for.
    pub most: usize,
    /// Frames that are isolated, each with all its pageblock.
    pub isolated: &'static [u64],
    /// Ranges that are asked for, as they are.
    pub ranges: &'static [(u64, u64)],
    /// Counts of frames that are asked for, and that blocks are resized to.
    pub counts: &'static [u64],
}

const PLAIN: Shape = Shape {
    name: "",
    usable: &[],
    later: &[],
    cpus: 0,
    orders: (0, 2),
    gfps: &[MOVABLE],
    most: usize::MAX,
    isolated: &[],
    ranges: &[],
    counts: &[],
};

/// All of them.
pub const SHAPES: &[Shape] = &[
    Shape {
        name: "a pageblock's border, two mobilities, everything that zones do",
        usable: &[(NORMAL + 509, NORMAL + 515)],
        gfps: &[MOVABLE, UNMOVABLE],
        isolated: &[NORMAL + 511, NORMAL + 512],
        ranges: &[(NORMAL + 510, NORMAL + 514), (NORMAL + 512, NORMAL + 513)],
        counts: &[3],
        ..PLAIN
    },
    Shape { name: "two zones", usable: &[(NORMAL - 5, NORMAL + 5)], gfps: &[MOVABLE, LOW], counts: &[3], ..PLAIN },
    Shape {
        name: "holes, in a word and between words",
        usable: &[
            (NORMAL + 1, NORMAL + 4),
            (NORMAL + 5, NORMAL + 7),
            (NORMAL + 8, NORMAL + 13),
            (NORMAL + 63, NORMAL + 65),
        ],
        counts: &[3],
        ..PLAIN
    },
    Shape {
        name: "memory that comes later, in both of two zones",
        usable: &[(NORMAL - 6, NORMAL - 4), (NORMAL + 2, NORMAL + 4)],
        later: &[(NORMAL - 4, NORMAL - 1), (NORMAL, NORMAL + 2)],
        gfps: &[MOVABLE, LOW],
        counts: &[2],
        ..PLAIN
    },
    Shape {
        name: "pageblocks as wholes and in halves, two mobilities",
        usable: &[(NORMAL, NORMAL + 2048)],
        orders: (8, 10),
        gfps: &[MOVABLE, UNMOVABLE],
        most: 5,
        isolated: &[NORMAL, NORMAL + 512],
        ranges: &[(NORMAL + 256, NORMAL + 1024)],
        ..PLAIN
    },
    Shape {
        name: "two CPUs that keep what they free, at a pageblock's border",
        usable: &[(NORMAL + 510, NORMAL + 514)],
        cpus: 2,
        orders: (0, 1),
        gfps: &[MOVABLE, UNMOVABLE],
        isolated: &[NORMAL + 510],
        ranges: &[(NORMAL + 511, NORMAL + 513)],
        counts: &[2],
        ..PLAIN
    },
    Shape {
        name: "two CPUs with pages in two zones",
        usable: &[(NORMAL - 3, NORMAL + 3)],
        cpus: 2,
        orders: (0, 1),
        gfps: &[MOVABLE, LOW],
        ..PLAIN
    },
    Shape {
        name: "two CPUs that are lent words",
        usable: &[(NORMAL, NORMAL + 8), (NORMAL + 256, NORMAL + 512)],
        cpus: 2,
        orders: (0, 1),
        most: 3,
        isolated: &[NORMAL],
        ..PLAIN
    },
];
