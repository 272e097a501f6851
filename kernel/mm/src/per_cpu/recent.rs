//! The blocks that a CPU freed last, for its next requests of the same size.

use crate::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use super::KEPT;
use crate::frame::{Order, Pfn};

/// How many blocks of each order a CPU keeps, for each mobility. Small blocks come and go more often than large ones, so they
/// have more places; all together fill a CPU's pages up to a power of two. (Measured: with twice as many for single frames as
/// for blocks of order 2 mixed operations take fewer instructions, and memory becomes whole again less often. loom has to make
/// each anew in each run of a model.)
pub(crate) const DEPTHS: [usize; KEPT] = if cfg!(bifolio_loom) { [2; KEPT] } else { [32, 32, 28, 24, 18, 17] };

/// Where each order's places begin, and the last ones end.
const STARTS: [usize; KEPT + 1] = {
    let mut starts = [0; KEPT + 1];
    let mut order = 0;
    while order < KEPT {
        starts[order + 1] = starts[order] + DEPTHS[order];
        order += 1;
    }
    starts
};

/// The blocks of one mobility that a CPU keeps: a stack for each order.
pub(super) struct Kept {
    counts: [AtomicUsize; KEPT],
    blocks: [AtomicU64; STARTS[KEPT]],
}

impl Kept {
    pub(super) const fn new() -> Self {
        Self { counts: [const { AtomicUsize::new(0) }; KEPT], blocks: [const { AtomicU64::new(0) }; STARTS[KEPT]] }
    }

    /// The stack of an order, if it is below [`KEPT`].
    #[inline]
    pub(super) fn of(&self, order: Order) -> Option<Recent<'_>> {
        let (count, order) = (self.counts.get(order.index())?, order.index());
        Some(Recent { count, blocks: &self.blocks, first: STARTS[order], depth: DEPTHS[order] })
    }

    /// The stacks that have any block, each with its order.
    pub(super) fn filled(&self) -> impl Iterator<Item = (Order, Recent<'_>)> {
        let filled = Order::all().zip(&self.counts).filter(|(_, count)| count.load(Relaxed) > 0);
        filled.filter_map(|(order, _)| Some((order, self.of(order)?)))
    }

    #[cfg(bifolio_loom)]
    pub(super) fn prime(&self) {
        self.counts.iter().for_each(|count| crate::sync::atomic::prime!(count));
        self.blocks.iter().for_each(|block| crate::sync::atomic::prime!(block));
    }
}

/// A stack of blocks of one order. In the planes each is neither free nor allocated. Changes under the lock of the pageblock
/// that the block on its way in or out lies in, which a CPU that frees that block once more has when it looks here.
#[derive(Clone, Copy)]
pub(crate) struct Recent<'a> {
    count: &'a AtomicUsize,
    /// Those of all orders.
    blocks: &'a [AtomicU64; STARTS[KEPT]],
    /// Where the stack's places begin among them, and how many they are.
    first: usize,
    depth: usize,
}

impl<'a> Recent<'a> {
    /// The block that was put in last.
    #[inline]
    pub(crate) fn last(self) -> Option<Pfn> {
        let last = self.count.load(Relaxed).checked_sub(1)?;
        Some(Pfn::new(self.blocks.get(self.first + last)?.load(Relaxed)))
    }

    /// Whether there is no room for another.
    #[inline]
    pub(crate) fn is_full(self) -> bool {
        self.count.load(Relaxed) >= self.depth
    }

    /// Puts a block in. There must be room.
    #[inline]
    pub(crate) fn push(self, pfn: Pfn) {
        let count = self.count.load(Relaxed);
        debug_assert!(count < self.depth);
        self.blocks[self.first + count].store(pfn.number(), Relaxed);
        self.count.store(count + 1, Relaxed);
    }

    /// Takes out the block that was put in last, if there is any.
    #[inline]
    pub(super) fn pop(self) {
        let count = self.count.load(Relaxed);
        self.count.store(count.saturating_sub(1), Relaxed);
    }

    /// The blocks.
    pub(crate) fn held(self) -> impl Iterator<Item = Pfn> + use<'a> {
        self.blocks.iter().skip(self.first).take(self.count.load(Relaxed)).map(|block| Pfn::new(block.load(Relaxed)))
    }
}
