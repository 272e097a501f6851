//! Pageblocks that are free or allocated as a whole, and the pairs of them that are blocks of order 10.

use super::index::Bucket;
use super::pageblock::Key;
use super::states::Unity;
use super::{Zone, bucket, is_lower_half};
use crate::frame::{Mobility, Order};

impl Zone<'_> {
    /// [`Zone::reindex`] for a pageblock that was free as a whole, or is now: then it may be half of a free block of order
    /// 10, which only the lower half is indexed for.
    pub(super) fn reindex_whole(&mut self, pageblock: usize, before: Key, after: Key) {
        match (before.largest(), after.largest()) {
            (Some(Order::MAX), Some(Order::MAX)) => {
                if is_lower_half(pageblock) {
                    self.index.remove(Bucket { mobility: before.mobility(), order: Order::MAX }, pageblock);
                    self.index.insert(Bucket { mobility: after.mobility(), order: Order::MAX }, pageblock);
                }
                return;
            }
            (Some(Order::MAX | Order::PAGEBLOCK), _) => self.remove_whole(pageblock, before),
            (Some(order), _) => self.index.remove(Bucket { mobility: before.mobility(), order }, pageblock),
            (None, _) => {}
        }
        match after.largest() {
            Some(Order::PAGEBLOCK) => self.insert_whole(pageblock, after.mobility()),
            Some(order) => self.index.insert(Bucket { mobility: after.mobility(), order }, pageblock),
            None => {}
        }
    }

    /// Whether a pageblock that is free as a whole makes a block of order 10 with its buddy.
    #[inline]
    pub(super) fn can_merge(&self, pageblock: usize) -> bool {
        let buddy = &self.summaries[pageblock ^ 1];
        let [mobility, other] = [self.summaries[pageblock].mobility(), buddy.mobility()];
        self.states.unity(pageblock ^ 1) == Unity::Free
            && buddy.largest() == Some(Order::PAGEBLOCK)
            && (mobility == other || mobility.is_mergeable() && other.is_mergeable())
    }

    /// Makes a pageblock that is free as a whole an allocated block of order 9, or with its buddy one of order 10.
    #[inline]
    pub(super) fn take_whole(&mut self, pageblock: usize, order: Order) {
        if order == Order::MAX {
            return self.set_pair(pageblock, [Unity::LowerHalf, Unity::UpperHalf], None);
        }
        let before = self.summaries[pageblock].key();
        self.pageblock(pageblock).unite(Unity::Allocated, None);
        self.remove_whole(pageblock, before);
    }

    /// Takes a pageblock out of the index that was free as a whole; if it was half of a block of order 10, its buddy stays
    /// as one of order 9.
    #[inline]
    pub(super) fn remove_whole(&mut self, pageblock: usize, before: Key) {
        if before.largest() != Some(Order::MAX) {
            return self.index.remove(Bucket { mobility: before.mobility(), order: Order::PAGEBLOCK }, pageblock);
        }
        self.index.remove(Bucket { mobility: before.mobility(), order: Order::MAX }, pageblock & !1);
        let buddy = pageblock ^ 1;
        self.pageblock(buddy).set_largest(Some(Order::PAGEBLOCK));
        let mobility = self.summaries[buddy].mobility();
        self.index.insert(Bucket { mobility, order: Order::PAGEBLOCK }, buddy);
    }

    /// Puts a pageblock into the index that became free as a whole, as one of order 9 or, with its buddy, of order 10.
    #[inline]
    pub(super) fn insert_whole(&mut self, pageblock: usize, mobility: Mobility) {
        if !self.can_merge(pageblock) {
            return self.index.insert(Bucket { mobility, order: Order::PAGEBLOCK }, pageblock);
        }
        let buddy = pageblock ^ 1;
        let other = self.summaries[buddy].mobility();
        self.index.remove(Bucket { mobility: other, order: Order::PAGEBLOCK }, buddy);
        if mobility != other {
            // As in Linux the later half decides.
            self.summaries[buddy].set_mobility(mobility);
        }
        for half in [pageblock, buddy] {
            self.pageblock(half).set_largest(Some(Order::MAX));
        }
        self.index.insert(Bucket { mobility, order: Order::MAX }, pageblock & !1);
    }

    /// Makes a free block of order 10 an allocated one, or the reverse.
    pub(super) fn set_pair(&mut self, pageblock: usize, unities: [Unity; 2], largest: Option<Order>) {
        let lower = pageblock & !1;
        let before = self.summaries[lower].key();
        for (half, unity) in [lower, lower | 1].into_iter().zip(unities) {
            self.pageblock(half).unite(unity, largest);
        }
        let after = self.summaries[lower].key();
        if let Some(bucket) = bucket(lower, before) {
            self.index.remove(bucket, lower);
        }
        if let Some(bucket) = bucket(lower, after) {
            self.index.insert(bucket, lower);
        }
    }
}
