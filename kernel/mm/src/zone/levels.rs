//! The largest free block of each of a pageblock's eight words, in one word.
//!
//! Stored the other way round: byte *n* has a bit for each word whose level is *n*. So the largest level, and the
//! tightest word that holds a given order, are one bit scan each instead of a loop over the words.

use crate::buddy::WORD_ORDER;

/// A bit in each byte.
const EACH_LEVEL: u64 = 0x0101_0101_0101_0101;

/// The levels of eight words. A level is the order of a word's largest free block plus one, 0 if nothing is free.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Levels(pub(super) u64);

impl Levels {
    /// Every word at the same level.
    pub(crate) fn uniform(level: u32) -> Self {
        Self(0xff << (8 * level))
    }

    /// Sets the level of one word.
    #[inline]
    pub(crate) fn set(&mut self, word: usize, level: u32) {
        self.forget(1 << word);
        self.put(word, level);
    }

    /// Takes out words, a bit for each: they are at no level, until each is [put](Self::put) in again.
    #[inline]
    pub(crate) fn forget(&mut self, words: u64) {
        self.0 &= !(EACH_LEVEL * words);
    }

    /// Puts a word in that was taken out.
    #[inline]
    pub(crate) fn put(&mut self, word: usize, level: u32) {
        self.0 |= 1 << (8 * level as usize + word);
    }

    /// The largest level of any word.
    #[inline]
    pub(crate) fn largest(self) -> u32 {
        (self.0 | 1).ilog2() / 8
    }

    /// The level of one word.
    #[inline]
    pub(crate) fn of(self, word: usize) -> u32 {
        (self.0 >> word & EACH_LEVEL).trailing_zeros() / 8
    }

    /// The lowest of the words whose largest free block is the smallest that holds `order`, at most [`WORD_ORDER`].
    #[inline]
    pub(crate) fn tightest(self, order: u32) -> Option<usize> {
        let sufficient = self.0 >> (8 * (order + 1));
        (sufficient != 0).then(|| (sufficient.trailing_zeros() % 8) as usize)
    }

    /// A bit for each word that is wholly free.
    #[inline]
    pub(crate) fn full(self) -> u64 {
        self.0 >> (8 * (WORD_ORDER + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg_attr(miri, ignore = "arithmetic, of which there is much and no memory")]
    fn says_what_eight_levels_say() {
        let mut plain = [3u32; 8];
        let mut levels = Levels::uniform(3);
        for step in 0..5000usize {
            let (word, level) = (step * 7 % 8, (step * step + step / 3) as u32 % 8);
            plain[word] = level;
            levels.set(word, level);
            assert_eq!(plain.map(|level| level), core::array::from_fn(|word| levels.of(word)));
            assert_eq!(levels.largest(), *plain.iter().max().unwrap());
            for order in 0..=WORD_ORDER {
                let best = (0..8).filter(|word| plain[*word] > order).min_by_key(|word| (plain[*word], *word));
                assert_eq!(levels.tightest(order), best);
            }
            assert_eq!(levels.full(), (0..8).filter(|word| plain[*word] == 7).map(|word| 1 << word).sum());
        }
    }
}
