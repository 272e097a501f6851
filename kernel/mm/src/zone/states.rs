//! The truth: the state of every frame of a zone, two bits each.
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
//! words are neither read nor written: memory that nobody splits costs little at set-up.
//!
//! Only who holds the zone's lock changes a state. Anybody may read one: the words are atomic, relaxed, which costs no
//! more than a plain load. A block's own bits stand still as long as it is allocated, but its neighbours' do not; so
//! what is read without the lock may be taken for a yes, never for a no.

use core::ops::Range;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::blocks::BlockState;
use super::span::Span;
use crate::buddy::{self, WORD_FRAMES, WORD_ORDER};
use crate::error::FreeError;
use crate::frame::{Order, PAGEBLOCK_FRAMES, Pfn};

/// Words of 64 frames in a pageblock.
pub(super) const WORDS: usize = (PAGEBLOCK_FRAMES / WORD_FRAMES as u64) as usize;

/// A pageblock's planes, word by word: first its free bits, then its head bits.
type Planes = [AtomicU64; 2 * WORDS];

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
    /// Not of one piece: its words speak.
    Split,
}

/// The word that a frame's bits are in, by the frame's offset in its pageblock, and the bit.
#[inline]
pub(super) fn place(offset: u32) -> (usize, u32) {
    ((offset / WORD_FRAMES) as usize, offset % WORD_FRAMES)
}

/// The two bits of 64 frames.
#[derive(Clone, Copy)]
pub(crate) struct Word<'a> {
    free: &'a AtomicU64,
    head: &'a AtomicU64,
}

impl Word<'_> {
    /// The free frames.
    #[inline]
    pub fn free(self) -> u64 {
        self.free.load(Relaxed) & !self.head.load(Relaxed)
    }

    /// The reserved frames.
    pub fn reserved(self) -> u64 {
        self.free.load(Relaxed) & self.head.load(Relaxed)
    }

    /// The heads of allocated blocks.
    #[inline]
    pub fn heads(self) -> u64 {
        self.head.load(Relaxed) & !self.free.load(Relaxed)
    }

    /// The frames at which a block of any state begins.
    #[inline]
    fn bounds(self) -> u64 {
        self.free.load(Relaxed) | self.head.load(Relaxed)
    }

    /// The allocated blocks of order 0.
    #[inline]
    pub fn singles(self) -> u64 {
        self.heads() & (self.bounds() >> 1 | 1 << (WORD_FRAMES - 1))
    }

    /// Makes free frames allocated blocks that begin at `heads`.
    #[inline]
    pub fn allocate(self, frames: u64, heads: u64) {
        self.head.store(self.head.load(Relaxed) | heads, Relaxed);
        self.free.store(self.free.load(Relaxed) & !frames, Relaxed);
    }

    /// Makes the frames of allocated blocks free.
    #[inline]
    pub fn release(self, frames: u64) {
        self.free.store(self.free.load(Relaxed) | frames, Relaxed);
        self.head.store(self.head.load(Relaxed) & !frames, Relaxed);
    }

    /// Gives every frame the same two bits.
    pub fn fill(self, free: bool, head: bool) {
        self.free.store((free as u64).wrapping_neg(), Relaxed);
        self.head.store((head as u64).wrapping_neg(), Relaxed);
    }
}

/// Eight pageblocks that are all the same as a whole.
fn all_of(unity: Unity) -> u64 {
    u64::from_ne_bytes([unity as u8; 8])
}

/// The words that hold the pageblocks' bytes, each with the bits of those bytes.
fn eights(pageblocks: Range<usize>) -> impl Iterator<Item = (usize, u64)> {
    let Range { start, end } = pageblocks;
    (start / 8..end.div_ceil(8)).map(move |eight| {
        let (low, high) = (start.max(eight * 8) - eight * 8, end.min(eight * 8 + 8) - eight * 8);
        (eight, (u64::MAX << (8 * low)) & (u64::MAX >> (64 - 8 * high)))
    })
}

/// The states of a zone's frames.
#[derive(Clone, Copy)]
pub(crate) struct States<'m> {
    spans: &'m [Span],
    /// A byte for each pageblock: its [`Unity`].
    unities: &'m [AtomicU64],
    planes: &'m [Planes],
}

impl<'m> States<'m> {
    /// Words of metadata for this many pageblocks: their planes and their unities.
    pub fn words_for(pageblocks: usize) -> usize {
        pageblocks * 2 * WORDS + pageblocks.div_ceil(8)
    }

    /// The states of the pageblocks in `spans`, all reserved, over [`States::words_for`] words that may hold anything.
    pub fn new(spans: &'m [Span], pageblocks: usize, metadata: &'m [AtomicU64]) -> Self {
        let (planes, unities) = metadata.split_at(pageblocks * 2 * WORDS);
        for eight in unities {
            eight.store(all_of(Unity::Reserved), Relaxed);
        }
        Self { spans, unities, planes: planes.as_chunks().0 }
    }

    /// The pageblock that a frame is in, and the frame's offset there; `None` where there is no RAM.
    #[inline]
    pub fn locate(&self, pfn: Pfn) -> Option<(usize, u32)> {
        let span = match self.spans {
            [only] => only,
            spans => &spans[spans.partition_point(|span| span.start() <= pfn).checked_sub(1)?],
        };
        let distance = pfn.number().wrapping_sub(span.start().number());
        let pageblock = distance / PAGEBLOCK_FRAMES;
        let inside = pageblock < span.pageblocks() as u64;
        inside.then(|| (span.first() + pageblock as usize, (distance % PAGEBLOCK_FRAMES) as u32))
    }

    /// The first frame of a pageblock.
    #[inline]
    pub fn start_of(&self, pageblock: usize) -> Pfn {
        let span = match self.spans {
            [only] => only,
            spans => &spans[spans.partition_point(|span| span.first() <= pageblock) - 1],
        };
        span.start().offset((pageblock - span.first()) as u64 * PAGEBLOCK_FRAMES)
    }

    /// What the pageblock is as a whole.
    #[inline]
    pub fn unity(&self, pageblock: usize) -> Unity {
        const ALL: [Unity; 6] =
            [Unity::Reserved, Unity::Free, Unity::Allocated, Unity::LowerHalf, Unity::UpperHalf, Unity::Split];
        ALL[(self.unities[pageblock / 8].load(Relaxed) >> (pageblock % 8 * 8) & 0xff) as usize]
    }

    /// Says what the pageblock is as a whole; its words are another matter.
    #[inline]
    pub fn set_unity(&self, pageblock: usize, unity: Unity) {
        let (eight, shift) = (&self.unities[pageblock / 8], pageblock % 8 * 8);
        eight.store(eight.load(Relaxed) & !(0xff << shift) | (unity as u64) << shift, Relaxed);
    }

    /// Whether the pageblocks are all the same as a whole.
    pub fn all(&self, pageblocks: Range<usize>, unity: Unity) -> bool {
        eights(pageblocks).all(|(eight, mask)| self.unities[eight].load(Relaxed) & mask == all_of(unity) & mask)
    }

    /// Says of pageblocks what they all are as a whole.
    pub fn set_all(&self, pageblocks: Range<usize>, unity: Unity) {
        for (eight, mask) in eights(pageblocks) {
            let word = &self.unities[eight];
            word.store(word.load(Relaxed) & !mask | all_of(unity) & mask, Relaxed);
        }
    }

    /// A word of a pageblock that is split.
    #[inline]
    pub fn word(&self, pageblock: usize, word: usize) -> Word<'m> {
        let planes = &self.planes[pageblock];
        Word { free: &planes[word % WORDS * 2], head: &planes[word % WORDS * 2 + 1] }
    }

    /// Whether an allocated block of order 0 is at `pfn`.
    #[inline]
    pub fn is_single(&self, pfn: Pfn) -> bool {
        self.locate(pfn).is_some_and(|(pageblock, offset)| {
            let (word, bit) = place(offset);
            self.unity(pageblock) == Unity::Split && self.word(pageblock, word).singles() >> bit & 1 == 1
        })
    }

    /// The order of the allocated block that starts at `pfn`.
    ///
    /// # Errors
    /// [`FreeError`], saying what is there instead; to be believed only under the zone's lock.
    #[inline]
    pub fn order_of(&self, pfn: Pfn) -> Result<Order, FreeError> {
        let (pageblock, offset) = self.locate(pfn).ok_or(FreeError::NotManaged(pfn))?;
        if self.unity(pageblock) == Unity::Split {
            let (word, bit) = place(offset);
            if self.word(pageblock, word).heads() >> bit & 1 == 1 {
                return Ok(self.extent(pageblock, word, bit));
            }
        }
        self.order_of_odd(pfn, pageblock, offset)
    }

    /// [`States::order_of`] for whole pageblocks, and for frames that no block starts at.
    #[cold]
    fn order_of_odd(&self, pfn: Pfn, pageblock: usize, offset: u32) -> Result<Order, FreeError> {
        let start = self.start_of(pageblock);
        let whole = |head: Pfn, order| {
            if pfn == head { Ok(order) } else { Err(FreeError::Interior { pfn, head, order }) }
        };
        match self.unity(pageblock) {
            Unity::Split => {}
            Unity::Free => return Err(FreeError::AlreadyFree(pfn)),
            Unity::Reserved => return Err(FreeError::Reserved(pfn)),
            Unity::Allocated => return whole(start, Order::PAGEBLOCK),
            Unity::LowerHalf => return whole(start, Order::MAX),
            Unity::UpperHalf => return whole(Pfn::new(start.number() - PAGEBLOCK_FRAMES), Order::MAX),
        }
        let (word, bit) = place(offset);
        let states = self.word(pageblock, word);
        if states.free() >> bit & 1 == 1 {
            return Err(FreeError::AlreadyFree(pfn));
        }
        if states.reserved() >> bit & 1 == 1 {
            return Err(FreeError::Reserved(pfn));
        }
        let Some((word, bit)) = self.head_before(pageblock, word, bit) else {
            // Only a reader without the lock can come here, while the block is being freed.
            return Err(FreeError::AlreadyFree(pfn));
        };
        let head = start.offset(word as u64 * u64::from(WORD_FRAMES) + u64::from(bit));
        Err(FreeError::Interior { pfn, head, order: self.extent(pageblock, word, bit) })
    }

    /// The order of the allocated block whose head this is: it reaches to the next bit of *free | head*.
    #[inline]
    fn extent(&self, pageblock: usize, word: usize, bit: u32) -> Order {
        let behind = self.word(pageblock, word).bounds() >> bit >> 1;
        let frames = if behind != 0 {
            behind.trailing_zeros() + 1
        } else if bit != 0 {
            WORD_FRAMES - bit
        } else {
            let inside = |word: &usize| self.word(pageblock, *word).bounds() == 0;
            WORD_FRAMES * ((word + 1..WORDS).take_while(inside).count() as u32 + 1)
        };
        Order::new(frames.ilog2() as u8).unwrap_or(Order::MAX)
    }

    /// The head of the allocated block that this frame lies inside.
    fn head_before(&self, pageblock: usize, word: usize, bit: u32) -> Option<(usize, u32)> {
        let below = self.word(pageblock, word).heads() & ((1 << bit) - 1);
        let heads = core::iter::once((word, below));
        let heads = heads.chain((0..word).rev().map(|word| (word, self.word(pageblock, word).heads())));
        heads.filter(|(_, heads)| *heads != 0).map(|(word, heads)| (word, heads.ilog2())).next()
    }

    /// The order and state of the block that starts at `offset` in a split pageblock, of which the words in the mask
    /// `loans` are on loan; `None` inside an allocated block.
    pub fn block_at(&self, pageblock: usize, loans: u8, offset: u32) -> Option<(Order, BlockState)> {
        let (word, bit) = place(offset);
        let states = self.word(pageblock, word);
        let order = |order: u32| Order::new(order as u8);
        let lent = |word: usize| loans >> word & 1 == 1;
        let state = if lent(word) { BlockState::Cached } else { BlockState::Free };
        if states.free() == u64::MAX && !lent(word) {
            let full = |word: usize| u64::from(self.word(pageblock, word).free() == u64::MAX && !lent(word)) << word;
            let full = (0..WORDS).fold(0, |mask, word| mask | full(word));
            let (_, words) = buddy::blocks(full).find(|(first, _)| *first as usize == word)?;
            return Some((order(WORD_ORDER + words)?, BlockState::Free));
        }
        let starting = |frames: u64| buddy::blocks(frames).find(|(first, _)| *first == bit).and_then(|(_, k)| order(k));
        if states.free() >> bit & 1 == 1 {
            Some((starting(states.free())?, state))
        } else if states.reserved() >> bit & 1 == 1 {
            Some((starting(states.reserved())?, BlockState::Reserved))
        } else {
            (states.heads() >> bit & 1 == 1).then(|| (self.extent(pageblock, word, bit), BlockState::Allocated))
        }
    }
}
