//! Random numbers that cost less than what they choose between.

/// A linear congruential generator of which only the upper half is used; the same numbers for every allocator.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The sequence with this number.
    pub fn new(sequence: u64) -> Self {
        let mut random = Self(sequence);
        random.number();
        random
    }

    /// The next number.
    #[inline]
    pub fn number(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        (self.0 >> 32) as u32
    }

    /// The next number, below `bound`.
    #[inline]
    pub fn below(&mut self, bound: usize) -> usize {
        scale(self.number(), bound)
    }

    /// Puts a list in random order.
    pub fn shuffle<T>(&mut self, list: &mut [T]) {
        for last in (1..list.len()).rev() {
            list.swap(last, self.below(last + 1));
        }
    }
}

/// What `random` is of `bound`, if 2^32 is one.
#[inline]
pub fn scale(random: u32, bound: usize) -> usize {
    ((u64::from(random) * bound as u64) >> 32) as usize
}
