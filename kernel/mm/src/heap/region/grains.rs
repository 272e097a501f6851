//! The memory of a small region: pieces of any number of grains of 8 bytes, each the shortest free one that will do.
//!
//! As with page frames two bits are the truth: where a piece begins and ends, and what it is. A third remembers where pieces that
//! were freed began and ended, until the memory is used again: for those who free one twice.
//!
//! | inside | head | the grain is |
//! |---|---|---|
//! | 0 | 0 | free |
//! | 0 | 1 | the first of a block |
//! | 1 | 1 | the first of an object |
//! | 1 | 0 | in a block or an object, and not its first |

use core::ops::Range;

/// Bytes in a grain.
pub(super) const GRAIN: usize = 8;
const BITS: usize = u64::BITS as usize;

/// What a piece of memory is used for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Piece {
    /// An object of the heap's user.
    Object,
    /// What the heap has asked for to put slabs or metadata there.
    Block,
}

/// The bits of 64 grains.
pub(super) type Word = [u64; 3];
const INSIDE: usize = 0;
const HEAD: usize = 1;
const FREED: usize = 2;

/// The grains of a region, by number.
pub(super) struct Grains<'r> {
    /// For each 64 grains the bits `inside`, `head` and `freed`. Those behind the last grain are inside of something for ever.
    words: &'r mut [Word],
    /// The last grain's number plus one.
    count: usize,
    /// The first grain's address, in grains: what is aligned, is so by that.
    origin: usize,
}

impl<'r> Grains<'r> {
    /// Words for so many grains.
    pub(super) const fn words_for(count: usize) -> usize {
        count.div_ceil(BITS)
    }

    /// So many grains from this address on, all free.
    pub(super) fn new(words: &'r mut [Word], count: usize, address: usize) -> Self {
        words.fill([0; 3]);
        let mut grains = Self { words, count: 0, origin: address / GRAIN };
        grains.fill(INSIDE, count..grains.words.len() * BITS, true);
        grains.count = count;
        grains
    }

    /// Takes so many grains in a row, aligned to `align` of them, a power of two; their first. `None` if there are none.
    pub(super) fn take(&mut self, count: usize, align: usize, piece: Piece) -> Option<usize> {
        let first = self.find(count, align)?;
        self.fill(INSIDE, first + usize::from(piece == Piece::Block)..first + count, true);
        self.fill(HEAD, first..first + 1, true);
        self.fill(FREED, first..first + count, false);
        Some(first)
    }

    /// Where so many can be taken: in the shortest free run that holds them, and of those in the first.
    fn find(&self, count: usize, align: usize) -> Option<usize> {
        let mut best: Option<(usize, usize)> = None;
        let mut from = 0;
        while let Some(run) = self.free_run(from) {
            let first = (self.origin + run.start).next_multiple_of(align) - self.origin;
            if first + count <= run.end {
                best = Some(best.map_or((run.len(), first), |best| best.min((run.len(), first))));
                if run.len() == count {
                    break;
                }
            }
            from = run.end;
        }
        best.map(|(_, first)| first)
    }

    /// The first run of free grains at or behind one.
    fn free_run(&self, from: usize) -> Option<Range<usize>> {
        let start = self.next(from, |[inside, head, _]| !(inside | head))?;
        Some(start..self.next(start, |[inside, head, _]| inside | head).unwrap_or(self.count))
    }

    /// The piece that a grain is in.
    pub(super) fn around(&self, grain: usize) -> Option<(Range<usize>, Piece)> {
        if grain >= self.count || self.bit(INSIDE, grain) | self.bit(HEAD, grain) == 0 {
            return None;
        }
        let start = self.last_head(grain)?;
        let piece = if self.bit(INSIDE, start) == 1 { Piece::Object } else { Piece::Block };
        Some((start..self.end_of(start), piece))
    }

    /// The end of the piece that begins at a grain.
    fn end_of(&self, start: usize) -> usize {
        self.next(start + 1, |[inside, head, _]| !inside | head).map_or(self.count, |end| end.min(self.count))
    }

    /// Gives a piece back. Whether there was one like this.
    pub(super) fn give(&mut self, range: Range<usize>, piece: Piece) -> bool {
        let is_there = self.around(range.start) == Some((range.clone(), piece));
        if is_there {
            self.fill(INSIDE, range.clone(), false);
            self.fill(HEAD, range.clone(), false);
            self.fill(FREED, range.start..range.start + 1, true);
            self.fill(FREED, range.end..range.end + usize::from(range.end < self.count), true);
        }
        is_there
    }

    /// Makes a piece as long where it is. `false`, and nothing changed, if what it would need is in use.
    pub(super) fn resize(&mut self, range: Range<usize>, count: usize) -> bool {
        let end = range.start + count;
        let has_room = || self.free_run(range.end).is_some_and(|run| run.start == range.end && run.end >= end);
        if end > range.end && !has_room() {
            return false;
        }
        self.fill(INSIDE, end.min(range.end)..end.max(range.end), end > range.end);
        self.fill(FREED, end.min(range.end)..end.max(range.end), false);
        true
    }

    /// How many grains there were of the piece that began at a grain, if it was freed and its memory was not used since; as far as
    /// that is still known.
    pub(super) fn freed_at(&self, grain: usize) -> Option<usize> {
        let is_freed = grain < self.count && self.bit(FREED, grain) == 1 && self.around(grain).is_none();
        let end = || self.next(grain + 1, |[inside, head, freed]| inside | head | freed);
        is_freed.then(|| end().unwrap_or(self.count) - grain)
    }

    /// Whether nothing is in use.
    pub(super) fn is_vacant(&self) -> bool {
        self.free_run(0).is_some_and(|run| run.len() == self.count)
    }

    /// Shows every object.
    pub(super) fn for_each_object(&self, mut visit: impl FnMut(Range<usize>)) {
        let mut from = 0;
        while let Some(start) = self.next(from, |[inside, head, _]| inside & head) {
            from = self.end_of(start);
            visit(start..from);
        }
    }

    fn bit(&self, plane: usize, grain: usize) -> u64 {
        self.words[grain / BITS][plane] >> (grain % BITS) & 1
    }

    fn fill(&mut self, plane: usize, grains: Range<usize>, set: bool) {
        let mut from = grains.start;
        while from < grains.end {
            let end = grains.end.min((from / BITS + 1) * BITS);
            let mask = u64::MAX >> (BITS - (end - from)) << (from % BITS);
            let word = &mut self.words[from / BITS][plane];
            *word = if set { *word | mask } else { *word & !mask };
            from = end;
        }
    }

    /// The first grain at or behind one whose bit is set in what `of` makes of the words.
    fn next(&self, from: usize, of: impl Fn(Word) -> u64) -> Option<usize> {
        let mut mask = u64::MAX << (from % BITS);
        for (index, &word) in self.words.iter().enumerate().skip(from / BITS) {
            let bits = of(word) & mask;
            if bits != 0 {
                return Some(index * BITS + bits.trailing_zeros() as usize);
            }
            mask = u64::MAX;
        }
        None
    }

    /// The last grain up to one at which a piece begins.
    fn last_head(&self, grain: usize) -> Option<usize> {
        let mut mask = u64::MAX >> (BITS - 1 - grain % BITS);
        for (index, [_, head, _]) in self.words[..=grain / BITS].iter().enumerate().rev() {
            let bits = head & mask;
            if bits != 0 {
                return Some(index * BITS + bits.ilog2() as usize);
            }
            mask = u64::MAX;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// Every request, resize and free agrees with a map of what there is.
    #[test]
    fn grains_agree_with_a_model() {
        const COUNT: usize = 300;
        let mut words = [[u64::MAX; 3]; Grains::words_for(COUNT)];
        let mut grains = Grains::new(&mut words, COUNT, 5 * GRAIN);
        let mut pieces: BTreeMap<usize, (usize, Piece)> = BTreeMap::new();
        let mut state = 88_172_645_463_325_252_u64;
        let mut random = |below: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 8) as usize % below
        };
        for _ in 0..20_000 {
            let holes = holes(&pieces, COUNT);
            let (count, align) = (1 + random(20), 1 << random(4));
            let fits = |&(start, length): &(usize, usize)| {
                let first = (start + 5).next_multiple_of(align) - 5;
                (first + count <= start + length).then_some((length, first))
            };
            let nth = pieces.keys().nth(random(pieces.len().max(1))).copied();
            match (random(5), nth) {
                (0, Some(start)) => {
                    let (length, piece) = pieces.remove(&start).unwrap();
                    let other = if piece == Piece::Object { Piece::Block } else { Piece::Object };
                    assert!(
                        !grains.give(start..start + length + 1, piece) && !grains.give(start..start + length, other)
                    );
                    assert!(length == 1 || !grains.give(start + 1..start + length, piece));
                    assert!(grains.give(start..start + length, piece) && !grains.give(start..start + length, piece));
                    assert_eq!(grains.freed_at(start), Some(length));
                }
                (1, Some(start)) => {
                    let (length, piece) = pieces[&start];
                    let room = holes.iter().find(|hole| hole.0 == start + length).map_or(0, |hole| hole.1);
                    let fits = count <= length + room;
                    assert_eq!(grains.resize(start..start + length, count), fits);
                    pieces.insert(start, (if fits { count } else { length }, piece));
                }
                _ => {
                    let piece = if random(3) == 0 { Piece::Block } else { Piece::Object };
                    let first = grains.take(count, align, piece);
                    assert_eq!(first, holes.iter().filter_map(fits).min().map(|(_, first)| first));
                    first.into_iter().for_each(|first| _ = pieces.insert(first, (count, piece)));
                }
            }
            let at = random(COUNT + 2);
            let around = pieces.range(..=at).next_back().filter(|(start, (length, _))| at < *start + length);
            assert_eq!(grains.around(at), around.map(|(start, (length, piece))| (*start..start + length, *piece)));
            assert!(grains.freed_at(at).is_none() || around.is_none());
            assert_eq!(grains.is_vacant(), pieces.is_empty());
        }
        let mut objects = Vec::new();
        grains.for_each_object(|range| objects.push((range.start, (range.len(), Piece::Object))));
        assert_eq!(objects, pieces.into_iter().filter(|piece| piece.1.1 == Piece::Object).collect::<Vec<_>>());
    }

    fn holes(pieces: &BTreeMap<usize, (usize, Piece)>, count: usize) -> Vec<(usize, usize)> {
        let mut from = 0;
        let mut holes = Vec::new();
        for (&start, &(length, _)) in pieces.iter().chain([(&count, &(0, Piece::Block))]) {
            holes.extend((from < start).then_some((from, start - from)));
            from = start + length;
        }
        holes
    }
}
