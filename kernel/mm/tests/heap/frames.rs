//! The heap over the page allocator itself, as in a kernel.

use std::alloc::{Layout, alloc, dealloc};
use std::ptr::NonNull;

use bifolio::allocator::{BlockState, PageAllocator, Plan};
use bifolio::error::FreeError;
use bifolio::frame::{Gfp, Order, Pfn, ZoneKind};
use bifolio::heap::{Heap, PageSource};
use bifolio::memory_map::{MemoryMap, Region, RegionKind};
use kit::machine::metadata;
use kit::{Raw, Sound, scale};

use crate::objects::{CPUS, Object, layout};
use crate::source::Thread;

const BYTES: usize = scale::size(64 << 20, 4 << 20);

/// A machine's memory, shown at some place in the host's, and the page allocator over it.
struct Machine<'m> {
    memory: NonNull<u8>,
    frames: PageAllocator<'m, Thread>,
}

impl<'m> Machine<'m> {
    const LAYOUT: Layout = match Layout::from_size_align(BYTES, Order::MAX.bytes() as usize) {
        Ok(layout) => layout,
        Err(_) => panic!(),
    };

    fn new(plan: &Plan<'_>, metadata: &'m mut [u64]) -> Self {
        Thread::become_first();
        // SAFETY: the layout is not empty.
        let memory = NonNull::new(unsafe { alloc(Self::LAYOUT) }).unwrap();
        // SAFETY: the frames are this machine's alone, and `memory` shows them.
        Self { memory, frames: unsafe { PageAllocator::new(plan, metadata, &[]) }.unwrap() }
    }

    /// Every block there is. (A pageblock's mobility is a hint about its last user, and stays when that is gone.)
    fn blocks(&self) -> Vec<(Pfn, Order, BlockState)> {
        let mut blocks = Vec::new();
        for kind in ZoneKind::ALL {
            self.frames.for_each_block(kind, |block| blocks.push((block.pfn, block.order, block.state)));
        }
        blocks
    }
}

impl Drop for Machine<'_> {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout.
        unsafe { dealloc(self.memory.as_ptr(), Self::LAYOUT) };
    }
}

// SAFETY: the allocator gives a frame to one owner at a time; the memory shows them in their place, aligned as far as
// the largest block is.
unsafe impl PageSource for Machine<'_> {
    fn allocate(&self, order: Order) -> Option<NonNull<u8>> {
        let pfn = self.frames.take(order, Gfp::KERNEL).ok()?;
        // SAFETY: the frame's address is below the end of the memory.
        Some(unsafe { self.memory.add(pfn.address() as usize) })
    }

    unsafe fn release(&self, block: NonNull<u8>, order: Order) -> Result<(), FreeError> {
        let address = block.as_ptr().addr() - self.memory.as_ptr().addr();
        self.frames.give(Pfn::containing(address as u64), order)
    }
}

// SAFETY: the memory is of no particular thread.
unsafe impl Sync for Machine<'_> {}

#[test]
fn when_all_is_freed_the_page_allocator_is_as_it_was_to_the_bit() {
    let mut firmware = [Region { start: 0, end: BYTES as u64, kind: RegionKind::Usable }];
    let plan = Plan::new(MemoryMap::sanitise(&mut firmware).unwrap()).unwrap();
    let metadata = metadata(plan.metadata_words());
    let machine = Machine::new(&plan, metadata);
    let before = machine.blocks();
    let heap: Heap<_, Thread, CPUS> = Heap::new(&machine);

    let mut objects: Vec<Object> = Vec::new();
    for round in 0..4 {
        // Sizes from 1 byte to 1 MiB, until memory is out.
        let mut sizes = (0..).map(|n: usize| 1 + (n * 7919 + round) % (1 << (3 + n % 18)));
        while let Some(object) = Object::try_new(&heap, layout(sizes.next().unwrap(), 8), objects.len() as u8) {
            objects.push(object);
        }
        heap.sound();
        machine.frames.sound();
        assert!(objects.len() > scale::size(500, 30), "{} objects", objects.len());
        // Free all but every 64th, from both ends by turns, so that what stays is scattered.
        let mut kept = Vec::new();
        while let Some(object) = objects.pop() {
            if objects.len() % 64 == round {
                kept.push(object);
            } else {
                object.free(&heap);
            }
            if !objects.is_empty() {
                objects.swap_remove(0).free(&heap);
            }
        }
        objects = kept;
    }
    objects.into_iter().for_each(|object| object.free(&heap));
    heap.sound();
    heap.shrink();
    heap.sound();
    machine.frames.sound();
    assert_eq!(machine.blocks(), before);
}
