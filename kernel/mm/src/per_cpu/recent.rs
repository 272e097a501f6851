//! The blocks that a CPU freed last, for its next requests of the same size.

use crate::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use crate::frame::Pfn;

/// How many blocks of one order and mobility a CPU keeps. (loom has to make each anew in each run of a model.)
pub(crate) const DEPTH: usize = if cfg!(bifolio_loom) { 2 } else { 32 };

/// A stack of blocks of one order. In the planes each is neither free nor allocated. Changes under the lock of the pageblock
/// that the block on its way in or out lies in, which a CPU that frees that block once more has when it looks here.
pub(crate) struct Recent {
    count: AtomicUsize,
    blocks: [AtomicU64; DEPTH],
}

impl Recent {
    pub(crate) const fn new() -> Self {
        Self { count: AtomicUsize::new(0), blocks: [const { AtomicU64::new(0) }; DEPTH] }
    }

    /// The block that was put in last.
    #[inline]
    pub(crate) fn last(&self) -> Option<Pfn> {
        let last = self.count.load(Relaxed).checked_sub(1)?;
        Some(Pfn::new(self.blocks[last % DEPTH].load(Relaxed)))
    }

    /// Whether there is no room for another.
    #[inline]
    pub(crate) fn is_full(&self) -> bool {
        self.count.load(Relaxed) >= DEPTH
    }

    /// Puts a block in. There must be room.
    #[inline]
    pub(crate) fn push(&self, pfn: Pfn) {
        let count = self.count.load(Relaxed);
        self.blocks[count % DEPTH].store(pfn.number(), Relaxed);
        self.count.store(count + 1, Relaxed);
    }

    /// Takes out the block that was put in last, if there is any.
    #[inline]
    pub(crate) fn pop(&self) {
        let count = self.count.load(Relaxed);
        self.count.store(count.saturating_sub(1), Relaxed);
    }

    /// The blocks.
    pub(crate) fn held(&self) -> impl Iterator<Item = Pfn> {
        let count = self.count.load(Relaxed).min(DEPTH);
        self.blocks[..count].iter().map(|block| Pfn::new(block.load(Relaxed)))
    }

    #[cfg(bifolio_loom)]
    pub fn prime(&self) {
        crate::sync::atomic::prime!(self.count);
        self.blocks.iter().for_each(|block| crate::sync::atomic::prime!(block));
    }
}
