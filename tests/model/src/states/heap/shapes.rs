//! The heaps that are looked at: each so small that many of its states can be visited, each with something of its own.

/// A heap, and what is done with it.
#[derive(Debug)]
pub struct Shape {
    /// What it has of its own.
    pub name: &'static str,
    /// Frames of its source, at most 64. Arenas take four each, descriptors one, the page map three.
    pub frames: usize,
    /// Memory is scarce: slabs are as small as can be, and no CPU gets an arena of its own.
    pub is_scarce: bool,
    /// Bytes of objects that are asked for.
    pub sizes: &'static [usize],
    /// With so many objects allocated, no more are asked for.
    pub most: usize,
}

/// Four of these fill a slab of eight frames, and one the smallest slab, of two.
const SLOT: usize = 8192;
/// Five of these fill a slab of eight frames.
const OTHER: usize = 6144;
/// Three frames, for which a block of four is taken.
const LARGE: usize = 3 * 4096;

/// All of them.
pub const SHAPES: &[Shape] = &[
    Shape { name: "a heap of two CPUs", frames: 40, is_scarce: false, sizes: &[SLOT], most: 6 },
    Shape { name: "a heap that has no room for whole slabs", frames: 18, is_scarce: false, sizes: &[SLOT], most: 5 },
    Shape {
        name: "a heap with two classes and too few frames",
        frames: 32,
        is_scarce: false,
        sizes: &[SLOT, OTHER],
        most: 5,
    },
    Shape { name: "a heap with large objects", frames: 32, is_scarce: false, sizes: &[SLOT, LARGE], most: 5 },
    Shape { name: "a heap without arenas", frames: 16, is_scarce: true, sizes: &[SLOT, OTHER], most: 5 },
];
