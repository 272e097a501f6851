//! `buddy-alloc`: its `BuddyAlloc` with leaves of a page; bits for each order below the memory, lists in the free pages.

use super::Memory;
use crate::thread::Thread;
use bifolio::frame::{FRAME_SIZE, Gfp, Order};
use buddy_alloc::buddy_alloc::{BuddyAlloc as Buddy, BuddyAllocParam};
use workloads::{FRAMES, Locked, PageFrames};

const PAGE: usize = FRAME_SIZE as usize;
/// More than its metadata needs.
const HEAD: usize = 4 << 20;

/// See the module.
pub struct BuddyAlloc {
    buddy: Locked<Unshared, Thread>,
    memory: Memory,
    metadata: usize,
}

struct Unshared(Buddy);

// SAFETY: the allocator's pointers lead into its memory, which belongs to no thread.
unsafe impl Send for Unshared {}

impl PageFrames for BuddyAlloc {
    const NAME: &'static str = "buddy-alloc";
    type Block = usize;

    fn new() -> Self {
        let memory = Memory::new(HEAD);
        // How much metadata there is for this much memory can only be learnt by setting it up.
        let set_up = |metadata: usize, length: usize| {
            let start = (memory.base() - metadata) as *const u8;
            // SAFETY: the mapping has these bytes, readable and writable, and nobody else uses them while it lives.
            unsafe { Buddy::new(BuddyAllocParam::new(start, length, PAGE)) }
        };
        let metadata = HEAD + Memory::SIZE - set_up(HEAD, HEAD + Memory::SIZE).available_bytes();
        let buddy = set_up(metadata, metadata + Memory::SIZE);
        assert_eq!(buddy.available_bytes(), Memory::SIZE);
        Self { buddy: Locked::new(Unshared(buddy)), memory, metadata }
    }

    #[inline(always)]
    fn allocate(&self, order: Order, _: Gfp) -> Option<usize> {
        let block = self.buddy.with(|buddy| buddy.0.malloc(PAGE << order.get()));
        (!block.is_null()).then_some(block as usize)
    }

    #[inline(always)]
    fn free(&self, block: usize, _: Order) {
        self.buddy.with(|buddy| buddy.0.free(block as *mut u8));
    }

    fn number(&self, block: usize) -> usize {
        (block - self.memory.base()) / PAGE
    }

    fn bytes_per_frame(&self) -> f64 {
        self.metadata as f64 / FRAMES as f64
    }
}
