//! Pageblocks as a whole: the same arithmetic one level up, where a bit is a pageblock and a word 64 of them.
//!
//! A pageblock is free, allocated (as a block of order 9, or as one half of a block of order 10), or the level below has it:
//! it is split, or nothing of it was ever added. Changes under the zone's lock.

use super::blocks::BlockState;
use super::index::Index;
use crate::buddy;
use crate::frame::{Mobility, Order};

/// Pageblocks in a group, which one word has a bit each of.
const GROUP: usize = buddy::WORD_FRAMES as usize;
/// Orders of the index: groups with a free pageblock, and those with a free pair of buddies.
const ORDERS: usize = 2;

/// 64 pageblocks: words with a bit for each. The first ones, one for each order from 9 up, have the first pageblocks of allocated
/// blocks.
type Group = [u64; ORDERS + Mobility::COUNT];
/// The word of allocated blocks of order 9, and that of order 10.
const SINGLE: usize = 0;
const PAIR: usize = 1;
/// The first of the words of free pageblocks, one for each mobility.
const FREE: usize = ORDERS;

/// The pageblocks of a zone, as a whole.
pub(crate) struct Wholes<'m> {
    groups: &'m mut [Group],
    index: Index<'m>,
    /// The lowest group of each level, by mobility; [`NONE`] if there is none.
    lowest: [[u32; ORDERS]; Mobility::COUNT],
}

/// No group.
const NONE: u32 = u32::MAX;

fn place(number: usize) -> (usize, u64) {
    (number / GROUP, 1 << (number % GROUP))
}

/// The pageblocks that can be the first of a block of order 10.
const EVEN: u64 = 0x5555_5555_5555_5555;

/// The free pageblocks that are half of a free block of order 10.
#[inline]
fn paired(free: u64) -> u64 {
    buddy::spread(buddy::starts(free, 1), 1)
}

/// The levels of the index that a group belongs to, a bit each.
#[inline(always)]
fn levels(free: u64) -> u32 {
    u32::from(free != 0) | u32::from(buddy::starts(free, 1) != 0) << 1
}

/// The first pageblocks of the smallest free blocks of a group that hold one of order 9: those whose buddy is not free, if there
/// are any. `pairs` are the first ones of those whose buddy is.
#[inline(always)]
fn tightest(free: u64, pairs: u64) -> u64 {
    let singles = free & !buddy::spread(pairs, 1);
    if singles != 0 { singles } else { free }
}

impl<'m> Wholes<'m> {
    /// Shows every word, for a hash.
    pub(super) fn for_each_word(&self, visit: &mut impl FnMut(u64)) {
        bytemuck::cast_slice::<_, u64>(self.groups).iter().copied().for_each(&mut *visit);
        self.index.for_each_word(visit);
    }

    /// Words of metadata for so many pageblocks.
    pub(super) fn words_for(pageblocks: usize) -> usize {
        let groups = pageblocks.div_ceil(GROUP);
        groups * size_of::<Group>() / size_of::<u64>() + Index::words_for(groups, ORDERS)
    }

    /// So many pageblocks, none of them free or allocated as a whole.
    pub(super) fn new(pageblocks: usize, memory: &'m mut [u64]) -> Self {
        let groups = pageblocks.div_ceil(GROUP);
        let (words, index) = memory.split_at_mut(groups * size_of::<Group>() / size_of::<u64>());
        words.fill(0);
        Self {
            groups: bytemuck::cast_slice_mut(words),
            index: Index::new(groups, ORDERS, index),
            lowest: [[NONE; ORDERS]; Mobility::COUNT],
        }
    }

    /// The block that a pageblock is, or is half of: its first pageblock, its order, and whether it is free or allocated. `None` if the
    /// level below has the pageblock.
    pub(super) fn block_of(&self, number: usize) -> Option<(usize, Order, BlockState)> {
        let (group, bit) = place(number);
        let [single, pair, free @ ..] = &self.groups[group];
        let pairs = buddy::spread(*pair, 1);
        let (pairs, state) = match free.iter().find(|free| **free & bit != 0) {
            Some(free) => (paired(*free), BlockState::Free),
            None if (single | pairs) & bit != 0 => (pairs, BlockState::Allocated),
            None => return None,
        };
        Some(if pairs & bit != 0 { (number & !1, Order::MAX, state) } else { (number, Order::PAGEBLOCK, state) })
    }

    /// Whether a pageblock is free as one of this mobility.
    pub(super) fn is_free(&self, number: usize, mobility: Mobility) -> bool {
        let (group, bit) = place(number);
        self.groups[group][FREE + mobility.index()] & bit != 0
    }

    /// The first pageblock of the smallest free block of this mobility of at least `order`, in the lowest group that has one.
    #[inline]
    pub(super) fn find(&self, order: Order, mobility: Mobility) -> Option<usize> {
        let (level, mobility) = (level(order) as usize % ORDERS, mobility.index());
        let group = self.lowest[mobility][level] as usize;
        let free = self.groups.get(group)?[FREE + mobility];
        let pairs = buddy::starts(free, 1);
        let blocks = if level == SINGLE { tightest(free, pairs) } else { pairs };
        Some(group * GROUP + blocks.trailing_zeros() as usize)
    }

    /// The first free pageblock of this mobility from `from` on.
    pub(super) fn next_free(&self, mobility: Mobility, from: usize) -> Option<usize> {
        let rest = |group: usize, from: usize| {
            let free = self.groups.get(group)?[FREE + mobility.index()] >> (from % GROUP) << (from % GROUP);
            (free != 0).then(|| group * GROUP + free.trailing_zeros() as usize)
        };
        rest(from / GROUP, from).or_else(|| rest(self.index.next(mobility, 0, from / GROUP + 1)?, 0))
    }

    /// Allocates the block of order 9 that [`Wholes::find`] finds, if that changes no more than a bit of two words, and if it is one of
    /// the first pageblocks, so many.
    #[inline(always)]
    pub(super) fn take(&mut self, mobility: Mobility, first_ones: usize) -> Option<usize> {
        let number = self.lowest[mobility.index()][SINGLE] as usize;
        let group = self.groups.get_mut(number)?;
        let free = group[FREE + mobility.index()];
        let pairs = buddy::starts(free, 1);
        let blocks = tightest(free, pairs);
        let bit = blocks & blocks.wrapping_neg();
        let after = free ^ bit;
        let taken = number * GROUP + blocks.trailing_zeros() as usize;
        // As long as there is a free pair, the group is of both levels.
        if pairs & after == 0 || taken >= first_ones {
            return None;
        }
        group[FREE + mobility.index()] = after;
        group[SINGLE] |= bit;
        Some(taken)
    }

    /// Frees the block of order 9 at a pageblock, of this mobility, if there is one and that changes no more than a bit of two words.
    #[inline(always)]
    pub(super) fn give(&mut self, number: usize, mobility: Mobility) -> bool {
        let ((group, bit), (_, other)) = (place(number), place(number ^ 1));
        let Some(group) = self.groups.get_mut(group) else { return false };
        let (allocated, free) = (group[SINGLE], group[FREE + mobility.index()]);
        // The group stays of the levels that it is of. To that of pairs a buddy that is free of this mobility adds one.
        let is_indexed =
            if allocated & other != 0 { free != 0 } else { free & other != 0 && buddy::starts(free, 1) != 0 };
        if allocated & bit == 0 || !is_indexed {
            return false;
        }
        group[SINGLE] = allocated ^ bit;
        group[FREE + mobility.index()] = free | bit;
        true
    }

    /// Puts in a pageblock that became free. If its buddy is free too and of a mobility that merges with this one, both are of
    /// this one then, as in Linux; the buddy is returned if its mobility has changed.
    pub(super) fn insert(&mut self, number: usize, mobility: Mobility) -> Option<usize> {
        let (group, bit) = place(number);
        self.set_free(group, mobility, self.groups[group][FREE + mobility.index()] | bit);
        self.join(number ^ 1, mobility)
    }

    /// Changes the mobility of a pageblock to that of its buddy, if it is free and may be so.
    #[cold]
    fn join(&mut self, number: usize, mobility: Mobility) -> Option<usize> {
        let mut others = Mobility::REQUESTED.into_iter().filter(|other| *other != mobility);
        let other = others.find(|other| mobility.is_mergeable() && self.is_free(number, *other))?;
        self.set_mobility(number, other, mobility);
        Some(number)
    }

    /// Takes out a free pageblock.
    #[inline]
    pub(super) fn remove(&mut self, number: usize, mobility: Mobility) {
        let (group, bit) = place(number);
        self.set_free(group, mobility, self.groups[group][FREE + mobility.index()] & !bit);
    }

    /// Changes the mobility of a free pageblock, and that of its buddy if the two are one block, or can be one then, of mobilities that
    /// merge. The buddy is returned if its mobility has changed.
    pub(super) fn set_mobility(&mut self, number: usize, from: Mobility, to: Mobility) -> Option<usize> {
        let (group, bit) = place(number);
        let free = self.groups[group][FREE + from.index()];
        let pair = if from.is_mergeable() && to.is_mergeable() { paired(free) & place(number ^ 1).1 } else { 0 };
        let block = bit | pair;
        self.set_free(group, from, free & !block);
        self.set_free(group, to, self.groups[group][FREE + to.index()] | block);
        if pair == 0 { self.join(number ^ 1, to) } else { Some(number ^ 1) }
    }

    /// Allocates the free block of `order` that begins at a pageblock.
    #[inline]
    pub(super) fn allocate(&mut self, number: usize, order: Order, mobility: Mobility) {
        let (group, bit) = place(number);
        let all = buddy::ones(level(order)) * bit;
        self.set_free(group, mobility, self.groups[group][FREE + mobility.index()] & !all);
        *self.allocated(group, order) |= bit;
    }

    /// Takes out the allocated block of exactly `order` that begins at a pageblock, whose pageblocks are nothing then; false if
    /// there is none.
    #[inline]
    pub(super) fn release(&mut self, number: usize, order: Order) -> bool {
        let (group, bit) = place(number);
        let allocated = self.allocated(group, order);
        let is_there = *allocated & bit != 0;
        *allocated &= !bit;
        is_there
    }

    /// Makes pageblocks, which were nothing or part of allocated blocks, the allocated block of `order`.
    pub(super) fn set_allocated(&mut self, number: usize, order: Order) {
        let (group, bit) = place(number);
        let all = buddy::ones(level(order)) * bit;
        self.groups[group][..FREE].iter_mut().for_each(|allocated| *allocated &= !all);
        *self.allocated(group, order) |= bit;
    }

    /// The word of a group's allocated blocks of `order`, from 9 up.
    #[inline]
    fn allocated(&mut self, group: usize, order: Order) -> &mut u64 {
        &mut self.groups[group][level(order) as usize % ORDERS]
    }

    /// Makes pageblocks free that are nothing yet, an even number of them from an even one up.
    pub(super) fn insert_all(&mut self, numbers: core::ops::Range<usize>, mobility: Mobility) {
        for (group, added) in buddy::parts(numbers) {
            self.set_free(group, mobility, self.groups[group][FREE + mobility.index()] | added);
        }
    }

    /// Whether pageblocks are all nothing.
    pub(super) fn all_lower(&self, numbers: core::ops::Range<usize>) -> bool {
        buddy::parts(numbers).all(|(group, asked)| {
            let group = &self.groups[group];
            group.iter().fold(group[PAIR] << 1, |all, word| all | word) & asked == 0
        })
    }

    /// Sets the free pageblocks of a group and mobility.
    fn set_free(&mut self, group: usize, mobility: Mobility, free: u64) {
        let before = core::mem::replace(&mut self.groups[group][FREE + mobility.index()], free);
        self.reindex(group, mobility, before, free);
    }

    /// Brings the index up to date with what is free of a group.
    #[cold]
    fn reindex(&mut self, group: usize, mobility: Mobility, before: u64, after: u64) {
        let (before, after) = (levels(before), levels(after));
        for level in buddy::bits((before ^ after).into()) {
            let lowest = &mut self.lowest[mobility.index()][level as usize % ORDERS];
            if after >> level & 1 == 1 {
                self.index.insert(mobility, level, group);
                *lowest = (*lowest).min(group as u32);
            } else {
                self.index.remove(mobility, level, group);
                if *lowest == group as u32 {
                    let is_filled = self.index.filled(mobility) >> level & 1 == 1;
                    *lowest = if is_filled { self.index.lowest(mobility, level) as u32 } else { NONE };
                }
            }
        }
    }

    /// Whether the index says what the groups hold, and each pageblock is one thing.
    pub(super) fn is_consistent(&self) -> bool {
        let each_once = self.groups.iter().all(|group| {
            let seconds = group[PAIR] << 1;
            let (_, twice) = group.iter().fold((seconds, 0), |(all, twice), bits| (all | bits, twice | all & bits));
            twice == 0 && group[PAIR] & !EVEN == 0
        });
        let lowest = Mobility::ALL.into_iter().all(|mobility| {
            (0..ORDERS as u32).all(|level| {
                let is_filled = self.index.filled(mobility) >> level & 1 == 1;
                let lowest = is_filled.then(|| self.index.lowest(mobility, level) as u32);
                self.lowest[mobility.index()][level as usize] == lowest.unwrap_or(NONE)
            })
        });
        let indexed = self.groups.iter().enumerate().all(|(number, group)| {
            Mobility::ALL.into_iter().all(|mobility| {
                let levels = levels(group[FREE + mobility.index()]);
                let is = |level| self.index.contains(mobility, level, number) == (levels >> level & 1 == 1);
                (0..ORDERS as u32).all(is)
            })
        });
        each_once && indexed && lowest && self.index.is_consistent()
    }
}

/// The level of an order, from 9 up, in this index.
#[inline]
fn level(order: Order) -> u32 {
    u32::from(order.get() - Order::PAGEBLOCK.get())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGEBLOCKS: usize = 3 * GROUP;

    /// All pageblocks, each free, of which every third pair is for what cannot move.
    fn wholes(memory: &mut Vec<u64>) -> Wholes<'_> {
        memory.resize(Wholes::words_for(PAGEBLOCKS), 0);
        let mut wholes = Wholes::new(PAGEBLOCKS, memory);
        wholes.insert_all(0..PAGEBLOCKS, Mobility::Movable);
        for number in (0..PAGEBLOCKS).step_by(6) {
            assert_eq!(wholes.set_mobility(number, Mobility::Movable, Mobility::Unmovable), Some(number + 1));
        }
        wholes
    }

    fn mobility_of(wholes: &Wholes<'_>, number: usize) -> Mobility {
        Mobility::REQUESTED.into_iter().find(|mobility| wholes.is_free(number, *mobility)).expect("it is free")
    }

    fn words(wholes: &Wholes<'_>) -> Vec<u64> {
        let mut words = Vec::new();
        wholes.for_each_word(&mut |word| words.push(word));
        words.extend(wholes.lowest.as_flattened().iter().map(|lowest| u64::from(*lowest)));
        words
    }

    #[test]
    #[cfg_attr(miri, ignore = "compares all words, thousands of times")]
    fn what_is_done_quickly_comes_to_the_same_as_otherwise() {
        let [mut quickly, mut otherwise] = [Vec::new(), Vec::new()];
        let [mut quickly, mut otherwise] = [wholes(&mut quickly), wholes(&mut otherwise)];
        let (mut held, mut counts, mut random) = (Vec::new(), [[0; 2]; 2], 1u64);
        for nth in 0..6000 {
            random = random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            let picked = (random >> 33) as usize;
            let mobility = Mobility::REQUESTED[picked % 2];
            // Fewer and more by turns, down to none and up to all.
            if (picked >> 1) % 8 < if nth / 500 % 2 == 0 { 5 } else { 3 } {
                let taken = quickly.take(mobility, PAGEBLOCKS - 20);
                let Some(number) = otherwise.find(Order::PAGEBLOCK, mobility) else {
                    assert_eq!(taken, None);
                    continue;
                };
                assert!(taken.is_none_or(|taken| taken == number && taken < PAGEBLOCKS - 20));
                counts[0][usize::from(taken.is_some())] += 1;
                otherwise.allocate(number, Order::PAGEBLOCK, mobility);
                if taken.is_none() {
                    quickly.allocate(number, Order::PAGEBLOCK, mobility);
                }
                held.push((number, mobility));
            } else if !held.is_empty() {
                let (number, mobility) = held.swap_remove(picked % held.len());
                assert!(otherwise.release(number, Order::PAGEBLOCK));
                otherwise.insert(number, mobility);
                let is_given = quickly.give(number, mobility);
                counts[1][usize::from(is_given)] += 1;
                if !is_given {
                    assert!(quickly.release(number, Order::PAGEBLOCK));
                    quickly.insert(number, mobility);
                }
                assert_eq!(mobility_of(&quickly, number), mobility);
                assert!(!quickly.give(number, mobility), "it is free");
            }
            assert_eq!(words(&quickly), words(&otherwise));
            assert!(quickly.is_consistent());
        }
        assert!(counts.as_flattened().iter().all(|count| *count > 100), "{counts:?}");
    }

    #[test]
    fn no_part_of_a_block_of_order_10_is_given_back_by_itself() {
        let mut memory = Vec::new();
        let mut wholes = wholes(&mut memory);
        let pair = wholes.find(Order::MAX, Mobility::Movable).unwrap();
        wholes.allocate(pair, Order::MAX, Mobility::Movable);
        let both = Some((pair, Order::MAX, BlockState::Allocated));
        assert_eq!([pair, pair + 1].map(|number| wholes.block_of(number)), [both; 2]);
        for number in [pair, pair + 1, PAGEBLOCKS] {
            assert!(!wholes.give(number, Mobility::Movable));
        }
        assert!(!wholes.release(pair, Order::PAGEBLOCK) && !wholes.release(pair + 1, Order::PAGEBLOCK));
        for number in [pair, pair + 1] {
            wholes.set_allocated(number, Order::PAGEBLOCK);
            assert_eq!(wholes.block_of(number), Some((number, Order::PAGEBLOCK, BlockState::Allocated)));
        }
        wholes.set_allocated(pair, Order::MAX);
        assert_eq!(wholes.block_of(pair + 1), both);
        assert!(wholes.is_consistent() && wholes.release(pair, Order::MAX));
    }
}
