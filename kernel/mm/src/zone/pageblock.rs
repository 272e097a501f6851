//! What a zone must know of a pageblock without reading its 512 frames' bits, and what changes both together.

use bytemuck::{Pod, Zeroable};

use super::levels::Levels;
use super::states::{States, Unity, WORDS, Word, place};
use crate::buddy::{self, WORD_FRAMES, WORD_ORDER};
use crate::frame::{Mobility, Order, PAGEBLOCK_FRAMES};

/// What decides a pageblock's place in the index.
#[derive(Clone, Copy, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Key {
    /// The order of the largest free block that starts or lies in the pageblock plus one.
    level: u8,
    /// The pageblock's mobility, and [`Key::ISOLATED`].
    mobility: u8,
}

impl Key {
    /// Hides the pageblock's own mobility.
    const ISOLATED: u8 = 0x80;

    #[inline]
    pub fn mobility(self) -> Mobility {
        Mobility::ALL.get(usize::from(self.mobility)).copied().unwrap_or(Mobility::Isolate)
    }

    /// Whether the mobility is one that requests have, so that free frames are just free.
    #[inline]
    pub fn is_ordinary(self) -> bool {
        self.mobility < Mobility::HighAtomic as u8
    }

    /// The order of the largest free block; 10 for both halves of a free block of order 10.
    #[inline]
    pub fn largest(self) -> Option<Order> {
        Order::new(self.level.wrapping_sub(1))
    }
}

/// The summary of a pageblock: 16 bytes.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Summary {
    /// While the pageblock is split: what each word holds that is free and not on loan.
    levels: Levels,
    /// How many frames are free and not on loan.
    free: u16,
    key: Key,
    /// How many of the allocated frames can move in a pageblock of what cannot, or the reverse, at most. What is freed is
    /// taken for the pageblock's own kind, as long as there is any.
    foreign: u16,
    spare: [u8; 2],
}

impl Summary {
    /// A pageblock of reserved frames.
    pub fn reserved() -> Self {
        Self { key: Key { level: 0, mobility: Mobility::Movable as u8 }, ..Self::zeroed() }
    }

    /// Half of a free block of order 10.
    pub fn free_pair() -> Self {
        let key = Key { level: Order::MAX.get() + 1, mobility: Mobility::Movable as u8 };
        Self { key, free: PAGEBLOCK_FRAMES as u16, ..Self::zeroed() }
    }

    #[inline]
    pub fn mobility(&self) -> Mobility {
        self.key.mobility()
    }

    pub fn set_mobility(&mut self, mobility: Mobility) {
        self.key.mobility = mobility as u8;
    }

    /// The mobility that the pageblock has when it is not isolated.
    pub fn own_mobility(&self) -> Mobility {
        Mobility::ALL[usize::from(self.key.mobility & !Key::ISOLATED)]
    }

    /// Isolates the pageblock, or ends that; its own mobility stays what it is.
    pub fn set_isolated(&mut self, isolated: bool) {
        self.key.mobility = self.own_mobility() as u8 | if isolated { Key::ISOLATED } else { 0 };
    }

    /// How many allocated frames are of the other kind, movable or not, than the pageblock: an estimate from above.
    pub fn foreign(&self) -> u16 {
        self.foreign.min(PAGEBLOCK_FRAMES as u16 - self.free)
    }

    pub fn set_foreign(&mut self, frames: u16) {
        self.foreign = frames;
    }

    #[inline]
    pub fn key(&self) -> Key {
        self.key
    }

    /// How many frames of the pageblock are free and not on loan.
    pub fn free(&self) -> u32 {
        self.free.into()
    }

    /// The order of the largest free block here; 10 for both halves of a free block of order 10.
    #[inline]
    pub fn largest(&self) -> Option<Order> {
        self.key.largest()
    }

    /// Counts frames of a split pageblock that became free.
    #[inline]
    pub fn count_free(&mut self, frames: u64) {
        self.free += frames as u16;
    }

    /// The level of the largest block in a word of a split pageblock.
    #[inline]
    pub fn level(&self, word: usize) -> u32 {
        self.levels.of(word)
    }

    /// Whether the summary says of this word that its largest block has this level.
    pub fn says(&self, word: usize, level: u32) -> bool {
        self.levels.of(word) == level
    }
}

/// A pageblock at work: its summary and its frames' states, which change together under the zone's lock.
pub(super) struct Pageblock<'a, 'm> {
    pub number: usize,
    pub summary: &'a mut Summary,
    pub states: &'a States<'m>,
}

impl<'m> Pageblock<'_, 'm> {
    #[inline]
    pub fn word(&self, word: usize) -> Word<'m> {
        self.states.word(self.number, word)
    }

    #[inline]
    pub fn unity(&self) -> Unity {
        self.states.unity(self.number)
    }

    /// Makes the pageblock one piece; `largest` is its largest free block.
    #[inline]
    pub fn unite(&mut self, unity: Unity, largest: Option<Order>) {
        self.states.set_unity(self.number, unity);
        self.summary.foreign = 0;
        self.summary.free = if unity == Unity::Free { PAGEBLOCK_FRAMES as u16 } else { 0 };
        self.set_largest(largest);
    }

    /// Says what the largest free block is of a pageblock that stays what it is.
    #[inline]
    pub fn set_largest(&mut self, largest: Option<Order>) {
        self.summary.key.level = largest.map_or(0, |order| order.get() + 1);
    }

    /// Writes the words of a pageblock that was of one piece, so that its parts can change.
    pub fn split(&mut self) {
        let (free, head, level) = match self.unity() {
            Unity::Free => (true, false, WORD_ORDER + 1),
            Unity::Reserved => (true, true, 0),
            Unity::Allocated => (false, false, 0),
            Unity::Split => return,
            Unity::LowerHalf | Unity::UpperHalf => unreachable!("a pageblock is not part of a larger block"),
        };
        for word in 0..WORDS {
            self.word(word).fill(free, head);
        }
        if self.unity() == Unity::Allocated {
            self.word(0).allocate(0, 1);
        }
        self.summary.levels = Levels::uniform(level);
        self.states.set_unity(self.number, Unity::Split);
    }

    /// Brings the summary up to date after a level has changed.
    #[inline]
    fn settle(&mut self) {
        let largest = self.summary.levels.largest();
        self.summary.key.level = if largest <= WORD_ORDER {
            largest as u8
        } else if self.summary.free == PAGEBLOCK_FRAMES as u16 {
            return self.unite(Unity::Free, Some(Order::PAGEBLOCK));
        } else {
            (WORD_ORDER + buddy::level(self.summary.levels.full())) as u8
        };
    }

    /// Allocates a block of `order`, at most 9, for which there is room, and returns its first frame's offset.
    ///
    /// The block is taken from the smallest sufficient one, the lowest of them in the tightest word; its low half
    /// is what is kept at each split.
    #[inline]
    pub fn allocate(&mut self, order: Order) -> u32 {
        if self.unity() == Unity::Free {
            if order == Order::PAGEBLOCK {
                self.unite(Unity::Allocated, None);
                return 0;
            }
            self.split();
        }
        self.summary.free -= order.frames() as u16;
        let order = u32::from(order.get());
        let offset = if order < WORD_ORDER { self.allocate_in_word(order) } else { self.allocate_words(order) };
        self.settle();
        offset
    }

    /// Allocates the block of `order`, at most 9, at `offset`, all of which must be free.
    pub fn allocate_at(&mut self, offset: u32, order: Order) {
        if order == Order::PAGEBLOCK {
            return self.unite(Unity::Allocated, None);
        }
        self.split();
        self.summary.free -= order.frames() as u16;
        let (first, bit) = place(offset);
        let order = u32::from(order.get());
        if order < WORD_ORDER {
            self.word(first).allocate(buddy::ones(order) << bit, 1 << bit);
            self.summary.levels.set(first, buddy::level(self.word(first).free()));
        } else {
            self.allocate_words_at(first, order);
        }
        self.settle();
    }

    #[inline]
    fn allocate_in_word(&mut self, order: u32) -> u32 {
        let word = self.summary.levels.tightest(order).expect("the pageblock has room for the order");
        let states = self.word(word);
        let bit = buddy::tightest(states.free(), order).expect("the word has room for the order");
        states.allocate(buddy::ones(order) << bit, 1 << bit);
        self.summary.levels.set(word, buddy::level(states.free()));
        word as u32 * WORD_FRAMES + bit
    }

    #[inline]
    fn allocate_words(&mut self, order: u32) -> u32 {
        let first = buddy::tightest(self.summary.levels.full(), order - WORD_ORDER)
            .expect("the pageblock has room for the order") as usize;
        self.allocate_words_at(first, order);
        first as u32 * WORD_FRAMES
    }

    #[inline]
    fn allocate_words_at(&mut self, first: usize, order: u32) {
        for word in first..first + (1 << (order - WORD_ORDER)) {
            self.word(word).allocate(u64::MAX, u64::from(word == first));
            self.summary.levels.set(word, 0);
        }
    }

    /// Frees the block of `order`, from 6 to 9, that starts at `offset`. The caller has seen that there is such a block.
    #[inline]
    pub fn free_words(&mut self, offset: u32, order: Order) {
        if order == Order::PAGEBLOCK {
            return self.unite(Unity::Free, Some(Order::PAGEBLOCK));
        }
        let first = place(offset).0;
        self.summary.free += order.frames() as u16;
        for word in first..first + (1 << (u32::from(order.get()) - WORD_ORDER)) {
            self.word(word).release(u64::MAX);
            self.summary.levels.set(word, WORD_ORDER + 1);
        }
        self.settle();
    }

    /// Brings the summary up to date with a word whose largest block has grown to this level.
    pub fn raise(&mut self, word: usize, level: u32) {
        self.summary.levels.set(word, level);
        self.settle();
    }

    /// Lends a word with a free block of `order`, at most 3: its free blocks of that order become allocated ones, and
    /// only the borrower takes frames from the word until it is given back. Returns the word, the heads of those blocks,
    /// and how many other frames of the word are free.
    pub fn lend(&mut self, order: u32) -> (usize, u64, u32) {
        if self.unity() == Unity::Free {
            self.split();
        }
        let word = self.summary.levels.tightest(order).expect("the pageblock has room for the order");
        let before = self.word(word).free();
        let heads = self.lend_more(word, order);
        let rest = before & !buddy::spread(heads, order);
        self.summary.free -= before.count_ones() as u16;
        self.states.set_lent(self.number, word, true);
        self.summary.levels.set(word, 0);
        self.settle();
        (word, heads, rest.count_ones())
    }

    /// The blocks of `order` that are free in a lent word: makes them allocated ones, and returns their heads.
    pub fn lend_more(&mut self, word: usize, order: u32) -> u64 {
        let states = self.word(word);
        let heads = buddy::starts(states.free(), order);
        states.allocate(buddy::spread(heads, order), heads);
        heads
    }

    /// Takes a lent word back, and returns how many of its frames are free now.
    pub fn end_loan(&mut self, word: usize) -> u32 {
        self.states.set_lent(self.number, word, false);
        let free = self.word(word).free();
        self.summary.free += free.count_ones() as u16;
        self.raise(word, buddy::level(free));
        free.count_ones()
    }

    /// Checks that the frames from `from` up to `to` are reserved.
    ///
    /// # Errors
    /// The offset of the first frame that is not.
    pub fn check_reserved(&self, from: u32, to: u32) -> Result<(), u32> {
        match self.unity() {
            Unity::Reserved => Ok(()),
            Unity::Split => {
                for (word, bits) in parts(from, to) {
                    let taken = bits & !self.word(word).reserved();
                    if taken != 0 {
                        return Err(word as u32 * WORD_FRAMES + taken.trailing_zeros());
                    }
                }
                Ok(())
            }
            _ => Err(from),
        }
    }

    /// Makes reserved frames free: those from `from` up to `to`. Returns how many count as free now.
    pub fn add(&mut self, from: u32, to: u32) -> u32 {
        debug_assert!(self.check_reserved(from, to).is_ok());
        if to - from == PAGEBLOCK_FRAMES as u32 {
            self.unite(Unity::Free, Some(Order::PAGEBLOCK));
            return to - from;
        }
        self.split();
        let mut count = 0;
        for (word, bits) in parts(from, to) {
            self.word(word).release(bits);
            if !self.states.is_lent(self.number, word) {
                count += bits.count_ones();
                self.summary.levels.set(word, buddy::level(self.word(word).free()));
            }
        }
        self.summary.free += count as u16;
        self.settle();
        count
    }
}

/// The words that hold the frames from `from` up to `to`, each with the bits of those frames.
pub(super) fn parts(from: u32, to: u32) -> impl Iterator<Item = (usize, u64)> {
    (place(from).0..to.div_ceil(WORD_FRAMES) as usize).map(move |word| {
        let first = word as u32 * WORD_FRAMES;
        let (low, high) = (from.max(first) - first, to.min(first + WORD_FRAMES) - first);
        (word, (u64::MAX << low) & (u64::MAX >> (WORD_FRAMES - high)))
    })
}
