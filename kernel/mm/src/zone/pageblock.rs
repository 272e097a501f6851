//! A pageblock: 512 frames, and the two bits of truth of each.
//!
//! | free | head | the frame is |
//! |---|---|---|
//! | 1 | 0 | free |
//! | 0 | 1 | the first of an allocated block |
//! | 0 | 0 | inside a block that is allocated or lent |
//! | 1 | 1 | the first of a block that is lent to a CPU's pages, or reserved: not to be given out |
//!
//! A block ends where the next bit of *free | head* is set, so its order is known exactly, and every bad free is told from a
//! good one in constant time. As long as a pageblock is of one piece its words are neither read nor written.
//!
//! All of it changes under the pageblock's own lock: its header is swapped for a value that no header has. A CPU that holds one
//! has interrupts masked and waits for nothing, or, with the zone locked, for the buddy's: so others spin for a moment only.
//! Frames become free under that lock alone; they are taken with the zone locked as well, so that what the zone knows to be free
//! stays free.

use crate::sync::atomic::{AtomicU64, Ordering, spin, store_last};

use Ordering::{Acquire, Relaxed, Release};

use super::blocks::BlockState;
use super::header::Header;
use super::levels::Levels;
use super::word::Word;
use crate::buddy::{self, WORD_FRAMES, WORD_ORDER};
use crate::frame::{Mobility, Order, PAGEBLOCK_FRAMES};

/// Words of 64 frames in a pageblock.
pub(super) const WORDS: usize = (PAGEBLOCK_FRAMES / WORD_FRAMES as u64) as usize;

/// What there is of a pageblock: 160 bytes.
#[derive(Default)]
#[repr(C)]
pub(crate) struct Pageblock {
    /// A [`Header`], or [`Header::LOCKED`].
    header: AtomicU64,
    /// The [`Levels`] of its words, while it is split.
    levels: AtomicU64,
    /// The next of the pageblocks that a search has to look at.
    next: AtomicU64,
    /// Makes the size five times a power of two, so that a pageblock is found by a shift and an addition.
    _spare: AtomicU64,
    /// Word by word the free bits and the head bits.
    planes: [[AtomicU64; 2]; WORDS],
}

impl Pageblock {
    /// 64-bit words that it takes.
    pub(crate) const SIZE: usize = 4 + 2 * WORDS;

    /// Makes it a pageblock that is not split, whatever it was.
    pub(crate) fn reset(&self, header: Header) {
        self.header.store(header.0, Relaxed);
    }

    /// Swaps the header for that of a pageblock that is locked. If another CPU has locked it, that is what is found.
    #[inline(always)]
    pub(super) fn swap(&self) -> Header {
        Header(self.header.swap(Header::LOCKED.0, Acquire))
    }

    /// Locks the pageblock, which has this number in its zone.
    #[inline(always)]
    pub(crate) fn lock(&self, number: usize) -> Locked<'_> {
        let found = self.swap();
        self.found(number, if found == Header::LOCKED { self.lock_slowly() } else { found })
    }

    /// Locks the pageblock, if no other CPU has.
    #[inline(always)]
    pub(crate) fn try_lock(&self, number: usize) -> Option<Locked<'_>> {
        let header = self.swap();
        if header == Header::LOCKED { None } else { Some(self.found(number, header)) }
    }

    /// The pageblock locked, by a swap that has found this header.
    #[inline(always)]
    pub(super) fn found(&self, number: usize, header: Header) -> Locked<'_> {
        Locked { number, header, pageblock: self }
    }

    #[cold]
    fn lock_slowly(&self) -> Header {
        loop {
            while self.glimpse() == Header::LOCKED {
                spin();
            }
            let found = self.swap();
            if found != Header::LOCKED {
                return found;
            }
        }
    }

    /// The header, for a CPU that has the zone's lock, which may believe only the parts of it that change under that: mobility,
    /// level, whether the pageblock is split.
    #[inline(always)]
    pub(crate) fn peek(&self) -> Header {
        loop {
            let header = self.glimpse();
            if header != Header::LOCKED {
                return header;
            }
            spin();
        }
    }

    /// The same, or that the pageblock is locked.
    #[inline(always)]
    pub(crate) fn glimpse(&self) -> Header {
        Header(self.header.load(Relaxed))
    }

    /// Frees the frame at `offset`, if it is allocated and that takes no more than to set bits; `least` is what
    /// [`Header::is_plain`] asks for.
    ///
    /// # Errors
    /// The header that was found, for [`found`](Self::found).
    #[inline(always)]
    pub(crate) fn free_quickly(&self, offset: u32, least: u64) -> Result<(), Header> {
        let mut header = self.swap().with_one_more();
        let (word, bit) = place(offset);
        if !header.is_plain(least) {
            return Err(header.with_one_less());
        }
        // It is dirty, and so the word may be stale, whatever comes of this.
        header.set_stale(word);
        if !self.word(word).release_frame(bit) {
            return Err(header.with_one_less());
        }
        self.unlock(header);
        Ok(())
    }

    /// Shows every word.
    pub(super) fn for_each_word(&self, visit: &mut impl FnMut(u64)) {
        let words = [&self.header, &self.levels, &self.next].into_iter().chain(self.planes.as_flattened());
        words.for_each(|word| visit(word.load(Relaxed)));
    }

    #[inline(always)]
    fn unlock(&self, header: Header) {
        store_last(&self.header, header.0, Release);
    }

    #[inline(always)]
    fn word(&self, word: usize) -> Word<'_> {
        Word(&self.planes[word % WORDS])
    }

    #[cfg(bifolio_loom)]
    pub fn prime(&self) {
        crate::sync::atomic::prime!(self.header, self.levels, self.next);
        self.planes.as_flattened().iter().for_each(|plane| crate::sync::atomic::prime!(plane));
    }
}

/// The word that a frame's bits are in, by the frame's offset in its pageblock, and the bit.
#[inline(always)]
pub(super) fn place(offset: u32) -> (usize, u32) {
    ((offset / WORD_FRAMES) as usize, offset % WORD_FRAMES)
}

/// A pageblock that is locked.
pub(crate) struct Locked<'a> {
    /// Its place in its zone.
    pub(super) number: usize,
    pub(super) header: Header,
    pageblock: &'a Pageblock,
}

impl Drop for Locked<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        self.pageblock.unlock(self.header);
    }
}

impl Locked<'_> {
    #[inline(always)]
    pub(crate) fn word(&self, word: usize) -> Word<'_> {
        self.pageblock.word(word)
    }

    pub(crate) fn levels(&self) -> Levels {
        Levels(self.pageblock.levels.load(Relaxed))
    }

    #[inline]
    fn set_levels(&self, levels: Levels) {
        self.pageblock.levels.store(levels.0, Relaxed);
    }

    /// The next of the pageblocks to look at.
    pub(crate) fn next(&self) -> u64 {
        self.pageblock.next.load(Relaxed)
    }

    pub(crate) fn set_next(&self, next: u64) {
        self.pageblock.next.store(next, Relaxed);
    }

    /// Has the words say from now on what the frames are, which were this as a whole: all free, or allocated as one block, or reserved
    /// where that is said of neither.
    pub(crate) fn split(&mut self, whole: Option<BlockState>) {
        debug_assert!(!self.header.is_split());
        let (free, head, level, count) = match whole {
            Some(BlockState::Free) => (true, false, WORD_ORDER + 1, PAGEBLOCK_FRAMES as u32),
            Some(_) => (false, false, 0, 0),
            None => (true, true, 0, 0),
        };
        (0..WORDS).for_each(|word| self.word(word).set(u64::MAX, free, head));
        if !free {
            self.word(0).allocate(0, 1);
        }
        self.set_levels(Levels::uniform(level));
        self.header.set_split(true);
        self.header.clear_stale();
        self.header.set_foreign(0);
        self.header.set_free(count);
        self.header.set_counted(count);
    }

    /// Has the words say nothing any more: the pageblock is one piece.
    pub(crate) fn unite(&mut self) {
        self.header.set_split(false);
        self.header.clear_stale();
        self.header.set_foreign(0);
        self.header.set_free(0);
        self.header.set_level(0);
    }

    /// Brings the levels of all words up to date, and returns the level of the largest free block.
    #[inline(always)]
    pub(crate) fn refresh(&mut self) -> u32 {
        if self.header.stale() != 0 {
            self.refresh_stale();
        }
        let levels = self.levels();
        let largest = levels.largest();
        if largest <= WORD_ORDER { largest } else { WORD_ORDER + buddy::level_of_eight(levels.full()) }
    }

    #[inline(never)]
    fn refresh_stale(&mut self) {
        let mut levels = self.levels();
        levels.forget(self.header.stale().into());
        for word in buddy::bits(self.header.stale().into()) {
            levels.put(word as usize, buddy::level(self.word(word as usize).free()));
        }
        self.set_levels(levels);
        self.header.clear_stale();
    }

    /// Takes a block of `order`, for which there must be room and all levels up to date: its offset.
    ///
    /// It comes from the smallest sufficient block, the lowest of them in the tightest word; its low half is what is kept at
    /// each split.
    #[inline(always)]
    pub(crate) fn allocate(&mut self, order: Order) -> u32 {
        let offset = self.choose(order);
        self.allocate_at(offset, order.get().into());
        offset
    }

    /// The offset of the block that [`allocate`](Self::allocate) takes.
    #[inline(always)]
    pub(crate) fn choose(&self, order: Order) -> u32 {
        let order = u32::from(order.get());
        let levels = self.levels();
        if order < WORD_ORDER {
            let word = levels.tightest(order).expect("the pageblock has room for the order");
            let bit = buddy::tightest(self.word(word).free(), order).expect("the word has room for the order");
            word as u32 * WORD_FRAMES + bit
        } else {
            let first = buddy::tightest(levels.full(), order - WORD_ORDER);
            first.expect("the pageblock has room for the order") * WORD_FRAMES
        }
    }

    /// Takes the block of `order`, below that of a pageblock, at `offset`, all of which must be free, and all levels up to date.
    #[inline(always)]
    pub(crate) fn allocate_at(&mut self, offset: u32, order: u32) {
        let (first, bit) = place(offset);
        let mut levels = self.levels();
        self.header.take_free(1 << order);
        if order < WORD_ORDER {
            self.word(first).allocate(buddy::ones(order) << bit, 1 << bit);
            levels.set(first, buddy::level(self.word(first).free()));
        } else {
            for word in first..first + (1 << (order - WORD_ORDER)) {
                self.word(word).allocate(u64::MAX, u64::from(word == first));
                levels.set(word, 0);
            }
        }
        self.set_levels(levels);
    }

    /// Takes all blocks of `order`, less than a word, of the word that has the smallest sufficient one, as lent ones: the word,
    /// their first frames, and how many frames they have. All levels must be up to date.
    #[inline]
    pub(crate) fn lend(&mut self, order: u32) -> (usize, u64, u32) {
        let mut levels = self.levels();
        let word = levels.tightest(order).expect("the pageblock has room for the order");
        let states = self.word(word);
        let free = states.free();
        let heads = buddy::starts(free, order);
        let frames = buddy::spread(heads, order);
        states.allocate(frames, heads);
        states.lend(heads, true);
        levels.set(word, if free == frames { 0 } else { buddy::level(free & !frames) });
        self.set_levels(levels);
        // Where a processor may have no instruction that counts bits, it takes twenty; and mostly the word is all of it free.
        let count = if frames == u64::MAX { WORD_FRAMES } else { frames.count_ones() };
        self.header.take_free(count);
        (word, heads, count)
    }

    /// Makes the block of `order`, below that of a pageblock, at `offset` free. It must be allocated, or lent.
    #[inline]
    pub(crate) fn release(&mut self, offset: u32, order: u32) {
        let (first, bit) = place(offset);
        if order < WORD_ORDER {
            return self.release_in_word(first, buddy::ones(order) << bit, 1 << order);
        }
        for word in first..first + (1 << (order - WORD_ORDER)) {
            self.release_in_word(word, u64::MAX, WORD_FRAMES);
        }
    }

    /// Makes frames of a word free, so many, all of which must be reserved, or of blocks that are allocated or lent.
    #[inline]
    pub(crate) fn release_in_word(&mut self, word: usize, frames: u64, count: u32) {
        self.word(word).set(frames, true, false);
        self.header.set_stale(word);
        self.header.add_free(count);
    }

    /// Makes frames free that are reserved: those from `from` up to `to`.
    pub(crate) fn add(&mut self, from: u32, to: u32) {
        let parts = buddy::parts(from as usize..to as usize);
        parts.for_each(|(word, frames)| self.release_in_word(word, frames, frames.count_ones()));
    }

    /// Whether an allocated block of exactly `order`, below that of a pageblock, begins at `offset`.
    #[inline]
    pub(crate) fn is_allocated(&self, offset: u32, order: u32) -> bool {
        let (word, bit) = place(offset);
        let word = self.word(word);
        if order < WORD_ORDER {
            return word.has_block(bit, order);
        }
        word.allocated() >> bit & 1 == 1 && self.order_at(offset) == order
    }

    /// The order of the allocated or lent block that begins at `offset`: it reaches to where the next thing begins.
    pub(crate) fn order_at(&self, offset: u32) -> u32 {
        let (word, bit) = place(offset);
        let behind = self.word(word).bounds() >> bit >> 1;
        let frames = if behind != 0 {
            behind.trailing_zeros() + 1
        } else if bit != 0 {
            WORD_FRAMES - bit
        } else {
            let inside = |word: &usize| self.word(*word).bounds() == 0;
            WORD_FRAMES * ((word + 1..WORDS).take_while(inside).count() as u32 + 1)
        };
        frames.ilog2()
    }

    /// The first frame of the block that a frame is inside of, which begins at none.
    pub(crate) fn head_before(&self, offset: u32) -> Option<u32> {
        let (word, bit) = place(offset);
        let below = self.word(word).heads() & ((1 << bit) - 1);
        let heads = core::iter::once((word, below));
        let heads = heads.chain((0..word).rev().map(|word| (word, self.word(word).heads())));
        heads.filter(|(_, heads)| *heads != 0).map(|(word, heads)| word as u32 * WORD_FRAMES + heads.ilog2()).next()
    }

    /// Makes the lent block at `offset` an allocated one.
    #[inline]
    pub(crate) fn take_back(&self, offset: u32) {
        let (word, bit) = place(offset);
        self.word(word).lend(1 << bit, false);
    }

    /// Marks the starts of blocks of order `into` in the allocated block of `order`, below that of a pageblock, at `offset`.
    pub(crate) fn mark_parts(&self, offset: u32, order: u32, into: u32) {
        let (first, bit) = place(offset);
        // Every `2^into`th frame of a word.
        let starts = u64::MAX / buddy::ones(into.min(WORD_ORDER));
        if order < WORD_ORDER {
            return self.word(first).allocate(0, starts & buddy::ones(order) << bit);
        }
        let step = 1 << into.saturating_sub(WORD_ORDER);
        for word in (first..first + (1 << (order - WORD_ORDER))).step_by(step) {
            self.word(word).allocate(0, starts);
        }
    }

    /// Makes the allocated frames of a block of `order`, below that of a pageblock, one block.
    pub(crate) fn join(&self, offset: u32, order: u32) {
        for (word, frames) in buddy::parts(offset as usize..offset as usize + (1 << order)) {
            self.word(word).set(frames, false, false);
        }
        let (word, bit) = place(offset);
        self.word(word).allocate(0, 1 << bit);
    }
}

/// The mobility of pageblocks that nobody has asked for yet.
pub(super) const INITIAL: Mobility = Mobility::Movable;
