//! Hardening: what the allocators do so that a mistake in the use of memory gives less away. All of it is off unless a kernel
//! switches it on, for page frames ([`PageAllocator::harden`](crate::allocator::PageAllocator::harden)), for a
//! [heap](crate::heap::Heap::harden), or for [both](crate::kernel::Kernel::harden).
//!
//! The fast paths do not ask for it. What a CPU has for itself, its pages and its arena of the heap, is behind a gate; while
//! something is switched on, that gate is closed to them, and the slow paths go through a second one. So switched off it costs
//! nothing.

use bitflags::bitflags;

use crate::sync::atomic::{AtomicU8, Ordering::Relaxed};

bitflags! {
    /// What is switched on, by the names of Linux's boot parameters.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct Hardening: u8 {
        /// Whatever is allocated holds zeros: so nobody reads what others have left there.
        const INIT_ON_ALLOC = 1;
        /// Whatever is freed is filled with zeros at once: so nobody finds there what was in it. Nothing changes in what cannot be freed.
        const INIT_ON_FREE = 2;
    }
}

/// What is switched on now.
#[derive(Default)]
pub(crate) struct Switches(AtomicU8);

impl Switches {
    /// Nothing.
    pub(crate) const fn off() -> Self {
        Self(AtomicU8::new(0))
    }

    pub(crate) fn get(&self) -> Hardening {
        Hardening::from_bits_retain(self.0.load(Relaxed))
    }

    pub(crate) fn set(&self, hardening: Hardening) {
        self.0.store(hardening.bits(), Relaxed);
    }

    /// Makes the atomic known to loom.
    #[cfg(bifolio_loom)]
    pub(crate) fn prime(&self) {
        crate::sync::atomic::prime!(self.0);
    }
}
