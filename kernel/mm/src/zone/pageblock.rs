//! A pageblock: 512 frames, two bits each, and what the zone must know of them without reading the bits.
//!
//! The two bit planes give each frame one of four states:
//!
//! | free | head | the frame is |
//! |---|---|---|
//! | 1 | 0 | free |
//! | 0 | 1 | the first of an allocated block |
//! | 0 | 0 | inside an allocated block |
//! | 1 | 1 | reserved: not for the allocator to give out |
//!
//! An allocated block ends where the next bit of *free | head* is set, so its order is known exactly, and every bad
//! free is told from a good one in constant time.
//!
//! As long as a pageblock is of one piece (free, reserved, or one allocated block) its [`Unity`] says so, and its
//! planes are neither read nor written: memory that nobody splits costs two words at set-up.

use bytemuck::{Pod, Zeroable};

use super::blocks::BlockState;
use super::levels::Levels;
use crate::buddy::{self, WORD_FRAMES, WORD_ORDER};
use crate::error::FreeError;
use crate::frame::{Mobility, Order, PAGEBLOCK_FRAMES, Pfn};

/// Words in each plane of a pageblock.
const WORDS: usize = (PAGEBLOCK_FRAMES / WORD_FRAMES as u64) as usize;

/// The two bit planes of a pageblock, two cache lines.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Planes {
    free: [u64; WORDS],
    head: [u64; WORDS],
}

impl Planes {
    /// The free frames of a word.
    pub fn free_frames(&self, word: usize) -> u64 {
        self.free[word] & !self.head[word]
    }

    /// The reserved frames of a word.
    pub fn reserved_frames(&self, word: usize) -> u64 {
        self.free[word] & self.head[word]
    }

    /// The order of the allocated block whose head this is: it reaches to the next bit of *free | head*.
    fn extent(&self, word: usize, bit: u32) -> Order {
        let bounds = |word: usize| self.free[word] | self.head[word];
        let behind = bounds(word) >> bit >> 1;
        let frames = if behind != 0 {
            behind.trailing_zeros() + 1
        } else if bit != 0 {
            WORD_FRAMES - bit
        } else {
            let inside = (word + 1..WORDS).take_while(|word| bounds(*word) == 0).count() as u32;
            WORD_FRAMES * (inside + 1)
        };
        Order::new(frames.ilog2() as u8).expect("a block inside a pageblock has an order below 9")
    }

    /// The head of the allocated block that this frame lies inside.
    #[cold]
    fn head_before(&self, word: usize, bit: u32) -> (usize, u32) {
        let below = self.head[word] & ((1 << bit) - 1);
        if below != 0 {
            return (word, below.ilog2());
        }
        let heads = &self.head[..word];
        let word = heads
            .iter()
            .rposition(|heads| *heads != 0)
            .expect("a frame inside a block has its head below it");
        (word, heads[word].ilog2())
    }

    /// Whether the summary of a split pageblock says of each word what the word holds.
    pub fn agrees_with(&self, summary: &Summary) -> bool {
        (0..WORDS).all(|word| {
            let free = self.free_frames(word);
            summary.levels.of(word) == buddy::level(free)
        })
    }

    /// The order and state of the block that starts at `offset`; `None` inside an allocated block.
    pub fn block_at(&self, offset: u32) -> Option<(Order, BlockState)> {
        let (word, bit) = place(offset);
        let (free, reserved) = (self.free_frames(word), self.reserved_frames(word));
        let order = |order: u32| Order::new(order as u8).expect("a block inside a pageblock has an order below 9");
        if free == u64::MAX {
            let full = (0..WORDS).fold(0, |full, word| {
                full | u64::from(self.free_frames(word) == u64::MAX) << word
            });
            let (_, words) = buddy::blocks(full).find(|(first, _)| *first as usize == word)?;
            return Some((order(WORD_ORDER + words), BlockState::Free));
        }
        let starting = |frames: u64| {
            buddy::blocks(frames)
                .find(|(first, _)| *first == bit)
                .map(|(_, k)| order(k))
        };
        if free >> bit & 1 == 1 {
            Some((starting(free)?, BlockState::Free))
        } else if reserved >> bit & 1 == 1 {
            Some((starting(reserved)?, BlockState::Reserved))
        } else {
            (self.head[word] >> bit & 1 == 1).then(|| (self.extent(word, bit), BlockState::Allocated))
        }
    }
}

/// What a pageblock is as a whole.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Unity {
    /// Nothing in it was ever added to the zone.
    Reserved,
    /// All its frames are free.
    Free,
    /// It is one allocated block of order 9.
    Allocated,
    /// It is the lower half of an allocated block of order 10.
    LowerHalf,
    /// It is the upper half of an allocated block of order 10.
    UpperHalf,
    /// Not of one piece: the planes speak.
    Split,
}

/// What the zone knows of a pageblock besides its planes: 16 bytes.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Summary {
    /// While the pageblock is split: what each word holds.
    levels: Levels,
    /// How many frames are free.
    free: u16,
    unity: u8,
    mobility: u8,
    /// The order of the largest free block that starts or lies in this pageblock plus one.
    level: u8,
    spare: [u8; 3],
}

impl Summary {
    /// A pageblock of reserved frames.
    pub fn reserved() -> Self {
        Self {
            unity: Unity::Reserved as u8,
            mobility: Mobility::Movable as u8,
            ..Self::zeroed()
        }
    }

    pub fn unity(&self) -> Unity {
        const ALL: [Unity; 6] = [
            Unity::Reserved,
            Unity::Free,
            Unity::Allocated,
            Unity::LowerHalf,
            Unity::UpperHalf,
            Unity::Split,
        ];
        ALL[self.unity as usize]
    }

    pub fn mobility(&self) -> Mobility {
        Mobility::ALL[self.mobility as usize]
    }

    pub fn set_mobility(&mut self, mobility: Mobility) {
        self.mobility = mobility as u8;
    }

    /// How many frames of the pageblock are free.
    pub fn free(&self) -> u32 {
        self.free.into()
    }

    /// The order of the largest free block here; 10 for both halves of a free block of order 10.
    pub fn largest(&self) -> Option<Order> {
        Order::new(self.level.wrapping_sub(1))
    }

    /// Makes the pageblock one piece; `largest` is its largest free block.
    pub fn unite(&mut self, unity: Unity, largest: Option<Order>) {
        self.unity = unity as u8;
        self.free = if unity == Unity::Free {
            PAGEBLOCK_FRAMES as u16
        } else {
            0
        };
        self.level = largest.map_or(0, |order| order.get() + 1);
    }
}

/// A pageblock at work: its summary and its planes, which change together.
pub(crate) struct Pageblock<'a> {
    pub summary: &'a mut Summary,
    pub planes: &'a mut Planes,
}

/// The word that a frame's bits are in, and the bit.
fn place(offset: u32) -> (usize, u32) {
    ((offset / WORD_FRAMES) as usize, offset % WORD_FRAMES)
}

impl Pageblock<'_> {
    /// Writes the planes of a pageblock that was of one piece, so that its parts can change.
    fn split(&mut self) {
        let (free, head, level) = match self.summary.unity() {
            Unity::Free => (u64::MAX, 0, WORD_ORDER + 1),
            Unity::Reserved => (u64::MAX, u64::MAX, 0),
            Unity::Split => return,
            Unity::Allocated | Unity::LowerHalf | Unity::UpperHalf => unreachable!("an allocated block is not split"),
        };
        *self.planes = Planes {
            free: [free; WORDS],
            head: [head; WORDS],
        };
        self.summary.levels = Levels::uniform(level);
        self.summary.unity = Unity::Split as u8;
    }

    /// Brings the summary up to date after the words changed of which it knows.
    #[inline]
    fn settle(&mut self) {
        let summary = &mut *self.summary;
        let largest = summary.levels.largest();
        summary.level = if largest <= WORD_ORDER {
            largest as u8
        } else if summary.free == PAGEBLOCK_FRAMES as u16 {
            return summary.unite(Unity::Free, Some(Order::PAGEBLOCK));
        } else {
            (WORD_ORDER + buddy::level(summary.levels.full())) as u8
        };
    }

    /// Allocates a block of `order`, at most 9, for which there is room, and returns its first frame's offset.
    ///
    /// The block is taken from the smallest sufficient one, the lowest of them in the tightest word; its low half
    /// is what is kept at each split.
    #[inline]
    pub fn allocate(&mut self, order: Order) -> u32 {
        if self.summary.unity() == Unity::Free {
            if order == Order::PAGEBLOCK {
                self.summary.unite(Unity::Allocated, None);
                return 0;
            }
            self.split();
        }
        self.summary.free -= order.frames() as u16;
        let order = u32::from(order.get());
        let offset = if order < WORD_ORDER {
            self.allocate_in_word(order)
        } else {
            self.allocate_words(order)
        };
        self.settle();
        offset
    }

    #[inline]
    fn allocate_in_word(&mut self, order: u32) -> u32 {
        let word = self
            .summary
            .levels
            .tightest(order)
            .expect("the pageblock has room for the order");
        let bit = buddy::tightest(self.planes.free_frames(word), order).expect("the word has room for the order");
        self.planes.free[word] &= !(buddy::ones(order) << bit);
        self.planes.head[word] |= 1 << bit;
        self.summary
            .levels
            .set(word, buddy::level(self.planes.free_frames(word)));
        word as u32 * WORD_FRAMES + bit
    }

    #[inline]
    fn allocate_words(&mut self, order: u32) -> u32 {
        let first = buddy::tightest(self.summary.levels.full(), order - WORD_ORDER)
            .expect("the pageblock has room for the order") as usize;
        for word in first..first + (1 << (order - WORD_ORDER)) {
            self.planes.free[word] = 0;
            self.summary.levels.set(word, 0);
        }
        self.planes.head[first] = 1;
        first as u32 * WORD_FRAMES
    }

    /// Frees the block of `order` that starts at `offset`; `start` is the pageblock's first frame.
    ///
    /// # Errors
    /// [`FreeError`] if no such block starts there; nothing has changed then.
    #[inline]
    pub fn free(&mut self, start: Pfn, offset: u32, order: Order) -> Result<(), FreeError> {
        let actual = self.order_of(start, offset)?;
        if actual != order {
            return Err(FreeError::WrongOrder {
                pfn: start.offset(offset.into()),
                given: order,
                actual,
            });
        }
        if order == Order::PAGEBLOCK {
            self.summary.unite(Unity::Free, Some(Order::PAGEBLOCK));
            return Ok(());
        }
        let (word, bit) = place(offset);
        self.planes.head[word] &= !(1 << bit);
        self.summary.free += order.frames() as u16;
        let order = u32::from(order.get());
        if order < WORD_ORDER {
            self.planes.free[word] |= buddy::ones(order) << bit;
            // Merging only ever raises a level, and to that of the block that the freed one is part of now.
            let merged = buddy::order_around(self.planes.free_frames(word), bit) + 1;
            if merged > self.summary.levels.of(word) {
                self.summary.levels.set(word, merged);
                self.settle();
            }
        } else {
            for word in word..word + (1 << (order - WORD_ORDER)) {
                self.planes.free[word] = u64::MAX;
                self.summary.levels.set(word, WORD_ORDER + 1);
            }
            self.settle();
        }
        Ok(())
    }

    /// The order of the allocated block that starts at `offset`; `start` is the pageblock's first frame.
    ///
    /// # Errors
    /// [`FreeError`], saying what is there instead.
    pub fn order_of(&self, start: Pfn, offset: u32) -> Result<Order, FreeError> {
        let pfn = start.offset(offset.into());
        let whole = |head: Pfn, order| {
            if pfn == head {
                Ok(order)
            } else {
                Err(FreeError::Interior { pfn, head, order })
            }
        };
        match self.summary.unity() {
            Unity::Split => {}
            Unity::Free => return Err(FreeError::AlreadyFree(pfn)),
            Unity::Reserved => return Err(FreeError::Reserved(pfn)),
            Unity::Allocated => return whole(start, Order::PAGEBLOCK),
            Unity::LowerHalf => return whole(start, Order::MAX),
            Unity::UpperHalf => return whole(Pfn::new(start.number() - PAGEBLOCK_FRAMES), Order::MAX),
        }
        let (word, bit) = place(offset);
        match (self.planes.free[word] >> bit & 1, self.planes.head[word] >> bit & 1) {
            (0, 1) => Ok(self.planes.extent(word, bit)),
            (1, 0) => Err(FreeError::AlreadyFree(pfn)),
            (1, _) => Err(FreeError::Reserved(pfn)),
            _ => {
                let (word, bit) = self.planes.head_before(word, bit);
                let head = start.offset(word as u64 * u64::from(WORD_FRAMES) + u64::from(bit));
                Err(FreeError::Interior {
                    pfn,
                    head,
                    order: self.planes.extent(word, bit),
                })
            }
        }
    }

    /// Checks that the frames from `from` up to `to` are reserved.
    ///
    /// # Errors
    /// The offset of the first frame that is not.
    pub fn check_reserved(&self, from: u32, to: u32) -> Result<(), u32> {
        match self.summary.unity() {
            Unity::Reserved => Ok(()),
            Unity::Split => {
                for (word, bits) in parts(from, to) {
                    let taken = bits & !self.planes.reserved_frames(word);
                    if taken != 0 {
                        return Err(word as u32 * WORD_FRAMES + taken.trailing_zeros());
                    }
                }
                Ok(())
            }
            _ => Err(from),
        }
    }

    /// Makes reserved frames free: those from `from` up to `to`.
    pub fn add(&mut self, from: u32, to: u32) {
        debug_assert!(self.check_reserved(from, to).is_ok());
        if to - from == PAGEBLOCK_FRAMES as u32 {
            self.summary.unite(Unity::Free, Some(Order::PAGEBLOCK));
            return;
        }
        self.split();
        for (word, bits) in parts(from, to) {
            self.planes.head[word] &= !bits;
            self.summary
                .levels
                .set(word, buddy::level(self.planes.free_frames(word)));
        }
        self.summary.free += (to - from) as u16;
        self.settle();
    }
}

/// The words that hold the frames from `from` up to `to`, each with the bits of those frames.
fn parts(from: u32, to: u32) -> impl Iterator<Item = (usize, u64)> {
    (place(from).0..to.div_ceil(WORD_FRAMES) as usize).map(move |word| {
        let first = word as u32 * WORD_FRAMES;
        let (low, high) = (from.max(first) - first, to.min(first + WORD_FRAMES) - first);
        (word, (u64::MAX << low) & (u64::MAX >> (WORD_FRAMES - high)))
    })
}
