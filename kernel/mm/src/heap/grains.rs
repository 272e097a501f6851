//! Memory in grains of 8 bytes, with two bits each: an object is as many in a row as it needs.
//!
//! ```text
//!   used  1 1 1 0 0 1 1      head  1 0 1 0 0 1 0      an object of two grains, one of one, two free ones, one of two
//! ```
//!
//! The bits are the truth. Beside them there is, for each page of grains, a bound of how long the free runs are that begin there, so that
//! a request passes over pages that are full. Behind the last grain lies what looks like an object for ever.

use core::ops::Range;

/// Bytes in a grain: what every object is aligned to.
pub(super) const GRAIN: usize = 8;
const BITS: usize = u64::BITS as usize;

/// The bits of 64 grains: which are *used*, and which are the *head*, the first one, of an object.
pub(super) type Word = [u64; 2];
/// Grains in a page.
const PAGE: usize = 512;

const USED: usize = 0;
const HEAD: usize = 1;

/// The grains of a region, by number.
pub(super) struct Grains<'r> {
    words: &'r mut [Word],
    /// For each page a length that no free run exceeds which begins there; the greatest number is no bound.
    bounds: &'r mut [u16],
    /// The last grain's number plus one.
    count: usize,
    /// The first grain's address, in grains: what is aligned, is so by that.
    origin: usize,
}

impl<'r> Grains<'r> {
    /// Among so many pages that have room for a request the best place is looked for.
    const LOOKED_AT: usize = 3;

    /// Words for so many grains.
    pub(super) const fn words_for(count: usize) -> usize {
        count.div_ceil(BITS)
    }

    /// Bounds for so many grains.
    pub(super) const fn bounds_for(count: usize) -> usize {
        count.div_ceil(PAGE)
    }

    /// So many grains from this address on, all free.
    pub(super) fn new(words: &'r mut [Word], bounds: &'r mut [u16], count: usize, address: usize) -> Self {
        words.fill([0; 2]);
        bounds.fill(0);
        let mut grains = Self { words, bounds, count, origin: address / GRAIN };
        let behind = count..grains.words.len() * BITS;
        grains.fill(HEAD, behind.start..behind.end.min(count + 1), true);
        grains.fill(USED, behind, true);
        grains.raise_bound(0);
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
        self.raise_bound(first + count);
        Some(first)
    }

    /// Where so many can be taken: in the shortest free run that holds them, of those in the first, of the first pages that have any.
    fn find(&mut self, count: usize, align: usize) -> Option<usize> {
        let mut best: Option<(usize, usize)> = None;
        let mut left = Self::LOOKED_AT;
        for page in 0..self.bounds.len() {
            if usize::from(self.bounds[page]) >= count.min(u16::MAX.into()) {
                let found = self.find_in(page, count, align);
                left -= usize::from(found.is_some());
                best = best.into_iter().chain(found).min();
                if left == 0 || best.is_some_and(|(length, _)| length == count) {
                    break;
                }
            }
        }
        best.map(|(_, first)| first)
    }

    /// The same among the free runs that begin in a page, with the run's length. The page's bound is exact then.
    fn find_in(&mut self, page: usize, count: usize, align: usize) -> Option<(usize, usize)> {
        let (mut best, mut longest) = (None, 0);
        let mut from = page * PAGE;
        // A run that goes on from the page before begins there.
        if from > 0 && self.is_free(from - 1) {
            from = self.next(from, |[used, _]| used).unwrap_or(self.count);
        }
        while let Some(run) = self.free_run(from).filter(|run| run.start < (page + 1) * PAGE) {
            let first = (self.origin + run.start).next_multiple_of(align) - self.origin;
            if first.checked_add(count).is_some_and(|end| end <= run.end) {
                best = best.into_iter().chain([(run.len(), first)]).min();
            }
            longest = longest.max(run.len());
            from = run.end;
        }
        self.bounds[page] = Self::bound(longest);
        best
    }

    fn bound(length: usize) -> u16 {
        u16::try_from(length).unwrap_or(u16::MAX)
    }

    /// Has the page know of the free run that a grain is in, if it is free: it begins elsewhere than before, or is longer.
    fn raise_bound(&mut self, grain: usize) {
        if !self.is_free(grain) {
            return;
        }
        let start = self.last(grain, |[used, _]| used).map_or(0, |before| before + 1);
        let end = self.next(grain, |[used, _]| used).unwrap_or(self.count);
        let bound = &mut self.bounds[start / PAGE];
        *bound = Self::bound(end - start).max(*bound);
    }

    fn is_free(&self, grain: usize) -> bool {
        grain < self.count && self.words[grain / BITS][USED] >> (grain % BITS) & 1 == 0
    }

    /// The first run of free grains at or behind one.
    fn free_run(&self, from: usize) -> Option<Range<usize>> {
        let start = self.next(from, |[used, _]| !used)?;
        Some(start..self.next(start, |[used, _]| used).unwrap_or(self.count))
    }

    /// The object that a grain is in.
    pub(super) fn around(&self, grain: usize) -> Option<Range<usize>> {
        let is_used = grain < self.count && !self.is_free(grain);
        let start = if is_used { self.last(grain, |[_, head]| head)? } else { return None };
        Some(start..self.next(start + 1, |[used, head]| !used | head).unwrap_or(self.count))
    }

    /// Gives an object's grains back.
    pub(super) fn give(&mut self, object: Range<usize>) {
        self.fill(HEAD, object.start..object.start + 1, false);
        self.fill(USED, object.clone(), false);
        self.raise_bound(object.start);
    }

    /// Makes an object so many grains long, where it is. `false`, and nothing changed, if what it would need is in use.
    pub(super) fn resize(&mut self, object: Range<usize>, count: usize) -> bool {
        let end = object.start.saturating_add(count);
        let has_room = || self.free_run(object.end).is_some_and(|run| run.start == object.end && run.end >= end);
        let fits = end <= object.end || has_room();
        if fits {
            self.fill(USED, end.min(object.end)..end.max(object.end), end > object.end);
            self.raise_bound(end);
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
        if !self.words.get(self.count / BITS).is_none_or(is_kept) {
            return Err((self.count, "nothing begins behind the last grain"));
        }
        self.check_bounds()
    }

    fn check_bounds(&self) -> Result<(), (usize, &'static str)> {
        let mut from = 0;
        while let Some(run) = self.free_run(from) {
            if Self::bound(run.len()) > self.bounds[run.start / PAGE] {
                return Err((run.start, "a page knows how long the free runs are that begin in it"));
            }
            from = run.end;
        }
        Ok(())
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

    /// The last grain up to one whose bit is set in what `of` makes of the words.
    fn last(&self, grain: usize, of: impl Fn(Word) -> u64) -> Option<usize> {
        let mut mask = u64::MAX >> (BITS - 1 - grain % BITS);
        for (index, &word) in self.words[..=grain / BITS].iter().enumerate().rev() {
            let bits = of(word) & mask;
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
    #[cfg_attr(miri, ignore = "arithmetic, of which there is much and no memory")]
    fn grains_agree_with_a_map_of_objects() {
        let (mut words, mut bounds) = ([[u64::MAX; 2]; Grains::words_for(COUNT)], [0; 1]);
        let mut grains = Grains::new(&mut words, &mut bounds, COUNT, ORIGIN * GRAIN);
        let mut objects: BTreeMap<usize, usize> = BTreeMap::new();
        let mut random = random();
        for _ in 0..20_000 {
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
            let mut bounds = [0; 1];
            let mut grains = Grains::new(words, &mut bounds, count, 0);
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

    /// In many pages: each request that fits is served, and no bound is too low.
    #[test]
    #[cfg_attr(miri, ignore = "arithmetic, of which there is much and no memory")]
    fn what_fits_anywhere_is_found() {
        const MANY: usize = 9 * PAGE + 77;
        let (mut words, mut bounds) = ([[0; 2]; Grains::words_for(MANY)], [0; Grains::bounds_for(MANY)]);
        let mut grains = Grains::new(&mut words, &mut bounds, MANY, 0);
        let (mut held, mut random) = (Vec::new(), random());
        for _ in 0..20_000 {
            let count = 1 + if random(20) == 0 { random(3 * PAGE) } else { random(60) };
            let mut from = 0;
            let longest =
                std::iter::from_fn(|| grains.free_run(from).inspect(|run| from = run.end)).map(|run| run.len()).max();
            match grains.take(count, 1) {
                Some(first) => held.push(first..first + count),
                None => assert!(longest.is_none_or(|longest| longest < count)),
            }
            if random(2) == 0 || longest < Some(PAGE) {
                let nth = random(held.len());
                let (object, count) = (held[nth].clone(), 1 + random(100));
                if random(3) == 0 && grains.resize(object.clone(), count) {
                    held[nth] = object.start..object.start + count;
                } else {
                    grains.give(held.swap_remove(nth));
                }
            }
            assert_eq!(grains.check(), Ok(()));
        }
    }

    #[test]
    fn a_bound_that_is_too_low_is_found() {
        let (mut words, mut bounds) = ([[0; 2]; Grains::words_for(COUNT)], [0; 1]);
        let grains = Grains::new(&mut words, &mut bounds, COUNT, 0);
        grains.bounds[0] -= 1;
        assert_eq!(grains.check(), Err((0, "a page knows how long the free runs are that begin in it")));
    }

    #[test]
    fn no_request_is_too_long_to_be_refused() {
        let (mut words, mut bounds) = ([[0; 2]; 2], [0; 1]);
        let mut grains = Grains::new(&mut words, &mut bounds, 100, 8);
        assert_eq!(grains.take(usize::MAX, 1), None);
        assert_eq!(grains.take(1, usize::MAX / 16 + 1), None);
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
