//! `acid_alloc`: its `Buddy` with 11 levels, as many as there are orders; lists in the free pages.

use super::Memory;
use crate::thread::Thread;
use acid_alloc::{Buddy, Raw};
use bifolio::frame::{FRAME_SIZE, Gfp, Order};
use std::alloc::Layout;
use std::ptr::NonNull;
use workloads::{FRAMES, Locked, PageFrames};

const PAGE: usize = FRAME_SIZE as usize;
const LARGEST: usize = Order::MAX.bytes() as usize;
const BLOCKS: usize = Memory::SIZE / LARGEST;
type Inner = Buddy<LARGEST, { Order::COUNT }, Raw>;

/// See the module.
pub struct Acid {
    buddy: Locked<Inner, Thread>,
    memory: Memory,
}

fn metadata_size() -> usize {
    let layout = Inner::metadata_layout(BLOCKS).unwrap_or_else(|error| panic!("{}: {error:?}", Acid::NAME));
    layout.size().next_multiple_of(PAGE)
}

impl PageFrames for Acid {
    const NAME: &'static str = "acid_alloc";
    type Block = usize;

    fn new() -> Self {
        let memory = Memory::new(metadata_size());
        let at = |address: usize| NonNull::new(address as *mut u8).expect("memory is not at 0");
        // SAFETY: the mapping has the metadata and the memory, readable, writable, apart and aligned, and nobody else
        // uses them while it lives.
        let buddy = unsafe { Inner::new_raw(at(memory.base() - metadata_size()), at(memory.base()), BLOCKS) };
        Self { buddy: Locked::new(buddy.unwrap_or_else(|error| panic!("{}: {error:?}", Self::NAME))), memory }
    }

    #[inline(always)]
    fn allocate(&self, order: Order, _: Gfp) -> Option<usize> {
        let size = PAGE << order.get();
        // SAFETY: a power of two of at least a page, and far from the end of the address space.
        let layout = unsafe { Layout::from_size_align_unchecked(size, size) };
        self.buddy.with(|buddy| buddy.allocate(layout).ok().map(|block| block.as_ptr().addr()))
    }

    #[inline(always)]
    fn free(&self, block: usize, _: Order) {
        let block = NonNull::new(block as *mut u8).expect("memory is not at 0");
        // SAFETY: the harness frees what it allocated, once.
        self.buddy.with(|buddy| unsafe { buddy.deallocate(block) });
    }

    fn number(&self, block: usize) -> usize {
        (block - self.memory.base()) / PAGE
    }

    fn bytes_per_frame(&self) -> f64 {
        metadata_size() as f64 / FRAMES as f64
    }
}
