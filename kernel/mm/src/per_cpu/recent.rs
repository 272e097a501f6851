//! The blocks that a CPU freed last, for its next requests of the same size.

use crate::sync::atomic::{AtomicU16, AtomicU64, Ordering::Relaxed};

use super::{BATCHED, KINDS};
use crate::buddy::bits;
use crate::frame::{Order, Pfn};

/// How many blocks of each order a CPU keeps, for each mobility. Small blocks come and go more often than large ones, so they
/// have more places; all together fill a CPU's pages up to a power of two. (Measured: with twice as many for single frames as
/// for blocks of order 2 mixed operations take fewer instructions, and memory becomes whole again less often. loom has to make
/// each anew in each run of a model.)
pub(crate) const DEPTHS: [usize; BATCHED] = if cfg!(bifolio_loom) { [2; BATCHED] } else { [32, 32, 28, 22, 16, 15] };

/// The stacks of an order: one for each mobility, of which those that no request has are without a place.
const ROW: usize = 4;
const STACKS: usize = BATCHED * ROW;

/// Where each stack's places begin, and the last ones end.
const STARTS: [usize; STACKS + 1] = {
    let mut starts = [0; STACKS + 1];
    let mut nth = 0;
    while nth < STACKS {
        starts[nth + 1] = starts[nth] + if nth % ROW < KINDS { DEPTHS[nth / ROW] } else { 0 };
        nth += 1;
    }
    starts
};

/// The blocks that a CPU keeps.
pub(super) struct Kept {
    /// Where the next block of each stack goes.
    next: [AtomicU16; STACKS],
    blocks: [AtomicU64; STARTS[STACKS]],
}

impl Kept {
    pub(super) const fn new() -> Self {
        let mut next = [const { AtomicU16::new(0) }; STACKS];
        let mut nth = 0;
        while nth < STACKS {
            #[allow(clippy::forget_non_drop, reason = "loom's have something to drop, which no constant may do")]
            core::mem::forget(core::mem::replace(&mut next[nth], AtomicU16::new(STARTS[nth] as u16)));
            nth += 1;
        }
        Self { next, blocks: [const { AtomicU64::new(0) }; STARTS[STACKS]] }
    }

    /// The stack of an order, if it is below [`BATCHED`], and the mobility with this number.
    #[inline(always)]
    pub(super) fn of(&self, order: Order, mobility: usize) -> Option<Recent<'_>> {
        let nth = order.index() * ROW + mobility % ROW;
        Some(Recent { next: self.next.get(nth)?, blocks: &self.blocks, nth })
    }

    /// The stacks that have any block, each with its order.
    pub(super) fn filled(&self) -> impl Iterator<Item = (Order, Recent<'_>)> {
        // All are asked at once: so the compiler makes no loop of it.
        let is_filled = |nth: usize| usize::from(self.next[nth].load(Relaxed)) > STARTS[nth];
        let filled = (0..STACKS).fold(0, |filled, nth| filled | u64::from(is_filled(nth)) << nth);
        bits(filled).filter_map(|nth| {
            let nth = nth as usize;
            let recent = Recent { next: self.next.get(nth)?, blocks: &self.blocks, nth };
            Some((Order::new((nth / ROW) as u8)?, recent))
        })
    }

    #[cfg(bifolio_loom)]
    pub(super) fn prime(&self) {
        self.next.iter().for_each(|next| crate::sync::atomic::prime!(next));
        self.blocks.iter().for_each(|block| crate::sync::atomic::prime!(block));
    }
}

/// A stack of blocks of one order and mobility. In the planes each is neither free nor allocated. Changes under the lock of the
/// pageblock that the block on its way in or out lies in, which a CPU that frees that block once more has when it looks here.
#[derive(Clone, Copy)]
pub(crate) struct Recent<'a> {
    next: &'a AtomicU16,
    /// Those of all stacks.
    blocks: &'a [AtomicU64; STARTS[STACKS]],
    nth: usize,
}

impl<'a> Recent<'a> {
    #[inline(always)]
    fn next(self) -> usize {
        self.next.load(Relaxed).into()
    }

    /// The block that was put in last, and its place.
    #[inline(always)]
    pub(crate) fn last(self) -> Option<(Pfn, usize)> {
        let next = self.next();
        let place = next.wrapping_sub(1);
        let block = self.blocks.get(place).filter(|_| next > STARTS[self.nth])?;
        Some((Pfn::new(block.load(Relaxed)), place))
    }

    /// The place for another block, if there is any.
    #[inline(always)]
    pub(crate) fn room(self) -> Option<usize> {
        let next = self.next();
        (next < STARTS[self.nth + 1]).then_some(next)
    }

    /// Puts a block into the place that there is [for it](Self::room).
    #[inline(always)]
    pub(crate) fn push(self, pfn: Pfn, place: usize) {
        self.blocks[place].store(pfn.number(), Relaxed);
        self.next.store(place as u16 + 1, Relaxed);
    }

    /// Takes out the block that was put in last, from its place.
    #[inline(always)]
    pub(super) fn pop(self, place: usize) {
        self.next.store(place as u16, Relaxed);
    }

    /// The blocks.
    pub(crate) fn held(self) -> impl Iterator<Item = Pfn> + use<'a> {
        let held = self.blocks.get(STARTS[self.nth]..self.next()).unwrap_or(&[]);
        held.iter().map(|block| Pfn::new(block.load(Relaxed)))
    }
}
