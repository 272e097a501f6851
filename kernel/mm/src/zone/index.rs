//! Where to look: for each mobility and level, the pageblocks (or groups of them) that have free blocks of that level.
//!
//! Each such bucket is a bitmap of 64-way levels: a bit at one level says that the word below it is not zero. Putting
//! a pageblock in, taking it out and finding the lowest cost one step a level, four of them for 32 TiB.

use crate::frame::Mobility;

/// Levels that a bitmap of `u32` pageblock numbers can need: 64^6 is more than 2^32.
const MAX_LEVELS: usize = 6;

/// The buckets of one zone, one for each mobility and level: of pageblocks the order of the largest free block, of groups of them
/// what counts as that there.
pub(crate) struct Index<'m> {
    /// All bitmaps, one bucket behind the other, each with its finest level first.
    words: &'m mut [u64],
    /// Where each level starts inside a bucket.
    levels: [u32; MAX_LEVELS],
    /// Words in a bucket, and in all buckets of a mobility.
    stride: u32,
    of_mobility: u32,
    depth: u8,
    /// For each mobility a bit for each level whose bucket is not empty.
    filled: [u16; Mobility::COUNT],
}

impl<'m> Index<'m> {
    /// Words that an index of this many members and levels needs.
    pub(super) fn words_for(members: usize, buckets: usize) -> usize {
        let mut stride = 0;
        let mut words = members;
        loop {
            words = words.div_ceil(64);
            stride += words;
            if words <= 1 {
                return stride * Mobility::COUNT * buckets;
            }
        }
    }

    /// An empty index over `words`, of which there are [`Index::words_for`] these numbers.
    pub(super) fn new(members: usize, buckets: usize, words: &'m mut [u64]) -> Self {
        words.fill(0);
        let mut levels = [0; MAX_LEVELS];
        let (mut depth, mut stride, mut length) = (0, 0, members);
        while depth == 0 || length > 1 {
            levels[depth] = stride as u32;
            length = length.div_ceil(64);
            stride += length;
            depth += 1;
        }
        Self {
            words,
            levels,
            stride: stride as u32,
            of_mobility: (stride * buckets) as u32,
            depth: depth as u8,
            filled: [0; Mobility::COUNT],
        }
    }

    /// Shows every word, for a hash.
    pub(super) fn for_each_word(&self, visit: &mut impl FnMut(u64)) {
        self.words.iter().copied().chain(self.filled.map(u64::from)).for_each(visit);
    }

    #[inline]
    fn base(&self, mobility: Mobility, level: u32) -> usize {
        mobility.index() * self.of_mobility as usize + level as usize * self.stride as usize
    }

    /// Puts a member into the bucket.
    #[inline]
    pub(super) fn insert(&mut self, mobility: Mobility, level: u32, member: usize) {
        let word = &mut self.words[self.base(mobility, level) + member / 64];
        let was = *word;
        *word = was | 1 << (member % 64);
        if was == 0 {
            self.insert_above(mobility, level, member / 64);
        }
    }

    /// Says at the levels above that a word of the finest has members now.
    #[inline(never)]
    fn insert_above(&mut self, mobility: Mobility, level: u32, mut position: usize) {
        let base = self.base(mobility, level);
        for start in &self.levels[1..self.depth.into()] {
            let word = &mut self.words[base + *start as usize + position / 64];
            let was = *word;
            *word = was | 1 << (position % 64);
            if was != 0 {
                return;
            }
            position /= 64;
        }
        self.filled[mobility.index()] |= 1 << level;
    }

    /// Takes a member out of the bucket.
    #[inline]
    pub(super) fn remove(&mut self, mobility: Mobility, level: u32, member: usize) {
        let word = &mut self.words[self.base(mobility, level) + member / 64];
        *word &= !(1 << (member % 64));
        if *word == 0 {
            self.remove_above(mobility, level, member / 64);
        }
    }

    /// Says at the levels above that a word of the finest has no members any more.
    #[inline(never)]
    fn remove_above(&mut self, mobility: Mobility, level: u32, mut position: usize) {
        let base = self.base(mobility, level);
        for start in &self.levels[1..self.depth.into()] {
            let word = &mut self.words[base + *start as usize + position / 64];
            *word &= !(1 << (position % 64));
            if *word != 0 {
                return;
            }
            position /= 64;
        }
        self.filled[mobility.index()] &= !(1 << level);
    }

    /// Puts a member into the bucket of one level out of that of another; the levels are as in [`Levels`](super::levels::Levels), 0
    /// for no bucket.
    #[inline]
    pub(super) fn relocate(&mut self, mobility: Mobility, member: usize, from: u32, to: u32) {
        if let Some(level) = from.checked_sub(1) {
            self.remove(mobility, level, member);
        }
        if let Some(level) = to.checked_sub(1) {
            self.insert(mobility, level, member);
        }
    }

    /// Whether a member is in the bucket.
    pub(super) fn contains(&self, mobility: Mobility, level: u32, member: usize) -> bool {
        self.words[self.base(mobility, level) + member / 64] >> (member % 64) & 1 == 1
    }

    /// The lowest member of the bucket, which must not be empty.
    #[inline]
    pub(super) fn lowest(&self, mobility: Mobility, level: u32) -> usize {
        let base = self.base(mobility, level);
        if self.depth == 1 {
            return self.words[base].trailing_zeros() as usize;
        }
        self.levels[..self.depth.into()].iter().rev().fold(0, |position, start| {
            position * 64 + self.words[base + *start as usize + position].trailing_zeros() as usize
        })
    }

    /// The lowest member of the bucket from `from` on.
    pub(super) fn next(&self, mobility: Mobility, level: u32, from: usize) -> Option<usize> {
        let base = self.base(mobility, level);
        let mut position = from;
        for (number, start) in self.levels[..self.depth.into()].iter().enumerate() {
            let end = self.levels[..self.depth.into()].get(number + 1).map_or(self.stride, |next| *next);
            let word = (position / 64 < (end - start) as usize)
                .then(|| self.words[base + *start as usize + position / 64] >> (position % 64))?;
            if word != 0 {
                position += word.trailing_zeros() as usize;
                return Some(self.levels[..number].iter().rev().fold(position, |position, start| {
                    position * 64 + self.words[base + *start as usize + position].trailing_zeros() as usize
                }));
            }
            position = position / 64 + 1;
        }
        None
    }

    /// The smallest level, from `level` up, whose bucket for this mobility holds something.
    #[inline]
    pub(super) fn smallest_sufficient(&self, mobility: Mobility, level: u32) -> Option<u32> {
        let sufficient = self.filled(mobility) >> level << level;
        (sufficient != 0).then(|| sufficient.trailing_zeros())
    }

    /// The levels whose buckets for this mobility hold something, a bit each.
    pub(super) fn filled(&self, mobility: Mobility) -> u32 {
        self.filled[mobility.index()].into()
    }

    /// Forgets which buckets hold something: for tests of the checker.
    #[cfg(test)]
    pub(super) fn forget_levels(&mut self) {
        self.filled = [0; Mobility::COUNT];
    }

    /// Whether each level, and the summary, says exactly what the level below it holds.
    pub(super) fn is_consistent(&self) -> bool {
        // Of a zone without RAM there are none.
        let buckets = self.of_mobility.checked_div(self.stride).unwrap_or(0);
        Mobility::ALL.into_iter().all(|mobility| {
            (0..buckets).all(|number| {
                let bucket = &self.words[self.base(mobility, number)..][..self.stride as usize];
                let level = |n: usize| {
                    let end =
                        if n + 1 < self.depth.into() { self.levels[n + 1] as usize } else { self.stride as usize };
                    &bucket[self.levels[n] as usize..end]
                };
                let linked = (1..self.depth.into()).all(|n| {
                    level(n - 1)
                        .iter()
                        .enumerate()
                        .all(|(i, word)| level(n)[i / 64] >> (i % 64) & 1 == (*word != 0) as u64)
                });
                linked
                    && (self.filled[mobility.index()] >> number & 1 == 1) == bucket.last().is_some_and(|top| *top != 0)
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg_attr(miri, ignore = "arithmetic, of which there is much and no memory")]
    fn finds_the_lowest_of_a_million_members() {
        let count = 1 << 20;
        let mut words = vec![!0; Index::words_for(count, 9)];
        let mut index = Index::new(count, 9, &mut words);
        let (mobility, level) = (Mobility::Movable, 7);
        let members = [3usize, 64, 4095, 4096, 262_144, count - 1];
        assert_eq!(index.smallest_sufficient(mobility, 0), None);
        for member in members.into_iter().rev() {
            index.insert(mobility, level, member);
            assert_eq!(index.lowest(mobility, level), member);
            assert!(index.contains(mobility, level, member));
        }
        assert_eq!(index.smallest_sufficient(mobility, 0), Some(level));
        assert_eq!(index.smallest_sufficient(mobility, 8), None);
        assert_eq!(index.smallest_sufficient(Mobility::Unmovable, 0), None);
        assert!(index.is_consistent());
        let mut from = 0;
        for member in members {
            assert_eq!(index.next(mobility, level, from), Some(member));
            assert_eq!(index.next(mobility, level, member), Some(member));
            from = member + 1;
        }
        assert_eq!(index.next(mobility, level, from), None);
        for member in members {
            assert_eq!(index.lowest(mobility, level), member);
            index.remove(mobility, level, member);
            assert!(!index.contains(mobility, level, member));
        }
        assert_eq!(index.filled(mobility), 0);
        assert!(index.is_consistent());
    }

    #[test]
    fn one_member_needs_one_word_a_bucket() {
        assert_eq!(Index::words_for(1, 9), Mobility::COUNT * 9);
        assert_eq!(Index::words_for(65, 2), 3 * Mobility::COUNT * 2);
    }
}
