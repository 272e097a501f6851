//! Sets of caches.

use crate::slab::arena::Arena;
use crate::sync::atomic::{AtomicU64, Ordering::Relaxed};

const WORDS: usize = Arena::BINS.div_ceil(u64::BITS as usize);

/// Numbers of caches, a bit each.
pub(super) struct Numbers([AtomicU64; WORDS]);

impl Numbers {
    /// None.
    pub(super) const fn none() -> Self {
        Self([const { AtomicU64::new(0) }; WORDS])
    }

    pub(super) fn has(&self, number: u16) -> bool {
        let number = usize::from(number);
        self.0[number / u64::BITS as usize].load(Relaxed) >> (number % u64::BITS as usize) & 1 != 0
    }

    pub(super) fn set(&self, number: u16, is_in: bool) {
        let number = usize::from(number);
        let (word, bit) = (&self.0[number / u64::BITS as usize], 1 << (number % u64::BITS as usize));
        if is_in {
            word.fetch_or(bit, Relaxed)
        } else {
            word.fetch_and(!bit, Relaxed)
        };
    }
}
