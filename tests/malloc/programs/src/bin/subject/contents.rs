//! Memory that is filled, and looked at again later.

use std::ptr;

/// An object from `malloc`, every byte of which is known.
pub struct Filled {
    start: *mut u8,
    bytes: usize,
    seed: u8,
}

// SAFETY: the pointer is to memory of no particular thread.
unsafe impl Send for Filled {}

impl Filled {
    /// Allocates and fills an object.
    ///
    /// # Panics
    /// If there is no memory.
    pub fn new(bytes: usize, seed: u8) -> Self {
        // SAFETY: any size may be asked for.
        let start = unsafe { libc::malloc(bytes) }.cast::<u8>();
        assert!(!start.is_null(), "no memory for {bytes} bytes");
        assert!(start.addr().is_multiple_of(if bytes <= 8 { 8 } else { 16 }), "{bytes} bytes at {start:p}");
        let filled = Self { start, bytes, seed };
        filled.fill(0);
        filled
    }

    fn byte(&self, place: usize) -> u8 {
        self.seed.wrapping_add((place % 251) as u8)
    }

    fn fill(&self, from: usize) {
        for place in from..self.bytes {
            // SAFETY: the object has that many bytes, and is ours.
            unsafe { self.start.add(place).write(self.byte(place)) };
        }
    }

    /// Looks at every byte.
    ///
    /// # Panics
    /// If one is not what was written there.
    pub fn check(&self) {
        for place in 0..self.bytes {
            // SAFETY: the object has that many bytes, and is ours; all were written.
            let found = unsafe { self.start.add(place).read() };
            assert_eq!(found, self.byte(place), "byte {place} of {} at {:p}", self.bytes, self.start);
        }
    }

    /// Gives the object another size, and fills what is new.
    pub fn resize(&mut self, bytes: usize) {
        self.check();
        // SAFETY: the object is ours, and nothing else points to it.
        let start = unsafe { libc::realloc(self.start.cast(), bytes) }.cast::<u8>();
        assert!(!start.is_null(), "no memory for {bytes} bytes instead of {}", self.bytes);
        let old = self.bytes.min(bytes);
        self.start = start;
        self.bytes = bytes;
        let kept = Self { start, bytes: old, seed: self.seed };
        kept.check();
        std::mem::forget(kept);
        self.fill(old);
    }
}

impl Drop for Filled {
    fn drop(&mut self) {
        self.check();
        // SAFETY: the object is ours, and used no more.
        unsafe { libc::free(std::mem::replace(&mut self.start, ptr::null_mut()).cast()) };
    }
}

/// A small generator of numbers (xorshift).
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize % limit
    }

    /// Mostly small, now and then large.
    pub fn size(&mut self) -> usize {
        let shift = 3 + self.below(13);
        1 + self.below(1 << shift)
    }
}
