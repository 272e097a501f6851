//! The vocabulary: frames, orders, zones, mobility and request flags.
//!
//! Every unit has a type of its own, so that a frame number is never taken for an address, nor an order for a
//! count of frames. The words are Linux's and keep Linux's meaning.

use core::fmt;

mod block;
#[forbid(unsafe_code)]
mod gfp;
#[forbid(unsafe_code)]
mod profile;

pub use block::{Block, Blocks};
pub use gfp::Gfp;
pub use profile::Profile;

/// Bytes in a frame, as a shift: a frame is `1 << FRAME_SHIFT` bytes.
pub const FRAME_SHIFT: u32 = 12;
/// Bytes in a frame.
pub const FRAME_SIZE: u64 = 1 << FRAME_SHIFT;
/// Frames in a pageblock, the unit that mobility is kept for: 512 frames, 2 MiB.
pub const PAGEBLOCK_FRAMES: u64 = Order::PAGEBLOCK.frames();
/// The first physical address, in bytes, that x86_64 cannot express (52 bits).
pub const PHYSICAL_LIMIT: u64 = 1 << 52;

/// A page-frame number: a physical address divided by [`FRAME_SIZE`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Pfn(u64);

impl Pfn {
    /// The frame with this number.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The frame that holds this physical address, in bytes.
    pub const fn containing(address: u64) -> Self {
        Self(address >> FRAME_SHIFT)
    }

    /// The frame's number.
    pub const fn number(self) -> u64 {
        self.0
    }

    /// The physical address of the frame's first byte.
    pub const fn address(self) -> u64 {
        self.0 << FRAME_SHIFT
    }

    /// The frame `frames` further up. Wraps at 64 bits, which no real frame number comes near.
    pub const fn offset(self, frames: u64) -> Self {
        Self(self.0.wrapping_add(frames))
    }

    /// Whether a block of this order may start here: blocks are aligned to their size.
    pub const fn is_aligned(self, order: Order) -> bool {
        self.0 & (order.frames() - 1) == 0
    }
}

impl fmt::Debug for Pfn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pfn({:#x})", self.0)
    }
}

impl fmt::Display for Pfn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// Frames from `start` up to, but not including, `end`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[expect(clippy::exhaustive_structs, reason = "a range has a start and an end")]
pub struct PfnRange {
    /// The first frame of the range.
    pub start: Pfn,
    /// The first frame behind the range.
    pub end: Pfn,
}

impl PfnRange {
    /// The range from `start` up to `end`; empty when `end` does not lie behind `start`.
    pub const fn new(start: Pfn, end: Pfn) -> Self {
        Self { start, end }
    }

    /// The frames of the block of `order` that starts at `pfn`.
    pub const fn of(pfn: Pfn, order: Order) -> Self {
        Self::new(pfn, pfn.offset(order.frames()))
    }

    /// How many frames the range holds.
    pub const fn frames(self) -> u64 {
        self.end.0.saturating_sub(self.start.0)
    }

    /// Whether the range holds no frame.
    pub const fn is_empty(self) -> bool {
        self.frames() == 0
    }

    /// Whether the frame lies in the range.
    pub const fn contains(self, pfn: Pfn) -> bool {
        self.start.0 <= pfn.0 && pfn.0 < self.end.0
    }

    /// The range as aligned blocks, the largest that there can be, in ascending order.
    pub fn blocks(self) -> impl Iterator<Item = (Pfn, Order)> + Clone {
        let mut start = self.start;
        core::iter::from_fn(move || {
            let rest = Self::new(start, self.end).frames();
            let order = start.0.trailing_zeros().min(rest.checked_ilog2()?) as u8;
            let block = (start, Order::new(order).unwrap_or(Order::MAX));
            start = start.offset(block.1.frames());
            Some(block)
        })
    }

    /// The frames that lie in both ranges.
    pub fn intersection(self, other: Self) -> Self {
        Self::new(self.start.max(other.start), self.end.min(other.end))
    }
}

impl fmt::Display for PfnRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}..{:#x}", self.start.0, self.end.0)
    }
}

/// The size of a block: `2^order` frames, from order 0 (4 KiB) to order 10 (4 MiB).
///
/// That there are no others is known to the compiler, which has `Option<Block>` take no more room than a block.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(u8)]
#[expect(clippy::exhaustive_enums, missing_docs, reason = "arrays have a place for each, and each is its number")]
pub enum Order {
    #[default]
    N0,
    N1,
    N2,
    N3,
    N4,
    N5,
    N6,
    N7,
    N8,
    N9,
    N10,
}

impl Order {
    /// One frame.
    pub const ZERO: Self = Self::N0;
    /// A pageblock: 512 frames, 2 MiB.
    pub const PAGEBLOCK: Self = Self::N9;
    /// The largest block: 1024 frames, 4 MiB.
    pub const MAX: Self = Self::N10;
    /// How many orders there are.
    pub const COUNT: usize = Self::MAX as usize + 1;

    /// The order with this number, or `None` above [`Order::MAX`].
    pub const fn new(order: u8) -> Option<Self> {
        // No table: this is a comparison.
        Some(match order {
            0 => Self::N0,
            1 => Self::N1,
            2 => Self::N2,
            3 => Self::N3,
            4 => Self::N4,
            5 => Self::N5,
            6 => Self::N6,
            7 => Self::N7,
            8 => Self::N8,
            9 => Self::N9,
            10 => Self::N10,
            _ => return None,
        })
    }

    /// The smallest order whose block holds at least `frames` frames; `None` if no block is that large.
    pub const fn covering(frames: u64) -> Option<Self> {
        if frames > Self::MAX.frames() {
            return None;
        }
        let rest = if frames == 0 { 0 } else { frames - 1 };
        Self::new((u64::BITS - rest.leading_zeros()) as u8)
    }

    /// The order's number, `0..=10`.
    pub const fn get(self) -> u8 {
        self as u8
    }

    /// The order's number as an index into a table of [`Order::COUNT`] entries.
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Frames in a block of this order.
    pub const fn frames(self) -> u64 {
        1 << self.get()
    }

    /// Bytes in a block of this order.
    pub const fn bytes(self) -> u64 {
        FRAME_SIZE << self.get()
    }

    /// All orders, smallest first.
    pub fn all() -> impl DoubleEndedIterator<Item = Self> + ExactSizeIterator + Clone {
        (0..Self::COUNT as u8).map(|order| Self::new(order).unwrap_or(Self::MAX))
    }
}

impl fmt::Debug for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Order({})", self.get())
    }
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

/// A zone: the frames that one class of devices can reach. Where each ends is the [`Profile`]'s to say, and on x86_64 as here.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
#[expect(clippy::exhaustive_enums, reason = "arrays have a place for each")]
pub enum ZoneKind {
    /// Below 16 MiB: what ISA devices reach with 24 address bits.
    Dma,
    /// From 16 MiB up to 4 GiB: what devices reach with 32 address bits.
    Dma32,
    /// From 4 GiB up: where a request is served that asks for no other.
    #[default]
    Normal,
}

impl ZoneKind {
    /// The zones, lowest first.
    pub const ALL: [Self; 3] = [Self::Dma, Self::Dma32, Self::Normal];
    /// How many zones there are.
    pub const COUNT: usize = Self::ALL.len();

    /// The zone's place in [`ZoneKind::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The zone's name, as Linux prints it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dma => "DMA",
            Self::Dma32 => "DMA32",
            Self::Normal => "Normal",
        }
    }
}

impl fmt::Display for ZoneKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What a pageblock is for (Linux: migrate type): mostly what may become of its contents, so that what cannot move is
/// packed together and leaves whole pageblocks to the rest.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[expect(clippy::exhaustive_enums, reason = "arrays have a place for each")]
pub enum Mobility {
    /// Stays where it is until it is freed: the kernel's own data.
    Unmovable,
    /// Can be copied elsewhere and remapped: user pages.
    Movable,
    /// Cannot move, but can be dropped on demand: caches.
    Reclaimable,
    /// Kept for blocks that are needed at once and cannot be waited for.
    HighAtomic,
    /// Nothing is allocated from it, so that its frames can be taken together. What it was before comes back.
    Isolate,
}

impl Mobility {
    /// The kinds, in the order of Linux's tables.
    pub const ALL: [Self; 5] = [Self::Unmovable, Self::Movable, Self::Reclaimable, Self::HighAtomic, Self::Isolate];
    /// How many kinds there are.
    pub const COUNT: usize = Self::ALL.len();
    /// The kinds that a request can have, and that CPUs' pages hold (Linux: `MIGRATE_PCPTYPES`).
    pub const REQUESTED: [Self; 3] = [Self::Unmovable, Self::Movable, Self::Reclaimable];

    /// The kind's place in [`Mobility::ALL`], and in [`Mobility::REQUESTED`].
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The kinds whose pageblocks serve this one when its own have nothing left, best first (Linux: `fallbacks`).
    pub const fn fallbacks(self) -> &'static [Self] {
        match self {
            Self::Unmovable => &[Self::Reclaimable, Self::Movable],
            Self::Movable => &[Self::Reclaimable, Self::Unmovable],
            Self::Reclaimable => &[Self::Unmovable, Self::Movable],
            Self::HighAtomic | Self::Isolate => &[],
        }
    }

    /// Whether free pageblocks of this kind make one block with those of others (Linux: `migratetype_is_mergeable`).
    pub const fn is_mergeable(self) -> bool {
        matches!(self, Self::Unmovable | Self::Movable | Self::Reclaimable)
    }

    /// The name, as Linux prints it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unmovable => "Unmovable",
            Self::Movable => "Movable",
            Self::Reclaimable => "Reclaimable",
            Self::HighAtomic => "HighAtomic",
            Self::Isolate => "Isolate",
        }
    }

    /// The letter by which Linux's failure reports name the kind.
    pub const fn letter(self) -> char {
        match self {
            Self::Unmovable => 'U',
            Self::Movable => 'M',
            Self::Reclaimable => 'E',
            Self::HighAtomic => 'H',
            Self::Isolate => 'I',
        }
    }
}

impl fmt::Display for Mobility {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
