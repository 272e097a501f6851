//! A word of a pageblock: the two bits of truth of each of 64 frames.

use crate::buddy::WORD_FRAMES;
use crate::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The two bits of 64 frames, in a pageblock that is locked: those that say *free*, and those that say *head*.
#[derive(Clone, Copy)]
pub(crate) struct Word<'a>(pub(super) &'a [AtomicU64; 2]);

impl Word<'_> {
    #[inline(always)]
    pub(super) fn bits(self) -> (u64, u64) {
        (self.0[0].load(Relaxed), self.0[1].load(Relaxed))
    }

    #[inline(always)]
    fn set_bits(self, free: u64, head: u64) {
        self.0[0].store(free, Relaxed);
        self.0[1].store(head, Relaxed);
    }

    /// The free frames.
    #[inline]
    pub(crate) fn free(self) -> u64 {
        let (free, head) = self.bits();
        free & !head
    }

    /// The first frames of allocated blocks.
    #[inline]
    pub(crate) fn allocated(self) -> u64 {
        let (free, head) = self.bits();
        head & !free
    }

    /// The first frames of blocks that are lent, and reserved frames.
    #[inline]
    pub(crate) fn lent(self) -> u64 {
        let (free, head) = self.bits();
        free & head
    }

    /// The first frames of allocated and lent blocks, and reserved frames.
    pub(crate) fn heads(self) -> u64 {
        self.bits().1
    }

    /// The frames at which something begins.
    #[inline]
    pub(crate) fn bounds(self) -> u64 {
        let (free, head) = self.bits();
        free | head
    }

    /// Makes the allocated block of order 0 at `bit` free. False if there is no such block.
    #[inline(always)]
    pub(crate) fn release_frame(self, bit: u32) -> bool {
        // As it is to be: free, and where it was not allocated something else.
        let (free, head) = self.bits();
        let (free, head) = (free ^ 1 << bit, head ^ 1 << bit);
        // What follows the last frame is the next word, where something begins, as it does with this word's first frame if
        // there is a single frame in it.
        let bounds = free | head;
        let is_freed = ((bounds ^ head) & bounds.rotate_right(1)) >> bit & 1 == 1;
        if is_freed {
            self.set_bits(free, head);
        }
        is_freed
    }

    /// Whether an allocated block of exactly `order`, less than a word, begins at `bit`.
    #[inline(always)]
    pub(crate) fn has_block(self, bit: u32, order: u32) -> bool {
        let (free, head) = self.bits();
        // Of the bounds behind the first frame, as many as the block has frames, just the last is set. Behind the word comes the
        // next, where something begins, as it does with this word's first frame if there is less than a word in it.
        let behind = (free | head).rotate_right(bit + 1);
        (head & !free) >> bit & 1 == 1 && behind << (WORD_FRAMES - (1 << order)) == 1 << (WORD_FRAMES - 1)
    }

    /// Gives these frames the same two bits.
    #[inline]
    pub(crate) fn set(self, frames: u64, free: bool, head: bool) {
        let with = |bits: u64, set: bool| if set { bits | frames } else { bits & !frames };
        let bits = self.bits();
        self.set_bits(with(bits.0, free), with(bits.1, head));
    }

    /// Makes free frames blocks that begin at `heads`: allocated ones.
    #[inline]
    pub(crate) fn allocate(self, frames: u64, heads: u64) {
        let (free, head) = self.bits();
        self.set_bits(free & !frames, head | heads);
    }

    /// Makes allocated blocks lent ones, or with `lent` false the reverse.
    #[inline]
    pub(crate) fn lend(self, heads: u64, lent: bool) {
        let free = self.0[0].load(Relaxed);
        self.0[0].store(if lent { free | heads } else { free & !heads }, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_block_of_one_frame_is_released_as_one() {
        let planes = [AtomicU64::new(0), AtomicU64::new(0)];
        let word = Word(&planes);
        // A block of two frames, two of one, one of four, and so on; the last one again of one frame.
        let heads = 0b1_0001_1101 | 1 << 62 | 1 << 63;
        word.allocate(0, heads);
        for bit in 0..64 {
            let is_single = [2, 3, 62, 63].contains(&bit);
            assert_eq!(word.release_frame(bit), is_single, "{bit}");
            assert_eq!(word.free() >> bit & 1 == 1, is_single, "{bit}");
            assert!(!word.release_frame(bit), "{bit} twice");
        }
        assert_eq!(word.allocated(), heads & !(0b1100 | 1 << 62 | 1 << 63));
    }
}
