//! What both directions share: the bytes that records begin with, and numbers.

use bifolio::allocator::{Call, HeapCall};
use bifolio::frame::Gfp;

/// What a trace begins with; the last byte is the format's version.
pub const MAGIC: [u8; 8] = *b"BIFOLIO\x02";

/// The flags that an allocation's first byte has room for.
pub(crate) const COMMON: [Gfp; 10] = [
    Gfp::KERNEL,
    Gfp::KERNEL.union(Gfp::MOVABLE),
    Gfp::KERNEL.union(Gfp::RECLAIMABLE),
    Gfp::ATOMIC,
    Gfp::NOWAIT,
    Gfp::KERNEL.union(Gfp::ZERO),
    Gfp::KERNEL.union(Gfp::NOWARN),
    Gfp::NOWAIT.union(Gfp::MOVABLE),
    Gfp::KERNEL.union(Gfp::DMA32),
    Gfp::KERNEL.union(Gfp::DMA),
];
/// Place of flags that are not common.
pub(crate) const OTHER: u8 = COMMON.len() as u8;
/// Places for flags.
pub(crate) const PLACES: u8 = OTHER + 1;
/// Behind the last byte that begins an allocation.
pub(crate) const ALLOCATIONS: u8 = PLACES * 11;

pub(crate) const FREE: u8 = 0x80;
pub(crate) const REFUSED_FREE: u8 = 0x8b;
pub(crate) const OPENED: u8 = 0xa0;
pub(crate) const SHRINKER: u8 = 0xa1;
/// What follows is asked for from the site of this number.
pub(crate) const SITE: u8 = 0xa2;
/// What a site's number stands for.
pub(crate) const SITE_IS: u8 = 0xaf;
/// The same in words.
pub(crate) const SITE_NAMED: u8 = 0xb2;
/// Return addresses of a site.
pub const SITE_DEPTH: usize = bifolio::cpu::CALLERS;
pub(crate) const CLOSED: u8 = 0xa3;
pub(crate) const HASH: u8 = 0xb0;
pub(crate) const LOST: u8 = 0xb1;
pub(crate) const CPU: u8 = 0xc0;
/// A CPU whose number follows.
pub(crate) const FAR_CPU: u8 = 0xff;

/// The bytes of operations that are neither allocations nor frees.
pub(crate) mod other {
    pub(crate) const SPLIT: u8 = 0x90;
    pub(crate) const EXACT: u8 = 0x91;
    pub(crate) const CONTIGUOUS: u8 = 0x92;
    pub(crate) const RANGE: u8 = 0x93;
    pub(crate) const RESIZE: u8 = 0x94;
    pub(crate) const ISOLATE: u8 = 0x95;
    pub(crate) const UNISOLATE: u8 = 0x96;
    pub(crate) const ADD: u8 = 0x97;
    pub(crate) const DRAIN: u8 = 0x98;
    pub(crate) const DECAY: u8 = 0x99;
    pub(crate) const BALANCE: u8 = 0x9a;
    pub(crate) const UNRESERVE: u8 = 0x9b;
    pub(crate) const SETTLE: u8 = 0x9c;
    pub(crate) const ADD_SHRINKER: u8 = 0x9d;
    pub(crate) const REMOVE_SHRINKER: u8 = 0x9e;
    pub(crate) const RUN: u8 = 0x9f;
}

/// The bytes of operations on the heap.
pub(crate) mod heap {
    pub(crate) const ALLOCATE: u8 = 0xa4;
    pub(crate) const FREE: u8 = 0xa5;
    pub(crate) const OPEN_RUN: u8 = 0xa6;
    pub(crate) const CLOSE_RUN: u8 = 0xa7;
    pub(crate) const TAKE_RUN: u8 = 0xa8;
    pub(crate) const PUT_RUN: u8 = 0xa9;
    pub(crate) const NEW_CACHE: u8 = 0xaa;
    pub(crate) const END_CACHE: u8 = 0xab;
    pub(crate) const SET_ASIDE: u8 = 0xac;
    pub(crate) const SLAB: u8 = 0xad;
    /// One of [`PLAIN`], by its place there.
    pub(crate) const OTHER: u8 = 0xae;
    /// Operations without an argument.
    pub(crate) const PLAIN: [bifolio::allocator::HeapCall; 4] = {
        use bifolio::allocator::HeapCall::{Prepare, Retire, Settle, Shrink};
        [Shrink, Retire, Prepare, Settle]
    };
}

/// What an operation returns.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Returns {
    /// A number that means what it means.
    Number,
    /// The number of frames that a shrinker gave.
    Given,
    /// The number of a frame.
    Frame,
    /// An address on the heap.
    Address,
}

impl Returns {
    const ALL: [Self; 4] = [Self::Number, Self::Given, Self::Frame, Self::Address];

    pub(crate) fn of(call: &Call) -> Self {
        match call {
            Call::Allocate { .. }
            | Call::AllocateExact { .. }
            | Call::AllocateContiguous { .. }
            | Call::AllocateRun { .. }
            | Call::AllocateRange { .. } => Self::Frame,
            Call::Heap(HeapCall::Allocate { .. } | HeapCall::Slab { .. }) => Self::Address,
            Call::Shrink { .. } => Self::Given,
            _ => Self::Number,
        }
    }
}

/// Operations that have begun and not ended, each within the one before, of which it is known what they will return.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Opened {
    depth: u16,
    /// By their places in [`Returns::ALL`], each in two bits.
    returns: [u64; Self::DEPTH / Self::IN_WORD],
}

impl Opened {
    /// Of each CPU: the heap opens a slab, which asks page frames, which ask a shrinker. Then another does so. Of the last one the
    /// shrinker shrinks the heap, which gives frames back. So there is room for 64 CPUs, and some more.
    const DEPTH: usize = 384;
    const IN_WORD: usize = 32;

    pub(crate) const fn none() -> Self {
        Self { depth: 0, returns: [0; Self::DEPTH / Self::IN_WORD] }
    }

    pub(crate) fn is_none(&self) -> bool {
        self.depth == 0
    }

    /// One more begins; false if there are too many.
    pub(crate) fn push(&mut self, returns: Returns) -> bool {
        let (word, shift) = Self::place(self.depth);
        let Some(word) = self.returns.get_mut(word) else { return false };
        *word = *word & !(3 << shift) | (returns as u64) << shift;
        self.depth += 1;
        true
    }

    /// Whether the last one asks a shrinker.
    pub(crate) fn is_shrinker(&self) -> bool {
        self.depth.checked_sub(1).is_some_and(|last| self.at(last) == Returns::Given)
    }

    /// The last one ends.
    pub(crate) fn pop(&mut self) -> Option<Returns> {
        self.depth = self.depth.checked_sub(1)?;
        Some(self.at(self.depth))
    }

    fn place(depth: u16) -> (usize, usize) {
        (usize::from(depth) / Self::IN_WORD, usize::from(depth) % Self::IN_WORD * 2)
    }

    fn at(&self, depth: u16) -> Returns {
        let (word, shift) = Self::place(depth);
        Returns::ALL[(self.returns[word] >> shift & 3) as usize]
    }
}

/// A signed number as one that is small if the other is near 0.
pub(crate) fn zigzag(number: i64) -> u64 {
    (number << 1 ^ number >> 63) as u64
}

/// The signed number of a [`zigzag`].
pub(crate) fn unzigzag(number: u64) -> i64 {
    (number >> 1) as i64 ^ -((number & 1) as i64)
}
