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

/// The pageblocks of a zone, as a whole.
pub(crate) struct Wholes<'m> {
    groups: &'m mut [Group],
    index: Index<'m>,
}

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
    let blocks = if level == 0 && singles != 0 { singles } else { buddy::starts(free, 1) };
    blocks & blocks.wrapping_neg()
}

impl<'m> Wholes<'m> {
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
        Self { groups: bytemuck::cast_slice_mut(words), index: Index::new(groups, ORDERS, index) }
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
        let level = level(order);
        if self.index.filled(mobility) >> level & 1 == 0 {
            return None;
        }
        let group = self.index.lowest(Bucket { mobility, level });
        let first = tightest(self.groups[group][FREE + mobility.index()], level);
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
        if self.index.filled(mobility) >> level & 1 == 0 {
            return None;
        }
        let number = self.index.lowest(Bucket { mobility, level });
        let group = &mut self.groups[number];
        let before = group[FREE + mobility.index()];
        let first = tightest(before, level);
        let all = first | first << level;
        let after = before & !all;
        group[FREE + mobility.index()] = after;
        group[HEAD] |= first;
        group[INSIDE] |= all & !first;
        self.reindex(number, mobility, before, after);
        Some(number * GROUP + first.trailing_zeros() as usize)
    }

    /// Puts in a pageblock that became free. If its buddy is free too and of a mobility that merges with this one, both are of
    /// this one then, as in Linux; the buddy is returned if its mobility has changed.
    #[inline(always)]
    pub(super) fn insert(&mut self, number: usize, mobility: Mobility) -> Option<usize> {
        let (group, bit) = place(number);
        let buddy = number ^ 1;
        let words = &mut self.groups[group];
        let before = words[FREE + mobility.index()];
        words[FREE + mobility.index()] = before | bit;
        let others = Mobility::REQUESTED.into_iter().fold(0, |all, kind| all | words[FREE + kind.index()]) & !before;
        self.reindex(group, mobility, before, before | bit);
        if others & place(buddy).1 == 0 || !mobility.is_mergeable() { None } else { self.join(buddy, mobility) }
    }

    /// Changes the mobility of a free pageblock to that of its buddy.
    #[cold]
    fn join(&mut self, number: usize, mobility: Mobility) -> Option<usize> {
        let other = Mobility::REQUESTED.into_iter().find(|other| *other != mobility && self.is_free(number, *other))?;
        self.set_mobility(number, other, mobility);
        Some(number)
    }

    /// Takes out a free pageblock.
    #[inline]
    pub(super) fn remove(&mut self, number: usize, mobility: Mobility) {
        let (group, bit) = place(number);
        self.set_free(group, mobility, self.groups[group][FREE + mobility.index()] & !bit);
    }

    /// Changes the mobility of a free pageblock.
    pub(super) fn set_mobility(&mut self, number: usize, from: Mobility, to: Mobility) {
        let (group, bit) = place(number);
        self.set_free(group, from, self.groups[group][FREE + from.index()] & !bit);
        self.set_free(group, to, self.groups[group][FREE + to.index()] | bit);
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

    /// Whether a block of exactly `order` is allocated that begins at a pageblock.
    #[inline(always)]
    pub(super) fn is_allocated(&self, number: usize, order: Order) -> bool {
        let (group, bit) = place(number);
        let group = &self.groups[group];
        group[HEAD] & bit != 0 && (group[INSIDE] & bit << 1 != 0) == (order == Order::MAX)
    }

    /// Takes out the allocated block of `order` that begins at a pageblock, whose pageblocks are nothing then.
    #[inline(always)]
    pub(super) fn release(&mut self, number: usize, order: Order) {
        let (group, bit) = place(number);
        self.groups[group][HEAD] &= !bit;
        if order == Order::MAX {
            self.groups[group][INSIDE] &= !(bit << 1);
        }
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
    #[inline(always)]
    fn reindex(&mut self, group: usize, mobility: Mobility, before: u64, after: u64) {
        if levels(before) != levels(after) {
            self.reindex_levels(group, mobility, levels(before), levels(after));
        }
    }

    #[cold]
    fn reindex_levels(&mut self, group: usize, mobility: Mobility, before: u32, after: u32) {
        for level in buddy::bits((before ^ after).into()) {
            let bucket = Bucket { mobility, level };
            if after >> level & 1 == 1 { self.index.insert(bucket, group) } else { self.index.remove(bucket, group) }
        }
    }

    /// Whether the index says what the groups hold, and each pageblock is one thing.
    pub(super) fn is_consistent(&self) -> bool {
        let each_once = self.groups.iter().all(|group| {
            let kinds = group[FREE..].iter().chain([&group[HEAD], &group[INSIDE]]);
            let (_, twice) = kinds.fold((0, 0), |(all, twice), bits| (all | bits, twice | all & bits));
            let seconds = (group[HEAD] & 0x5555_5555_5555_5555) << 1;
            twice == 0 && group[INSIDE] & !seconds == 0
        });
        let indexed = self.groups.iter().enumerate().all(|(number, group)| {
            Mobility::ALL.into_iter().all(|mobility| {
                let levels = levels(group[FREE + mobility.index()]);
                let is = |level| self.index.contains(Bucket { mobility, level }, number) == (levels >> level & 1 == 1);
                (0..ORDERS as u32).all(is)
            })
        });
        each_once && indexed && self.index.is_consistent()
    }
}

/// The level of an order, from 9 up, in this index.
#[inline]
fn level(order: Order) -> u32 {
    u32::from(order.get() - Order::PAGEBLOCK.get())
}
