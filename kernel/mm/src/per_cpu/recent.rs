//! The blocks that a CPU freed last, for its next requests of the same size: a stack of them for each order and mobility.
//!
//! In the planes each is neither free nor allocated. A stack changes under the lock of the pageblock that the block on its way in or
//! out lies in, which a CPU that frees that block once more has when it looks here.

use crate::sync::atomic::{AtomicU16, Ordering::Relaxed};

use super::{BATCHED, COUNT_SHIFT, KINDS, NEARLY_FULL, PerCpuPages};
use crate::buddy::bits;
use crate::frame::{Order, Pfn};

/// How many blocks of each order a CPU keeps, for each mobility. Small blocks come and go more often than large ones, so they
/// have more places; all together fill a CPU's pages up to a power of two. (Measured: with twice as many for single frames as
/// for blocks of order 2 mixed operations take fewer instructions, and memory becomes whole again less often. loom has to make
/// each anew in each run of a model.)
pub(crate) const DEPTHS: [usize; BATCHED] = if cfg!(bifolio_loom) { [2; BATCHED] } else { [32, 32, 28, 22, 16, 15] };

/// The stacks of an order: one for each mobility, of which those that no request has are without a place.
const ROW: usize = 4;
pub(super) const STACKS: usize = BATCHED * ROW;

/// Where each stack's places begin, and the last ones end.
pub(super) const STARTS: [usize; STACKS + 1] = {
    let mut starts = [0; STACKS + 1];
    let mut nth = 0;
    while nth < STACKS {
        starts[nth + 1] = starts[nth] + if nth % ROW < KINDS { DEPTHS[nth / ROW] } else { 0 };
        nth += 1;
    }
    starts
};

/// Where the next block of each stack goes while all are empty.
pub(super) const fn empty_stacks() -> [AtomicU16; STACKS] {
    let mut next = [const { AtomicU16::new(0) }; STACKS];
    let mut stack = 0;
    while stack < STACKS {
        #[allow(clippy::forget_non_drop, reason = "loom's have something to drop, which no constant may do")]
        core::mem::forget(core::mem::replace(&mut next[stack], AtomicU16::new(STARTS[stack] as u16)));
        stack += 1;
    }
    next
}

impl PerCpuPages {
    /// The number of the stack for blocks of an order below [`BATCHED`], and the mobility with this number; no stack's for larger ones.
    #[inline(always)]
    pub(crate) fn stack(order: Order, mobility: usize) -> usize {
        order.index() * ROW + mobility % ROW
    }

    /// The stacks that have any block, each with its order.
    pub(crate) fn filled_stacks(&self) -> impl Iterator<Item = (Order, usize)> {
        // All are asked at once: so the compiler makes no loop of it.
        let is_filled = |stack: usize| usize::from(self.next[stack].load(Relaxed)) > STARTS[stack];
        let filled = (0..STACKS).fold(0, |filled, stack| filled | u64::from(is_filled(stack)) << stack);
        bits(filled).filter_map(|stack| Some((Order::new((stack as usize / ROW) as u8)?, stack as usize)))
    }

    /// The block that was put into a stack last, and its place.
    #[inline(always)]
    pub(crate) fn last(&self, stack: usize) -> Option<(Pfn, usize)> {
        let next = usize::from(self.next.get(stack)?.load(Relaxed));
        let place = next.wrapping_sub(1);
        let block = self.recent.get(place).filter(|_| next > STARTS[stack])?;
        Some((Pfn::new(block.load(Relaxed)), place))
    }

    /// The place for another block of a stack, if there is any.
    #[inline(always)]
    pub(crate) fn room(&self, stack: usize) -> Option<usize> {
        let next = usize::from(self.next.get(stack)?.load(Relaxed));
        (next < STARTS[stack + 1]).then_some(next)
    }

    /// Puts a block into the place that there is [for it](Self::room).
    #[inline(always)]
    pub(crate) fn push(&self, stack: usize, place: usize, pfn: Pfn) {
        self.recent[place].store(pfn.number(), Relaxed);
        self.next[stack].store(place as u16 + 1, Relaxed);
    }

    /// Takes out the block that was put in last, from its place. There is room for frames then.
    #[inline(always)]
    pub(crate) fn pop(&self, stack: usize, place: usize) {
        self.least.store(NEARLY_FULL << COUNT_SHIFT, Relaxed);
        self.next[stack].store(place as u16, Relaxed);
    }

    /// The blocks of a stack.
    pub(crate) fn stacked(&self, stack: usize) -> impl Iterator<Item = Pfn> {
        let next = usize::from(self.next[stack].load(Relaxed));
        self.recent.get(STARTS[stack]..next).unwrap_or(&[]).iter().map(|block| Pfn::new(block.load(Relaxed)))
    }
}
