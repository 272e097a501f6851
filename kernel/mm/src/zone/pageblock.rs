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
    mobility: u8,
}

impl Key {
    #[inline]
    pub fn mobility(self) -> Mobility {
        Mobility::ALL[usize::from(self.mobility)]
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
    /// A bit for each word that is on loan: nobody but its borrower takes frames from it.
    loans: u8,
    spare: [u8; 3],
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

    #[inline]
    pub fn key(&self) -> Key {
        self.key
    }

    /// How many frames of the pageblock are free and not on loan.
    pub fn free(&self) -> u32 {
        self.free.into()
    }

    /// Whether the word is on loan.
    #[inline]
    pub fn is_lent(&self, word: usize) -> bool {
        self.loans >> word & 1 == 1
    }

    /// The words that are on loan, a bit each.
    pub fn loans(&self) -> u8 {
        self.loans
    }

    /// The order of the largest free block here; 10 for both halves of a free block of order 10.
    #[inline]
    pub fn largest(&self) -> Option<Order> {
        self.key.largest()
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
    pub states: States<'m>,
}

impl<'m> Pageblock<'_, 'm> {
    #[inline]
    fn word(&self, word: usize) -> Word<'m> {
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
        self.summary.free = if unity == Unity::Free { PAGEBLOCK_FRAMES as u16 } else { 0 };
        self.summary.key.level = largest.map_or(0, |order| order.get() + 1);
    }

    /// Writes the words of a pageblock that was of one piece, so that its parts can change.
    fn split(&mut self) {
        let (head, level) = match self.unity() {
            Unity::Free => (false, WORD_ORDER + 1),
            Unity::Reserved => (true, 0),
            Unity::Split => return,
            Unity::Allocated | Unity::LowerHalf | Unity::UpperHalf => unreachable!("an allocated block is not split"),
        };
        for word in 0..WORDS {
            self.word(word).fill(true, head);
        }
        self.summary.levels = Levels::uniform(level);
        self.summary.loans = 0;
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
        for word in first..first + (1 << (order - WORD_ORDER)) {
            self.word(word).allocate(u64::MAX, u64::from(word == first));
            self.summary.levels.set(word, 0);
        }
        first as u32 * WORD_FRAMES
    }

    /// Frees the block of `order`, at most 9, that starts at `offset`. The caller has seen that there is such a block.
    ///
    /// Frames of a word that is on loan are not counted: they are the borrower's to find.
    #[inline]
    pub fn free(&mut self, offset: u32, order: Order) {
        if order == Order::PAGEBLOCK {
            return self.unite(Unity::Free, Some(Order::PAGEBLOCK));
        }
        let frames = order.frames() as u16;
        let (word, bit) = place(offset);
        let order = u32::from(order.get());
        if order < WORD_ORDER {
            self.word(word).release(buddy::ones(order) << bit);
            if self.summary.is_lent(word) {
                return;
            }
            self.summary.free += frames;
            // Merging only ever raises a level, and to that of the block that the freed one is part of now.
            self.raise(word, buddy::order_around(self.word(word).free(), bit) + 1);
        } else {
            self.summary.free += frames;
            for word in word..word + (1 << (order - WORD_ORDER)) {
                self.word(word).release(u64::MAX);
                self.summary.levels.set(word, WORD_ORDER + 1);
            }
            self.settle();
        }
    }

    #[inline]
    fn raise(&mut self, word: usize, level: u32) {
        if level > self.summary.levels.of(word) {
            self.summary.levels.set(word, level);
            self.settle();
        }
    }

    /// Frees blocks of order 0 in one word, and returns the frames at which there was no such block.
    #[inline]
    pub fn free_singles(&mut self, word: usize, frames: u64) -> u64 {
        let states = self.word(word);
        let good = frames & states.singles();
        states.release(good);
        if !self.summary.is_lent(word) {
            // Mostly it is one frame, and counting and merging one is cheaper than a word.
            let (count, level) = if good.is_power_of_two() {
                (1, buddy::order_around(states.free(), good.trailing_zeros()) + 1)
            } else {
                (good.count_ones(), buddy::level(states.free()))
            };
            self.summary.free += count as u16;
            self.raise(word, level);
        }
        frames & !good
    }

    /// Lends a word with free frames: all of them become blocks of order 0, and only the borrower takes frames from the
    /// word until it is given back. Returns the word and those frames.
    pub fn lend(&mut self) -> (usize, u64) {
        if self.unity() == Unity::Free {
            self.split();
        }
        let word = self.summary.levels.tightest(0).expect("the pageblock has a free frame");
        let states = self.word(word);
        let frames = states.free();
        states.allocate(frames, frames);
        self.summary.free -= frames.count_ones() as u16;
        self.summary.loans |= 1 << word;
        self.summary.levels.set(word, 0);
        self.settle();
        (word, frames)
    }

    /// The frames of a lent word that have become free meanwhile: lends them as well.
    pub fn lend_more(&mut self, word: usize) -> u64 {
        let states = self.word(word);
        let frames = states.free();
        states.allocate(frames, frames);
        frames
    }

    /// Takes a lent word back, and returns how many of its frames are free now.
    pub fn end_loan(&mut self, word: usize) -> u32 {
        self.summary.loans &= !(1 << word);
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
            if !self.summary.is_lent(word) {
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
fn parts(from: u32, to: u32) -> impl Iterator<Item = (usize, u64)> {
    (place(from).0..to.div_ceil(WORD_FRAMES) as usize).map(move |word| {
        let first = word as u32 * WORD_FRAMES;
        let (low, high) = (from.max(first) - first, to.min(first + WORD_FRAMES) - first);
        (word, (u64::MAX << low) & (u64::MAX >> (WORD_FRAMES - high)))
    })
}
