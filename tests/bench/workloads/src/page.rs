//! Page frames: what every allocator is asked to do, in words that cost none of them anything, and the loops that do it.
//!
//! A loop does as little as can be done besides the calls: what a request returned is kept where the next step needs it,
//! and the compiler is kept from seeing through a pair.

use crate::random::{Random, scale};
use alloc::vec::Vec;
use bifolio::frame::{Gfp, Order};
use core::hint::black_box;

/// Frames that each allocator manages: 1 GiB of them.
pub const FRAMES: usize = 1 << 18;

/// An allocator over [`FRAMES`] frames, for all threads of a run. Calls are resolved at compile time, and what stands here between
/// the harness and an allocator is inlined by order, whosever that is; what an allocator inlines of its own is its business.
pub trait PageFrames: Sync + Sized {
    /// The package's name.
    const NAME: &'static str;

    /// What it calls a block by: a frame number, an address. The harness only keeps it.
    type Block: Copy + Default + Send + Sync;

    /// An allocator of which every frame is free.
    fn new() -> Self;

    /// Allocates a block. A peer that knows no flags ignores them.
    fn allocate(&self, order: Order, gfp: Gfp) -> Option<Self::Block>;

    /// Frees a block that [`PageFrames::allocate`] returned for this order.
    fn free(&self, block: Self::Block, order: Order);

    /// The number of a block's first frame, from 0.
    fn number(&self, block: Self::Block) -> usize;

    /// How much memory it needs to manage them, in bytes for each frame.
    fn bytes_per_frame(&self) -> f64;
}

/// The flags with which the last frame can be had.
pub const ALL: Gfp = Gfp::KERNEL.union(Gfp::MEMALLOC);

/// One frame, allocated and freed again, so many times; how often it was refused.
pub fn pairs<A: PageFrames>(frames: &A, count: u64) -> u64 {
    let mut refused = 0;
    for _ in 0..count {
        match frames.allocate(Order::ZERO, Gfp::KERNEL) {
            Some(block) => frames.free(black_box(block), Order::ZERO),
            None => refused += 1,
        }
    }
    refused
}

/// Fills the list with blocks; how many it got.
pub fn fill<A: PageFrames>(frames: &A, order: Order, gfp: Gfp, blocks: &mut [A::Block]) -> usize {
    for (n, slot) in blocks.iter_mut().enumerate() {
        let Some(block) = frames.allocate(order, gfp) else { return n };
        *slot = block;
    }
    blocks.len()
}

/// Frees the blocks in this order.
pub fn free_all<A: PageFrames>(frames: &A, order: Order, blocks: &[A::Block]) {
    for &block in blocks {
        frames.free(block, order);
    }
}

/// How many frames [`batches`] holds at a time.
pub const BATCH: usize = 64;

/// So many pairs, in batches: 64 frames are allocated, then freed in the same order. How often one was refused.
pub fn batches<A: PageFrames>(frames: &A, count: u64) -> u64 {
    let mut blocks = [A::Block::default(); BATCH];
    let mut refused = 0;
    for _ in 0..count / BATCH as u64 {
        let got = fill(frames, Order::ZERO, Gfp::KERNEL, &mut blocks);
        refused += (BATCH - got) as u64;
        free_all(frames, Order::ZERO, black_box(&blocks[..got]));
    }
    refused
}

/// Blocks of mixed sizes, allocated while they have less than `target` frames and freed at random while they have more.
///
/// Half of the requests are for one frame, a quarter for two, and so on up to order 9. Each allocator gets the same
/// sequence.
pub struct Mixed<A: PageFrames> {
    random: Random,
    held: Vec<(A::Block, Order)>,
    frames: usize,
    target: usize,
}

impl<A: PageFrames> Mixed<A> {
    /// Nothing yet.
    pub fn new(sequence: u64, target: usize) -> Self {
        Self { random: Random::new(sequence), held: Vec::with_capacity(target), frames: 0, target }
    }

    /// Does so many operations; how many requests were refused.
    pub fn churn(&mut self, frames: &A, count: u64) -> u64 {
        let mut refused = 0;
        for _ in 0..count {
            let number = self.random.number();
            if self.frames < self.target {
                let order = ORDERS[(number | 1 << 9).trailing_zeros() as usize % ORDERS.len()];
                match frames.allocate(order, Gfp::KERNEL) {
                    Some(block) => {
                        self.held.push((block, order));
                        self.frames += 1 << order.get();
                    }
                    None => refused += 1,
                }
            } else {
                let (block, order) = self.held.swap_remove(scale(number, self.held.len()));
                frames.free(block, order);
                self.frames -= 1 << order.get();
            }
        }
        refused
    }

    /// What is allocated.
    pub fn held(&self) -> &[(A::Block, Order)] {
        &self.held
    }
}

/// The orders 0 to 9, in a table whose size is a power of two.
const ORDERS: [Order; 16] = {
    let mut orders = [Order::ZERO; 16];
    let mut n = 0;
    while n <= 9 {
        orders[n] = Order::new(n as u8).expect("9 is an order");
        n += 1;
    }
    orders
};
