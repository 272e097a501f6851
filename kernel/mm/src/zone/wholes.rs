//! Pageblocks as a whole: the same arithmetic one level up, where a bit is a pageblock and a word 64 of them.
//!
//! A pageblock is free, allocated (as a block of order 9, or as one half of a block of order 10), or the level below has it:
//! it is split, or nothing of it was ever added. Changes under the zone's lock.

use super::index::{Bucket, Index};
use crate::buddy;
use crate::frame::{Mobility, Order};

/// Pageblocks in a group, which one word has a bit each of.
const GROUP: usize = 64;
/// Orders of the index: groups with a free pageblock, and those with a free pair of buddies.
const ORDERS: usize = 2;

/// 64 pageblocks: words with a bit for each.
type Group = [u64; 2 + Mobility::COUNT];
/// The word of the first pageblocks of allocated blocks.
const HEAD: usize = 0;
/// The word of the second pageblocks of allocated blocks of order 10.
const INSIDE: usize = 1;
/// The first of the words of free pageblocks, one for each mobility.
const FREE: usize = 2;

/// Puts a pageblock that became free, of this mobility, into its group. True if that is all: the group had a free pair, and so is of
/// both levels, and the pageblock's buddy is not free with another mobility.
#[inline(always)]
fn put(group: &mut Group, number: usize, mobility: Mobility) -> bool {
    let before = group[FREE + mobility.index()];
    group[FREE + mobility.index()] = before | place(number).1;
    buddy::starts(before, 1) != 0 && (before | group[HEAD] | group[INSIDE]) & place(number ^ 1).1 != 0
}

/// The pageblocks of a zone, as a whole.
pub(crate) struct Wholes<'m> {
    groups: &'m mut [Group],
    index: Index<'m>,
    /// The lowest group of each level, by mobility; [`NONE`] if there is none.
    lowest: [[u32; ORDERS]; Mobility::COUNT],
}

/// No group.
const NONE: u32 = u32::MAX;

/// What a pageblock is as a whole.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum State {
    /// Free, as a block of this order or part of one.
    Free(Order),
    /// The first of an allocated block.
    Allocated(Order),
    /// The second of an allocated block of order 10.
    Inside,
    /// Split, or reserved.
    Lower,
}

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

/// The first pageblock of the lowest of the smallest free blocks of a group that hold one of this level.
#[inline(always)]
fn tightest(free: u64, level: u32) -> u64 {
    let singles = free & !paired(free);
    let blocks = match (level, singles) {
        (0, 0) => free,
        (0, _) => singles,
        _ => buddy::starts(free, 1),
    };
    blocks & blocks.wrapping_neg()
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

    /// What a pageblock is as a whole.
    pub(super) fn state(&self, number: usize) -> State {
        let (group, bit) = place(number);
        let group = &self.groups[group];
        if group[INSIDE] & bit != 0 {
            State::Inside
        } else if group[HEAD] & bit != 0 {
            let pair = group[INSIDE] & bit << 1 != 0;
            State::Allocated(if pair { Order::MAX } else { Order::PAGEBLOCK })
        } else {
            let free = group[FREE..].iter().find(|free| **free & bit != 0);
            free.map_or(State::Lower, |free| {
                State::Free(if paired(*free) & bit != 0 { Order::MAX } else { Order::PAGEBLOCK })
            })
        }
    }

    /// Whether a pageblock is free as one of this mobility.
    pub(super) fn is_free(&self, number: usize, mobility: Mobility) -> bool {
        let (group, bit) = place(number);
        self.groups[group][FREE + mobility.index()] & bit != 0
    }

    /// Whether a block of `order`, from 9 up, is free in pageblocks of this mobility.
    #[inline]
    pub(super) fn holds(&self, order: Order, mobility: Mobility) -> bool {
        self.index.filled(mobility) >> level(order) != 0
    }

    /// The first pageblock of the smallest free block of this mobility of at least `order`, in the lowest group that has one.
    #[inline]
    pub(super) fn find(&self, order: Order, mobility: Mobility) -> Option<usize> {
        let (level, mobility) = (level(order), mobility.index());
        let group = self.lowest[mobility][level as usize % ORDERS] as usize;
        let first = tightest(self.groups.get(group)?[FREE + mobility], level);
        Some(group * GROUP + first.trailing_zeros() as usize)
    }

    /// The first free pageblock of this mobility from `from` on.
    pub(super) fn next_free(&self, mobility: Mobility, from: usize) -> Option<usize> {
        let rest = |group: usize, from: usize| {
            let free = self.groups.get(group)?[FREE + mobility.index()] >> (from % GROUP) << (from % GROUP);
            (free != 0).then(|| group * GROUP + free.trailing_zeros() as usize)
        };
        rest(from / GROUP, from).or_else(|| {
            let bucket = Bucket { mobility, level: 0 };
            rest(self.index.next(bucket, from / GROUP + 1)?, 0)
        })
    }

    /// Allocates the block that [`Wholes::find`] finds.
    #[inline(always)]
    pub(super) fn take(&mut self, order: Order, mobility: Mobility) -> Option<usize> {
        let level = level(order);
        let number = self.lowest[mobility.index()][level as usize % ORDERS] as usize;
        let group = self.groups.get_mut(number)?;
        let before = group[FREE + mobility.index()];
        let first = tightest(before, level);
        let second = first << level & !first;
        let after = before ^ first ^ second;
        group[FREE + mobility.index()] = after;
        group[HEAD] |= first;
        group[INSIDE] |= second;
        let taken = number * GROUP + first.trailing_zeros() as usize;
        // As long as there is a free pair, the group is of both levels.
        if buddy::starts(after, 1) == 0 {
            self.reindex(number, mobility, before, after);
        }
        Some(taken)
    }

    /// Frees the block of order 9 at a pageblock, of this mobility; `None` if there is none. If the buddy's mobility has changed
    /// by that, as with [`insert`](Self::insert), it is returned.
    #[inline(always)]
    pub(super) fn give(&mut self, number: usize, mobility: Mobility) -> Option<Option<usize>> {
        let (index, bit) = place(number);
        let group = self.groups.get_mut(index)?;
        if group[HEAD] & !(group[INSIDE] >> 1) & bit == 0 {
            return None;
        }
        group[HEAD] ^= bit;
        Some(if put(group, number, mobility) { None } else { self.follow(number, mobility) })
    }

    /// Puts in a pageblock that became free. If its buddy is free too and of a mobility that merges with this one, both are of
    /// this one then, as in Linux; the buddy is returned if its mobility has changed.
    #[inline]
    pub(super) fn insert(&mut self, number: usize, mobility: Mobility) -> Option<usize> {
        if put(&mut self.groups[number / GROUP], number, mobility) { None } else { self.follow(number, mobility) }
    }

    /// What comes of a pageblock that was put in, beyond the group's own words.
    #[cold]
    fn follow(&mut self, number: usize, mobility: Mobility) -> Option<usize> {
        let (index, bit) = place(number);
        let after = self.groups[index][FREE + mobility.index()];
        self.reindex(index, mobility, after ^ bit, after);
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

    /// Changes the mobility of a free pageblock, and that of its buddy if the two are one block, or can be one then. The buddy is
    /// returned if its mobility has changed.
    pub(super) fn set_mobility(&mut self, number: usize, from: Mobility, to: Mobility) -> Option<usize> {
        let (group, bit) = place(number);
        let free = self.groups[group][FREE + from.index()];
        let block = (bit | place(number ^ 1).1) & (paired(free) | bit);
        self.set_free(group, from, free & !block);
        self.set_free(group, to, self.groups[group][FREE + to.index()] | block);
        if block == bit { self.join(number ^ 1, to) } else { Some(number ^ 1) }
    }

    /// Allocates the free block of `order` that begins at a pageblock.
    #[inline]
    pub(super) fn allocate(&mut self, number: usize, order: Order, mobility: Mobility) {
        let (group, bit) = place(number);
        let all = buddy::ones(level(order)) * bit;
        self.set_free(group, mobility, self.groups[group][FREE + mobility.index()] & !all);
        self.groups[group][HEAD] |= bit;
        self.groups[group][INSIDE] |= all & !bit;
    }

    /// Takes out the allocated block of exactly `order` that begins at a pageblock, whose pageblocks are nothing then; false if
    /// there is none.
    #[inline(always)]
    pub(super) fn release(&mut self, number: usize, order: Order) -> bool {
        let (group, bit) = place(number);
        let group = &mut self.groups[group];
        let second = group[INSIDE] & bit << 1;
        if group[HEAD] & bit == 0 || (second != 0) != (order == Order::MAX) {
            return false;
        }
        group[HEAD] ^= bit;
        if order == Order::MAX {
            group[INSIDE] ^= second;
        }
        true
    }

    /// Makes a pageblock, which was nothing or part of an allocated block, the first or the second of one.
    pub(super) fn set_allocated(&mut self, number: usize, is_head: bool) {
        let (group, bit) = place(number);
        let group = &mut self.groups[group];
        group[HEAD] = group[HEAD] & !bit | if is_head { bit } else { 0 };
        group[INSIDE] = group[INSIDE] & !bit | if is_head { 0 } else { bit };
    }

    /// Makes pageblocks free that are nothing yet, an even number of them from an even one up.
    pub(super) fn insert_all(&mut self, numbers: core::ops::Range<usize>, mobility: Mobility) {
        for group in numbers.start / GROUP..numbers.end.div_ceil(GROUP) {
            let first = group * GROUP;
            let (low, high) = (numbers.start.max(first) - first, numbers.end.min(first + GROUP) - first);
            let added = (u64::MAX << low) & (u64::MAX >> (GROUP - high));
            self.set_free(group, mobility, self.groups[group][FREE + mobility.index()] | added);
        }
    }

    /// Whether pageblocks are all nothing.
    pub(super) fn all_lower(&self, numbers: core::ops::Range<usize>) -> bool {
        (numbers.start / GROUP..numbers.end.div_ceil(GROUP)).all(|group| {
            let first = group * GROUP;
            let (low, high) = (numbers.start.max(first) - first, numbers.end.min(first + GROUP) - first);
            let asked = (u64::MAX << low) & (u64::MAX >> (GROUP - high));
            let group = &self.groups[group];
            group[FREE..].iter().fold(group[HEAD] | group[INSIDE], |all, free| all | free) & asked == 0
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
            let bucket = Bucket { mobility, level };
            let lowest = &mut self.lowest[mobility.index()][level as usize % ORDERS];
            if after >> level & 1 == 1 {
                self.index.insert(bucket, group);
                *lowest = (*lowest).min(group as u32);
            } else {
                self.index.remove(bucket, group);
                if *lowest == group as u32 {
                    let is_filled = self.index.filled(mobility) >> level & 1 == 1;
                    *lowest = if is_filled { self.index.lowest(bucket) as u32 } else { NONE };
                }
            }
        }
    }

    /// Whether the index says what the groups hold, and each pageblock is one thing.
    pub(super) fn is_consistent(&self) -> bool {
        let each_once = self.groups.iter().all(|group| {
            let kinds = group[FREE..].iter().chain([&group[HEAD], &group[INSIDE]]);
            let (_, twice) = kinds.fold((0, 0), |(all, twice), bits| (all | bits, twice | all & bits));
            let seconds = (group[HEAD] & EVEN) << 1;
            twice == 0 && group[INSIDE] & !seconds == 0
        });
        let lowest = Mobility::ALL.into_iter().all(|mobility| {
            (0..ORDERS as u32).all(|level| {
                let is_filled = self.index.filled(mobility) >> level & 1 == 1;
                let lowest = is_filled.then(|| self.index.lowest(Bucket { mobility, level }) as u32);
                self.lowest[mobility.index()][level as usize] == lowest.unwrap_or(NONE)
            })
        });
        let indexed = self.groups.iter().enumerate().all(|(number, group)| {
            Mobility::ALL.into_iter().all(|mobility| {
                let levels = levels(group[FREE + mobility.index()]);
                let is = |level| self.index.contains(Bucket { mobility, level }, number) == (levels >> level & 1 == 1);
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
