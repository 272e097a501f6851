//! Which frames stress has, a bit each: a CPU that is given one that another has finds out at once.

use crate::failure::Failure;
use alloc::vec::Vec;
use bifolio::frame::{Pfn, PfnRange};
use core::sync::atomic::{AtomicU64, Ordering};

/// A bit for each frame of RAM.
#[derive(Debug)]
pub struct Owners(Vec<AtomicU64>);

impl Owners {
    /// Nobody has any of the frames before `end`.
    ///
    /// # Errors
    /// There is no memory for that.
    pub fn new(end: Pfn) -> Result<Self, Failure> {
        let words = end.number().div_ceil(u64::BITS.into()) as usize;
        let mut bits = Vec::new();
        bits.try_reserve_exact(words).map_err(|_| Failure::NoMemory)?;
        bits.extend((0..words).map(|_| AtomicU64::new(0)));
        Ok(Self(bits))
    }

    /// The words of a range's bits, and which bits.
    fn words(&self, range: PfnRange) -> impl Iterator<Item = (&AtomicU64, u64, u64)> {
        let bits = u64::from(u64::BITS);
        let (start, end) = (range.start.number(), range.end.number());
        (start / bits..end.div_ceil(bits)).map(move |word| {
            let (first, last) = (start.max(word * bits) % bits, (end - 1).min(word * bits + bits - 1) % bits);
            (&self.0[word as usize], u64::MAX >> (bits - 1 - last) & u64::MAX << first, word * bits)
        })
    }

    /// Somebody has these frames now.
    ///
    /// # Errors
    /// The first frame that somebody had already.
    pub fn take(&self, range: PfnRange) -> Result<(), Pfn> {
        for (word, bits, first) in self.words(range) {
            let taken = word.fetch_or(bits, Ordering::Relaxed) & bits;
            if taken != 0 {
                return Err(Pfn::new(first + u64::from(taken.trailing_zeros())));
            }
        }
        Ok(())
    }

    /// Nobody has them any more.
    pub fn give_back(&self, range: PfnRange) {
        for (word, bits, _) in self.words(range) {
            word.fetch_and(!bits, Ordering::Relaxed);
        }
    }
}
