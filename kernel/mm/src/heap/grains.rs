//! Memory in grains of 8 bytes, with two bits each: an object is as many in a row as it needs.
//!
//! ```text
//!   used  1 1 1 0 0 1 1      head  1 0 1 0 0 1 0      an object of two grains, one of one, two free ones, one of two
//! ```
//!
//! The bits are all that is known. Behind the last grain lies what looks like an object for ever.

use core::ops::Range;

/// Bytes in a grain: what every object is aligned to.
pub(super) const GRAIN: usize = 8;
const BITS: usize = u64::BITS as usize;

/// The bits of 64 grains: which are *used*, and which are the *head*, the first one, of an object.
pub(super) type Word = [u64; 2];
const USED: usize = 0;
const HEAD: usize = 1;

/// The grains of a region, by number.
pub(super) struct Grains<'r> {
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
        words.fill([0; 2]);
        let mut grains = Self { words, count, origin: address / GRAIN };
        let behind = count..grains.words.len() * BITS;
        grains.fill(HEAD, behind.start..behind.end.min(count + 1), true);
        grains.fill(USED, behind, true);
        grains
    }

    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Takes so many grains in a row, aligned to `align` of them, a power of two; their first. `None` if there are none.
    pub(super) fn take(&mut self, count: usize, align: usize) -> Option<usize> {
        let first = self.find(count, align)?;
        self.fill(USED, first..first + count, true);
        self.fill(HEAD, first..first + 1, true);
        Some(first)
    }

    /// Where so many can be taken: in the shortest free run that holds them, and of those in the first.
    fn find(&self, count: usize, align: usize) -> Option<usize> {
        let mut best: Option<(usize, usize)> = None;
        let mut from = 0;
        while let Some(run) = self.free_run(from) {
            let first = (self.origin + run.start).next_multiple_of(align) - self.origin;
            if first.checked_add(count).is_some_and(|end| end <= run.end) {
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
        let start = self.next(from, |[used, _]| !used)?;
        Some(start..self.next(start, |[used, _]| used).unwrap_or(self.count))
    }

    /// The object that a grain is in.
    pub(super) fn around(&self, grain: usize) -> Option<Range<usize>> {
        let is_used = grain < self.count && self.words[grain / BITS][USED] >> (grain % BITS) & 1 == 1;
        let start = if is_used { self.last_head(grain)? } else { return None };
        Some(start..self.next(start + 1, |[used, head]| !used | head).unwrap_or(self.count))
    }

    /// Gives an object's grains back.
    pub(super) fn give(&mut self, object: Range<usize>) {
        self.fill(HEAD, object.start..object.start + 1, false);
        self.fill(USED, object, false);
    }

    /// Makes an object so many grains long, where it is. `false`, and nothing changed, if what it would need is in use.
    pub(super) fn resize(&mut self, object: Range<usize>, count: usize) -> bool {
        let end = object.start.saturating_add(count);
        let has_room = || self.free_run(object.end).is_some_and(|run| run.start == object.end && run.end >= end);
        let fits = end <= object.end || has_room();
        if fits {
            self.fill(USED, end.min(object.end)..end.max(object.end), end > object.end);
        }
        fits
    }

    /// How many objects there are, and how many grains are theirs.
    pub(super) fn used(&self) -> (usize, usize) {
        let ones = |plane: usize| self.words.iter().map(|word| word[plane].count_ones() as usize).sum::<usize>();
        let behind = self.words.len() * BITS - self.count;
        (ones(HEAD) - behind.min(1), ones(USED) - behind)
    }

    /// Checks that each head is used, and that each object has one.
    ///
    /// # Errors
    /// The first grain of which that does not hold, and what does not.
    pub(super) fn check(&self) -> Result<(), (usize, &'static str)> {
        let mut is_used_before = 0;
        for (index, [used, head]) in self.words.iter().enumerate() {
            let begins = used & !(used << 1 | is_used_before);
            for (wrong, rule) in [
                (head & !used, "where an object begins memory is in use"),
                (begins & !head, "memory in use is an object's"),
            ] {
                if wrong != 0 {
                    return Err((index * BITS + wrong.trailing_zeros() as usize, rule));
                }
            }
            is_used_before = used >> (BITS - 1);
        }
        // What lies behind the last grain, if there is anything in the last word.
        let behind = u64::MAX << (self.count % BITS);
        let is_kept = |[used, head]: &Word| used & behind == behind && head & behind == behind & behind.wrapping_neg();
        let holds = self.words.get(self.count / BITS).is_none_or(is_kept);
        if holds { Ok(()) } else { Err((self.count, "nothing begins behind the last grain")) }
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

    /// The last grain up to one at which an object begins.
    fn last_head(&self, grain: usize) -> Option<usize> {
        let mut mask = u64::MAX >> (BITS - 1 - grain % BITS);
        for (index, [_, head]) in self.words[..=grain / BITS].iter().enumerate().rev() {
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
    use std::vec::Vec;

    const COUNT: usize = 300;
    const ORIGIN: usize = 5;

    /// Every request, resize and free agrees with a map of what there is.
    #[test]
    fn grains_agree_with_a_map_of_objects() {
        let mut words = [[u64::MAX; 2]; Grains::words_for(COUNT)];
        let mut grains = Grains::new(&mut words, COUNT, ORIGIN * GRAIN);
        let mut objects: BTreeMap<usize, usize> = BTreeMap::new();
        let mut random = random();
        for _ in 0..if cfg!(miri) { 300 } else { 20_000 } {
            let holes = holes(&objects);
            let (count, align) = (1 + random(20), 1 << random(4));
            let nth = objects.keys().nth(random(objects.len().max(1))).copied();
            match (random(5), nth) {
                (0, Some(start)) => {
                    let length = objects.remove(&start).unwrap();
                    grains.give(start..start + length);
                }
                (1, Some(start)) => {
                    let length = objects[&start];
                    let room = holes.iter().find(|hole| hole.0 == start + length).map_or(0, |hole| hole.1);
                    assert_eq!(grains.resize(start..start + length, count), count <= length + room);
                    objects.insert(start, if count <= length + room { count } else { length });
                }
                _ => {
                    let fits = |&(start, length): &(usize, usize)| {
                        let first = (start + ORIGIN).next_multiple_of(align) - ORIGIN;
                        (first + count <= start + length).then_some((length, first))
                    };
                    let first = grains.take(count, align);
                    assert_eq!(first, holes.iter().filter_map(fits).min().map(|(_, first)| first));
                    first.into_iter().for_each(|first| _ = objects.insert(first, count));
                }
            }
            let at = random(COUNT + 2);
            let around = objects.range(..=at).next_back().filter(|(start, length)| at < *start + *length);
            assert_eq!(grains.around(at), around.map(|(start, length)| *start..start + length));
            assert_eq!(grains.used(), (objects.len(), objects.values().sum()));
            assert_eq!(grains.check(), Ok(()));
        }
    }

    #[test]
    fn every_broken_rule_is_found() {
        let broken = |count: usize, grain: usize, plane: usize| {
            let mut words = [[0; 2]; Grains::words_for(COUNT)];
            let words = &mut words[..Grains::words_for(count)];
            let mut grains = Grains::new(words, count, 0);
            assert_eq!(grains.take(70, 1), Some(0));
            assert_eq!(grains.check(), Ok(()));
            grains.words[grain / BITS][plane] ^= 1 << (grain % BITS);
            grains.check().unwrap_err()
        };
        let (unused, headless, behind) = (
            "where an object begins memory is in use",
            "memory in use is an object's",
            "nothing begins behind the last grain",
        );
        assert_eq!(broken(COUNT, 100, HEAD), (100, unused));
        assert_eq!(broken(COUNT, 0, HEAD), (0, headless));
        assert_eq!(broken(COUNT, 100, USED), (100, headless));
        assert_eq!(broken(128, 127, USED), (127, headless));
        assert_eq!(broken(COUNT, COUNT + 3, HEAD), (COUNT, behind));
        assert_eq!(broken(COUNT, Grains::words_for(COUNT) * BITS - 1, USED), (COUNT, behind));
    }

    #[test]
    fn no_request_is_too_long_to_be_refused() {
        let mut words = [[0; 2]; 2];
        let mut grains = Grains::new(&mut words, 100, 8);
        assert_eq!(grains.take(usize::MAX, 1), None);
        assert_eq!(grains.take(1, 1 << 60), None);
        assert_eq!(grains.take(100, 1), Some(0));
        assert!(!grains.resize(0..100, usize::MAX) && grains.resize(0..100, 99) && !grains.resize(0..99, 101));
    }

    fn random() -> impl FnMut(usize) -> usize {
        let mut state = 88_172_645_463_325_252_u64;
        move |below| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 8) as usize % below
        }
    }

    /// The free runs: where each begins, and how long it is.
    fn holes(objects: &BTreeMap<usize, usize>) -> Vec<(usize, usize)> {
        let mut from = 0;
        let mut holes = Vec::new();
        for (&start, &length) in objects.iter().chain([(&COUNT, &0)]) {
            holes.extend((from < start).then_some((from, start - from)));
            from = start + length;
        }
        holes
    }
}
