//! A batch: the free blocks of one order in one word, lent to a CPU.
//!
//! Allocating is clearing a bit, freeing is setting one, and neither takes a lock or a locked instruction. In the planes of
//! the word's pageblock the lent blocks are neither free nor allocated, whether they are handed out or not: so another CPU that
//! frees one comes to a slow path, sees that it is lent, and takes it off the loan.

use crate::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::buddy::WORD_FRAMES;
use crate::frame::Pfn;

/// What a CPU has of one word. `free` is the owner's alone; `base` and `lent` change under the lock of the word's pageblock.
pub(crate) struct Batch {
    /// The number of the word's first frame; [`Batch::NONE`] without a loan.
    base: AtomicU64,
    /// The blocks that the CPU was given back or has not handed out yet, a bit for the first frame of each.
    free: AtomicU64,
    /// The blocks on loan, in the same way, handed out or not. What another CPU frees leaves the loan, and nothing that has
    /// left it is handed out again.
    lent: AtomicU64,
}

impl Batch {
    /// No word starts at an odd frame.
    const NONE: u64 = u64::MAX;

    pub(crate) const fn new() -> Self {
        Self { base: AtomicU64::new(Self::NONE), free: AtomicU64::new(0), lent: AtomicU64::new(0) }
    }

    /// Hands out the lowest block.
    #[inline(always)]
    pub(crate) fn allocate(&self) -> Option<Pfn> {
        let free = self.free.load(Relaxed);
        let ready = free & self.lent.load(Relaxed);
        if ready == 0 {
            return None;
        }
        let bit = ready.trailing_zeros();
        // What is free and not on loan any more was freed twice, and is counted when the loan ends.
        self.free.store(free ^ 1 << bit, Relaxed);
        Some(Pfn::new(self.base.load(Relaxed) + u64::from(bit)))
    }

    /// What it consists of.
    pub(super) fn words(&self) -> [u64; 3] {
        [&self.base, &self.free, &self.lent].map(|word| word.load(Relaxed))
    }

    /// Whether the loan is of the word at `base`.
    #[inline(always)]
    pub(crate) fn is_of(&self, base: u64) -> bool {
        self.base.load(Relaxed) == base
    }

    /// Takes the block at a frame of the word back. False if it is not on loan, or not handed out.
    #[inline(always)]
    pub(crate) fn free(&self, pfn: Pfn) -> bool {
        let bit = (pfn.number() % u64::from(WORD_FRAMES)) as u32;
        let free = self.free.load(Relaxed) ^ 1 << bit;
        let is_freed = (self.lent.load(Relaxed) & free).rotate_right(bit) & 1 == 1;
        if is_freed {
            self.free.store(free, Relaxed);
        }
        is_freed
    }

    /// The first frame of the word on loan.
    pub(crate) fn base(&self) -> Option<Pfn> {
        let base = self.base.load(Relaxed);
        (base != Self::NONE).then_some(Pfn::new(base))
    }

    /// Begins a loan of blocks of the word at `base`. There must be none, and the word's pageblock must be locked.
    pub(crate) fn begin(&self, base: Pfn, heads: u64) {
        debug_assert!(self.base().is_none());
        self.free.store(heads, Relaxed);
        self.lent.store(heads, Relaxed);
        self.base.store(base.number(), Relaxed);
    }

    /// Ends the loan: the blocks that the CPU had, or was given back, and those that were on loan still. What is one of the former
    /// alone was freed twice: here, and by another CPU at about the same time. The word's pageblock must be locked, and the CPU
    /// that owns this must be here, or kept out.
    pub(crate) fn end(&self) -> (u64, u64) {
        let (free, lent) = (self.free.load(Relaxed), self.lent.load(Relaxed));
        self.base.store(Self::NONE, Relaxed);
        self.free.store(0, Relaxed);
        self.lent.store(0, Relaxed);
        (free, lent)
    }

    /// The first frame of the word on loan, the blocks on loan, and those of them that can be handed out.
    pub(crate) fn loan(&self) -> Option<(Pfn, u64, u64)> {
        let lent = self.lent.load(Relaxed);
        Some((self.base()?, lent, lent & self.free.load(Relaxed)))
    }

    /// Takes a block, which is handed out, off the loan. Its pageblock must be locked.
    pub(crate) fn forget(&self, bit: u32) {
        self.lent.store(self.lent.load(Relaxed) & !(1 << bit), Relaxed);
    }

    #[cfg(bifolio_loom)]
    pub fn prime(&self) {
        crate::sync::atomic::prime!(self.base, self.free, self.lent);
    }
}
