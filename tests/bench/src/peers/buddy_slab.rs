//! `buddy-slab-allocator`: its buddy allocator, with 12 bytes of metadata a frame below the memory and lists in them.

use super::Memory;
use crate::thread::Thread;
use bifolio::frame::{FRAME_SIZE, Gfp, Order};
use buddy_slab_allocator::BuddyAllocator;
use std::ptr;
use workloads::{FRAMES, Locked, PageFrames};

const PAGE: usize = FRAME_SIZE as usize;
type Buddy = BuddyAllocator<PAGE>;

/// See the module.
pub struct BuddySlab {
    buddy: Locked<Buddy, Thread>,
    memory: Memory,
}

/// What lies below the memory: the section's description, which takes less than a page, and metadata.
fn head() -> usize {
    Buddy::required_meta_size(Memory::SIZE) + PAGE
}

impl PageFrames for BuddySlab {
    const NAME: &'static str = "buddy-slab-allocator";
    type Block = usize;

    fn new() -> Self {
        let memory = Memory::new(head());
        let mut buddy = Buddy::new();
        let start = (memory.base() - head()) as *mut u8;
        // SAFETY: the mapping has these bytes, readable and writable, and nobody else uses them while it lives.
        unsafe { buddy.init(&mut *ptr::slice_from_raw_parts_mut(start, head() + Memory::SIZE)) }
            .unwrap_or_else(|error| panic!("{}: {error:?}", Self::NAME));
        assert_eq!(buddy.total_pages(), FRAMES);
        Self { buddy: Locked::new(buddy), memory }
    }

    #[inline(always)]
    fn allocate(&self, order: Order, _: Gfp) -> Option<usize> {
        // The memory is aligned, so that blocks are aligned to their size by nature.
        self.buddy.with(|buddy| buddy.alloc_pages(1 << order.get(), PAGE).ok())
    }

    #[inline(always)]
    fn free(&self, block: usize, order: Order) {
        self.buddy.with(|buddy| buddy.dealloc_pages(block, 1 << order.get()));
    }

    fn number(&self, block: usize) -> usize {
        (block - self.memory.base()) / PAGE
    }

    fn bytes_per_frame(&self) -> f64 {
        Buddy::required_meta_size(Memory::SIZE) as f64 / FRAMES as f64
    }
}
