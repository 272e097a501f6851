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
//! what is read without the lock is a hint.

use crate::sync::atomic::fixed::{AtomicU8, AtomicU16, AtomicU64, Ordering::Relaxed};
use core::ops::Range;

use super::WordNumber;
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

    /// The heads of the allocated blocks of `order`, below [`WORD_ORDER`].
    #[inline]
    pub fn allocated(self, order: u32) -> u64 {
        let (free, head) = (self.free.load(Relaxed), self.head.load(Relaxed));
        if order == 0 {
            buddy::exactly(head & !free, head | free, 0)
        } else {
            buddy::exactly(head & !free, head | free, order)
        }
    }

    /// Makes free frames allocated blocks that begin at `heads`.
    #[inline]
    pub fn allocate(self, frames: u64, heads: u64) {
        self.head.store(self.head.load(Relaxed) | heads, Relaxed);
        self.free.store(self.free.load(Relaxed) & !frames, Relaxed);
    }

    /// Makes the frames of allocated blocks one block that begins at `head`, or goes on from another word.
    pub fn join(self, frames: u64, head: u64) {
        self.head.store(self.head.load(Relaxed) & !frames | head, Relaxed);
    }

    /// Makes the frames of allocated blocks free, and returns all that are free then.
    #[inline]
    pub fn release(self, frames: u64) -> u64 {
        let (free, head) = (self.free.load(Relaxed) | frames, self.head.load(Relaxed) & !frames);
        self.free.store(free, Relaxed);
        self.head.store(head, Relaxed);
        free & !head
    }

    /// Makes an allocated block of order 0 free, and returns all frames that are free then; `None` if it is no such block.
    #[inline(always)]
    pub fn release_single(self, frame: u64) -> Option<u64> {
        let (free, head) = (self.free.load(Relaxed), self.head.load(Relaxed));
        if buddy::exactly(head & !free, head | free, 0) & frame == 0 {
            return None;
        }
        let (free, head) = (free | frame, head & !frame);
        self.free.store(free, Relaxed);
        self.head.store(head, Relaxed);
        Some(free & !head)
    }

    /// Gives every frame the same two bits.
    pub fn fill(self, free: bool, head: bool) {
        self.free.store((free as u64).wrapping_neg(), Relaxed);
        self.head.store((head as u64).wrapping_neg(), Relaxed);
    }
}

/// The states of a zone's frames.
#[derive(Clone, Copy)]
pub(crate) struct States<'m> {
    /// The first of the spans, which mostly is the only one or by far the largest.
    first: Span,
    spans: &'m [Span],
    planes: &'m [Planes],
    /// For each pageblock its [`Unity`] in the low byte; in the high byte a bit for each word that is on loan, as long as
    /// the pageblock is split.
    wholes: &'m [AtomicU16],
    /// For each pageblock a bit for each word of which an arena is returning blocks. Not the lock guards these: an arena
    /// sets its bit before it collects the first block, and takes it back under the lock when it returned the last.
    returning: &'m [AtomicU8],
}

/// The memory of a zone's [`States`], which may hold anything.
pub(crate) struct Shared<'m> {
    /// [`States::words_for`] the number of pageblocks.
    pub words: &'m [AtomicU64],
    /// As many as pageblocks, or more.
    pub wholes: &'m [AtomicU16],
    /// As many as pageblocks, or more.
    pub returning: &'m [AtomicU8],
}

impl<'m> States<'m> {
    /// Words of metadata for this many pageblocks: their planes.
    pub fn words_for(pageblocks: usize) -> usize {
        pageblocks * 2 * WORDS
    }

    /// The states of the pageblocks in `spans`, all reserved.
    pub fn new(spans: &'m [Span], pageblocks: usize, memory: Shared<'m>) -> Self {
        let states = Self {
            first: spans.first().copied().unwrap_or_default(),
            spans,
            planes: memory.words.as_chunks().0,
            wholes: &memory.wholes[..pageblocks],
            returning: &memory.returning[..pageblocks],
        };
        states.returning.iter().for_each(|words| words.store(0, Relaxed));
        states.set_all(0..pageblocks, Unity::Reserved);
        states
    }

    /// The pageblock that a frame is in, and the frame's offset there; `None` where there is no RAM.
    #[inline]
    pub fn locate(&self, pfn: Pfn) -> Option<(usize, u32)> {
        self.first.locate(pfn).or_else(|| self.locate_behind(pfn))
    }

    /// [`States::locate`] behind the first span.
    #[inline(never)]
    fn locate_behind(&self, pfn: Pfn) -> Option<(usize, u32)> {
        let behind = self.spans.partition_point(|span| span.start() <= pfn);
        self.spans[behind.checked_sub(1)?].locate(pfn)
    }

    /// The first frame of a pageblock.
    #[inline]
    pub fn start_of(&self, pageblock: usize) -> Pfn {
        let span = if pageblock < self.first.pageblocks() {
            &self.first
        } else {
            &self.spans[self.spans.partition_point(|span| span.first() <= pageblock) - 1]
        };
        span.start().offset((pageblock - span.first()) as u64 * PAGEBLOCK_FRAMES)
    }

    /// What the pageblock is as a whole.
    #[inline]
    pub fn unity(&self, pageblock: usize) -> Unity {
        const ALL: [Unity; 6] =
            [Unity::Reserved, Unity::Free, Unity::Allocated, Unity::LowerHalf, Unity::UpperHalf, Unity::Split];
        ALL[usize::from(self.wholes[pageblock].load(Relaxed) as u8)]
    }

    /// Says what the pageblock is as a whole; its words are another matter. Nothing of it is on loan.
    #[inline]
    pub fn set_unity(&self, pageblock: usize, unity: Unity) {
        self.wholes[pageblock].store(unity as u16, Relaxed);
    }

    /// Whether the pageblocks are all the same as a whole.
    pub fn all(&self, pageblocks: Range<usize>, unity: Unity) -> bool {
        self.wholes[pageblocks].iter().all(|whole| whole.load(Relaxed) == unity as u16)
    }

    /// Says of pageblocks what they all are as a whole.
    pub fn set_all(&self, pageblocks: Range<usize>, unity: Unity) {
        self.wholes[pageblocks].iter().for_each(|whole| whole.store(unity as u16, Relaxed));
    }

    /// Says of a word of a split pageblock whether it is on loan: nobody but its borrower takes frames from one.
    pub fn set_lent(&self, pageblock: usize, word: usize, lent: bool) {
        let (whole, bit) = (&self.wholes[pageblock], 0x100 << word);
        whole.store(whole.load(Relaxed) & !bit | if lent { bit } else { 0 }, Relaxed);
    }

    /// Whether the pageblock is split, so that its words speak, and this word of it is not on loan.
    #[inline]
    pub fn speaks(&self, pageblock: usize, word: usize) -> bool {
        self.wholes[pageblock].load(Relaxed) & (0xff | 0x100 << word) == Unity::Split as u16
    }

    /// Whether a word of a split pageblock is on loan.
    #[inline]
    pub fn is_lent(&self, pageblock: usize, word: usize) -> bool {
        self.wholes[pageblock].load(Relaxed) & 0x100 << word != 0
    }

    /// A word of a pageblock that is split.
    #[inline]
    pub fn word(&self, pageblock: usize, word: usize) -> Word<'m> {
        let planes = &self.planes[pageblock];
        Word { free: &planes[word % WORDS * 2], head: &planes[word % WORDS * 2 + 1] }
    }

    /// Begins the return of blocks of `order` in the word of the one that starts at `pfn`: the word, and the heads of all
    /// blocks of the order that are allocated in it. Until [`States::end_return`] nobody else begins one for the word.
    ///
    /// `None` if somebody else did, if the word is on loan, or if no such block starts at `pfn`. Only under the lock, and the
    /// arena must have the blocks before that ends: whoever frees one of them elsewhere has to be able to tell the arena.
    #[inline]
    pub fn begin_return(&self, pfn: Pfn, order: Order) -> Option<(WordNumber, u64)> {
        let (pageblock, offset) = self.locate(pfn)?;
        let (word, bit) = place(offset);
        if !self.speaks(pageblock, word) || self.returning[pageblock].fetch_or(1 << word, Relaxed) >> word & 1 == 1 {
            return None;
        }
        let (number, allocated) =
            (WordNumber::new(pageblock, word), self.word(pageblock, word).allocated(order.get().into()));
        if allocated >> bit & 1 == 0 {
            self.end_return(number);
            return None;
        }
        Some((number, allocated))
    }

    /// Ends the return of blocks in a word.
    pub fn end_return(&self, word: WordNumber) {
        let (pageblock, word) = word.place();
        self.returning[pageblock].fetch_and(!(1 << word), Relaxed);
    }

    /// Whether an arena is returning blocks of the word.
    #[inline]
    pub fn is_returning(&self, pageblock: usize, word: usize) -> bool {
        self.returning[pageblock].load(Relaxed) >> word & 1 == 1
    }

    /// Whether an arena has borrowed the word that a frame is in, or is returning blocks of it.
    pub fn is_in_arena(&self, pfn: Pfn) -> bool {
        self.locate(pfn).is_some_and(|(pageblock, offset)| {
            let word = place(offset).0;
            self.is_lent(pageblock, word) || self.is_returning(pageblock, word)
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

    /// The order and state of the block that starts at `offset` in a split pageblock; `None` inside an allocated block.
    pub fn block_at(&self, pageblock: usize, offset: u32) -> Option<(Order, BlockState)> {
        let (word, bit) = place(offset);
        let states = self.word(pageblock, word);
        let order = |order: u32| Order::new(order as u8);
        let lent = |word: usize| self.is_lent(pageblock, word);
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
