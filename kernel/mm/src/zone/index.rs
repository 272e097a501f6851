//! Which pageblocks to look in: for each mobility and order, the pageblocks whose largest free block has that order.
//!
//! Each such bucket is a bitmap of 64-way levels: a bit at one level says that the word below it is not zero. Putting
//! a pageblock in, taking it out and finding the lowest cost one step a level, four of them for 32 TiB.

use core::ops::Range;

use crate::frame::{Mobility, Order};

/// Levels that a bitmap of `u32` pageblock numbers can need: 64^6 is more than 2^32.
const MAX_LEVELS: usize = 6;

/// The buckets of one zone.
pub(super) struct Index<'m> {
    /// All bitmaps, one bucket behind the other, each with its finest level first.
    words: &'m mut [u64],
    /// Where each level starts inside a bucket.
    levels: [u32; MAX_LEVELS],
    depth: usize,
    /// Words in a bucket.
    stride: usize,
    /// For each mobility a bit for each order whose bucket is not empty.
    filled: [u32; Mobility::COUNT],
}

/// The bucket of one mobility and order.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Bucket {
    pub mobility: Mobility,
    pub order: Order,
}

impl<'m> Index<'m> {
    /// Words that the index of this many pageblocks needs.
    pub fn words_for(pageblocks: usize) -> usize {
        let mut stride = 0;
        let mut words = pageblocks;
        loop {
            words = words.div_ceil(64);
            stride += words;
            if words <= 1 {
                return stride * Mobility::COUNT * Order::COUNT;
            }
        }
    }

    /// An empty index over `words`, of which there are [`Index::words_for`] the number of pageblocks.
    pub fn new(pageblocks: usize, words: &'m mut [u64]) -> Self {
        words.fill(0);
        let mut levels = [0; MAX_LEVELS];
        let (mut depth, mut stride, mut length) = (0, 0, pageblocks);
        while depth == 0 || length > 1 {
            levels[depth] = stride as u32;
            length = length.div_ceil(64);
            stride += length;
            depth += 1;
        }
        Self { words, levels, depth, stride, filled: [0; Mobility::COUNT] }
    }

    #[inline]
    fn base(&self, bucket: Bucket) -> usize {
        (bucket.mobility.index() * Order::COUNT + bucket.order.index()) * self.stride
    }

    /// Puts the pageblock into the bucket.
    #[inline]
    pub fn insert(&mut self, bucket: Bucket, pageblock: usize) {
        let word = &mut self.words[self.base(bucket) + pageblock / 64];
        let was = *word;
        *word = was | 1 << (pageblock % 64);
        if was == 0 {
            self.insert_above(bucket, pageblock / 64);
        }
    }

    /// Says at the levels above that a word of the finest has members now.
    #[inline(never)]
    fn insert_above(&mut self, bucket: Bucket, mut position: usize) {
        let base = self.base(bucket);
        for level in &self.levels[1..self.depth] {
            let word = &mut self.words[base + *level as usize + position / 64];
            let was = *word;
            *word = was | 1 << (position % 64);
            if was != 0 {
                return;
            }
            position /= 64;
        }
        self.filled[bucket.mobility.index()] |= 1 << bucket.order.get();
    }

    /// Puts every second pageblock of a range, which is not empty and starts at an even one, into the bucket.
    pub fn insert_even(&mut self, bucket: Bucket, pageblocks: Range<usize>) {
        debug_assert!(!pageblocks.is_empty() && pageblocks.start.is_multiple_of(2));
        let base = self.base(bucket);
        let (mut range, mut pattern) = (pageblocks, 0x5555_5555_5555_5555);
        for level in &self.levels[..self.depth] {
            let words = range.start / 64..range.end.div_ceil(64);
            for word in words.clone() {
                let (low, high) = (range.start.max(word * 64) - word * 64, range.end.min(word * 64 + 64) - word * 64);
                let members = pattern & (u64::MAX << low) & (u64::MAX >> (64 - high));
                self.words[base + *level as usize + word] |= members;
            }
            (range, pattern) = (words, u64::MAX);
        }
        self.filled[bucket.mobility.index()] |= 1 << bucket.order.get();
    }

    /// Takes the pageblock out of the bucket.
    #[inline]
    pub fn remove(&mut self, bucket: Bucket, pageblock: usize) {
        let word = &mut self.words[self.base(bucket) + pageblock / 64];
        *word &= !(1 << (pageblock % 64));
        if *word == 0 {
            self.remove_above(bucket, pageblock / 64);
        }
    }

    /// Says at the levels above that a word of the finest has no members any more.
    #[inline(never)]
    fn remove_above(&mut self, bucket: Bucket, mut position: usize) {
        let base = self.base(bucket);
        for level in &self.levels[1..self.depth] {
            let word = &mut self.words[base + *level as usize + position / 64];
            *word &= !(1 << (position % 64));
            if *word != 0 {
                return;
            }
            position /= 64;
        }
        self.filled[bucket.mobility.index()] &= !(1 << bucket.order.get());
    }

    /// Whether the pageblock is in the bucket.
    pub fn contains(&self, bucket: Bucket, pageblock: usize) -> bool {
        self.words[self.base(bucket) + pageblock / 64] >> (pageblock % 64) & 1 == 1
    }

    /// The lowest pageblock of the bucket, which must not be empty.
    #[inline]
    pub fn lowest(&self, bucket: Bucket) -> usize {
        let base = self.base(bucket);
        self.levels[..self.depth].iter().rev().fold(0, |position, level| {
            position * 64 + self.words[base + *level as usize + position].trailing_zeros() as usize
        })
    }

    /// The smallest order, from `order` up, whose bucket for this mobility holds something.
    pub fn smallest_sufficient(&self, mobility: Mobility, order: Order) -> Option<Order> {
        let sufficient = self.filled[mobility.index()] >> order.get() << order.get();
        Order::new(sufficient.trailing_zeros() as u8)
    }

    /// The orders whose buckets for this mobility hold something, a bit each.
    pub fn filled(&self, mobility: Mobility) -> u32 {
        self.filled[mobility.index()]
    }

    /// Whether each level, and the summary, says exactly what the level below it holds.
    pub fn is_consistent(&self) -> bool {
        Mobility::ALL.into_iter().all(|mobility| {
            Order::all().all(|order| {
                let bucket = &self.words[self.base(Bucket { mobility, order })..][..self.stride];
                let level = |n: usize| {
                    let end = if n + 1 < self.depth { self.levels[n + 1] as usize } else { self.stride };
                    &bucket[self.levels[n] as usize..end]
                };
                let linked = (1..self.depth).all(|n| {
                    level(n - 1)
                        .iter()
                        .enumerate()
                        .all(|(i, word)| level(n)[i / 64] >> (i % 64) & 1 == (*word != 0) as u64)
                });
                linked
                    && (self.filled[mobility.index()] >> order.get() & 1 == 1)
                        == bucket.last().is_some_and(|top| *top != 0)
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_lowest_of_a_million_pageblocks() {
        let count = 1 << 20;
        let mut words = vec![!0; Index::words_for(count)];
        let mut index = Index::new(count, &mut words);
        let bucket = Bucket { mobility: Mobility::Movable, order: Order::PAGEBLOCK };
        let members = [3usize, 64, 4095, 4096, 262_144, count - 1];
        assert_eq!(index.smallest_sufficient(bucket.mobility, Order::ZERO), None);
        for pageblock in members.into_iter().rev() {
            index.insert(bucket, pageblock);
            assert_eq!(index.lowest(bucket), pageblock);
            assert!(index.contains(bucket, pageblock));
        }
        assert_eq!(index.smallest_sufficient(bucket.mobility, Order::ZERO), Some(bucket.order));
        assert_eq!(index.smallest_sufficient(bucket.mobility, Order::MAX), None);
        assert_eq!(index.smallest_sufficient(Mobility::Unmovable, Order::ZERO), None);
        assert!(index.is_consistent());
        for pageblock in members {
            assert_eq!(index.lowest(bucket), pageblock);
            index.remove(bucket, pageblock);
            assert!(!index.contains(bucket, pageblock));
        }
        assert_eq!(index.filled(bucket.mobility), 0);
        assert!(index.is_consistent());
    }

    #[test]
    fn one_pageblock_needs_one_word_a_bucket() {
        assert_eq!(Index::words_for(1), Mobility::COUNT * Order::COUNT);
        assert_eq!(Index::words_for(65), 3 * Mobility::COUNT * Order::COUNT);
    }
}
