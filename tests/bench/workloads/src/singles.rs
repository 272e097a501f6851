//! Single operations on page frames, each counted by itself.

use crate::page::{FRAMES, PageFrames};
use crate::random::Random;
use alloc::vec::Vec;
use bifolio::frame::{Gfp, Order};
use core::hint::black_box;

/// Whoever counts the instructions of a piece of work.
pub trait Count {
    /// Does the work, and returns what it came to.
    fn count(&mut self, work: impl FnOnce()) -> u64;
}

/// Random operations: blocks are allocated while they have less than half of memory, and random ones freed while they have more.
/// Every second request is for any order, the others mostly for small ones, so that memory is in pieces of all sizes. Each
/// allocator gets the same sequence.
pub struct Singles<A: PageFrames> {
    random: Random,
    held: Vec<(A::Block, Order)>,
    in_use: usize,
}

impl<A: PageFrames> Default for Singles<A> {
    fn default() -> Self {
        Self { random: Random::new(17), held: Vec::with_capacity(FRAMES / 2), in_use: 0 }
    }
}

impl<A: PageFrames> Singles<A> {
    /// Does one more: its order, and what it came to. Nothing if a request was refused, which is no figure: it looks everywhere,
    /// and may.
    pub fn next(&mut self, frames: &A, counter: &mut impl Count) -> Option<(Order, u64)> {
        if self.in_use < FRAMES / 2 {
            let order = self.order();
            let mut block = None;
            let instructions = counter.count(|| block = black_box(frames.allocate(order, Gfp::KERNEL)));
            self.held.push((block?, order));
            self.in_use += 1 << order.get();
            Some((order, instructions))
        } else {
            let (block, order) = self.held.swap_remove(self.random.below(self.held.len()));
            self.in_use -= 1 << order.get();
            Some((order, counter.count(|| frames.free(black_box(block), order))))
        }
    }

    fn order(&mut self) -> Order {
        let number = self.random.number();
        let order = if number & 1 == 0 {
            self.random.below(Order::COUNT)
        } else {
            (number >> 1 | 1 << 10).trailing_zeros() as usize
        };
        Order::new(order as u8).expect("it is at most 10")
    }
}

/// The workloads that [`ranks`] are the figures of.
pub const RANKS: [&str; 3] = ["page-single-median", "page-single-p99", "page-worst"];

/// Of what single operations came to: the median, what 99 of 100 do not exceed, and the worst.
pub fn ranks(counts: &mut [u32]) -> [u64; 3] {
    counts.sort_unstable();
    let Some(last) = counts.len().checked_sub(1) else { return [0; 3] };
    [last / 2, last * 99 / 100, last].map(|place| counts[place].into())
}
