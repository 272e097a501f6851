//! Split, coalesce and find, as arithmetic on 64-bit words of free frames.
//!
//! The buddy decomposition of a set of free frames, its maximal aligned power-of-two blocks, is unique. So it need not
//! be stored: one bit a frame says all, and the blocks of each order follow from the word in a step of two operations.
//! Splitting a block is clearing bits, coalescing two is setting them, and no list, tree or counter can disagree.
//!
//! ```text
//! bit             15             8 7             0
//! free             1 1 1 1 0 1 1 0 1 1 1 1 1 1 1 1
//! order 0 blocks   1 1 1 1 . 1 1 . 1 1 1 1 1 1 1 1    x
//! order 1 blocks   . 1 . 1 . . . . . 1 . 1 . 1 . 1    x & x >> 1  & 0x5555
//! order 2 blocks   . . . 1 . . . . . . . 1 . . . 1    x & x >> 2  & 0x1111
//! order 3 blocks   . . . . . . . . . . . . . . . 1    x & x >> 4  & 0x0101
//! ```
//!
//! The same functions serve one level up, where a bit is a wholly free word of a pageblock.

/// The order of a whole word: 64 frames.
pub(crate) const WORD_ORDER: u32 = 6;
/// Frames in a word.
pub(crate) const WORD_FRAMES: u32 = 1 << WORD_ORDER;

/// The bits at which a block of each order may start: every `2^order`th.
const STARTS: [u64; WORD_ORDER as usize + 1] = [
    0xffff_ffff_ffff_ffff,
    0x5555_5555_5555_5555,
    0x1111_1111_1111_1111,
    0x0101_0101_0101_0101,
    0x0001_0001_0001_0001,
    0x0000_0001_0000_0001,
    0x0000_0000_0000_0001,
];

/// The bits of a block of `order` (at most [`WORD_ORDER`]) that starts at bit 0.
#[inline]
pub(crate) const fn ones(order: u32) -> u64 {
    u64::MAX >> (WORD_FRAMES - (1 << order))
}

/// From the starts of the free aligned blocks of `order`, the starts of those one order up.
#[inline]
const fn paired(blocks: u64, order: u32) -> u64 {
    blocks & (blocks >> (1u32 << order)) & STARTS[order as usize + 1]
}

/// The starts of the free aligned blocks of `order` (at most [`WORD_ORDER`]), larger ones being several of them.
#[inline]
pub(crate) const fn starts(free: u64, order: u32) -> u64 {
    let mut blocks = free;
    let mut k = 0;
    while k < order {
        blocks = paired(blocks, k);
        k += 1;
    }
    blocks
}

/// The frames of the blocks of `order` (below [`WORD_ORDER`]) that start at `heads`.
#[inline]
pub(crate) const fn spread(heads: u64, order: u32) -> u64 {
    (heads << (1u32 << order)).wrapping_sub(heads)
}

/// The order of the largest block in the word plus one, or 0 if the word has no bit set.
///
/// Plus one, because "no block" then compares below every order and needs no case of its own. Without a branch: what
/// words hold is as good as random, and a wrong guess costs more than all six steps.
#[inline]
pub(crate) const fn level(free: u64) -> u32 {
    let pairs = paired(free, 0);
    let quads = paired(pairs, 1);
    let octets = paired(quads, 2);
    // The first bits of all bytes, next to each other.
    let gathered = octets.wrapping_mul(0x0102_0408_1020_4080) >> (WORD_FRAMES - 8);
    (free != 0) as u32 + (pairs != 0) as u32 + (quads != 0) as u32 + level_of_eight(gathered)
}

/// [`level`] of the lowest eight bits alone.
#[inline]
pub(crate) const fn level_of_eight(free: u64) -> u32 {
    OF_EIGHT[free as usize % 256] as u32
}

/// The level of each eight bits.
const OF_EIGHT: [u8; 256] = {
    let mut levels = [0; 256];
    let mut free = 1;
    while free < 256 {
        let mut blocks = free as u64;
        let mut order = 0;
        while blocks != 0 {
            levels[free] += 1;
            blocks = if order < 3 { paired(blocks, order) } else { 0 };
            order += 1;
        }
        free += 1;
    }
    levels
};

/// The first bit of the lowest of the smallest blocks that hold a block of `order` (at most [`WORD_ORDER`]).
///
/// The smallest sufficient block is the one to split: it is what the rest of the word loses least by.
#[inline]
pub(crate) const fn tightest(free: u64, order: u32) -> Option<u32> {
    let mut blocks = starts(free, order);
    let mut k = order;
    while k < WORD_ORDER && blocks != 0 {
        let larger = paired(blocks, k);
        let exact = blocks & !(larger | larger << (1u32 << k));
        if exact != 0 {
            return Some(exact.trailing_zeros());
        }
        blocks = larger;
        k += 1;
    }
    if blocks != 0 { Some(blocks.trailing_zeros()) } else { None }
}

/// The bits that are set, from the lowest up.
pub(crate) fn bits(word: u64) -> impl Iterator<Item = u32> + Clone {
    let mut rest = word;
    core::iter::from_fn(move || {
        let bit = (rest != 0).then(|| rest.trailing_zeros());
        rest &= rest.wrapping_sub(1);
        bit
    })
}

/// The words that hold a range of bits, each with those that it holds.
pub(crate) fn parts(range: core::ops::Range<usize>) -> impl Iterator<Item = (usize, u64)> {
    const WIDTH: usize = WORD_FRAMES as usize;
    (range.start / WIDTH..range.end.div_ceil(WIDTH)).map(move |word| {
        let first = word * WIDTH;
        let (low, high) = (range.start.max(first) - first, range.end.min(first + WIDTH) - first);
        (word, (u64::MAX << low) & (u64::MAX >> (WIDTH - high)))
    })
}

/// The order of the word's block that starts at a bit; `None` if none does.
pub(crate) fn block_at(free: u64, bit: u32) -> Option<u32> {
    let is_free = |order: &u32| free >> (bit >> order << order) & ones(*order) == ones(*order);
    let order = (0..=WORD_ORDER).rev().find(is_free)?;
    (bit % (1 << order) == 0).then_some(order)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The decomposition by its definition: every aligned block that is free while its parent is not.
    fn by_definition(free: u64) -> Vec<(u32, u32)> {
        let is_free = |bit: u32, order: u32| (bit..bit + (1 << order)).all(|b| free >> b & 1 == 1);
        let mut found = Vec::new();
        for order in 0..=WORD_ORDER {
            for bit in (0..WORD_FRAMES).step_by(1 << order) {
                let parent = bit & !(1 << order);
                if is_free(bit, order) && !(order < WORD_ORDER && is_free(parent, order + 1)) {
                    found.push((bit, order));
                }
            }
        }
        found.sort_unstable();
        found
    }

    fn words() -> impl Iterator<Item = u64> {
        // Dense, sparse and structured words: the product of two random ones clusters bits, as real use does.
        let mut state = 0x9e37_79b9_7f4a_7c15u64;
        let mut random = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        let mut all = vec![0, 1, u64::MAX, 1 << 63, u64::MAX >> 1, 0xffff_0000_ffff_0000, 0x0000_0001_0000_0000];
        for _ in 0..2000 {
            let (a, b, c) = (random(), random(), random());
            all.extend([a, a & b, a | b, a | b | c, a & b & c, a | a << 1 | a << 2 | a << 3, !(1 << (a % 64))]);
        }
        all.into_iter()
    }

    #[test]
    #[cfg_attr(miri, ignore = "arithmetic, of which there is much and no memory")]
    fn the_decomposition_is_the_defined_one() {
        for word in words() {
            let at = |bit| block_at(word, bit).map(|order| (bit, order));
            assert_eq!((0..WORD_FRAMES).filter_map(at).collect::<Vec<_>>(), by_definition(word), "{word:#x}");
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "arithmetic, of which there is much and no memory")]
    fn level_is_the_largest_block_plus_one() {
        for word in words() {
            let largest = by_definition(word).into_iter().map(|(_, order)| order + 1).max().unwrap_or(0);
            assert_eq!(level(word), largest, "{word:#x}");
            assert_eq!(level_of_eight(word), level(word & 0xff), "{word:#x}");
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "arithmetic, of which there is much and no memory")]
    fn tightest_is_the_lowest_of_the_smallest_sufficient_blocks() {
        for word in words() {
            for order in 0..=WORD_ORDER {
                let blocks = by_definition(word);
                let best = blocks.iter().filter(|b| b.1 >= order).map(|b| (b.1, b.0)).min();
                assert_eq!(tightest(word, order), best.map(|(_, bit)| bit), "{word:#x} order {order}");
            }
        }
    }
}
