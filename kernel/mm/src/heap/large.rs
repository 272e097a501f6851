//! Objects above the largest size class: blocks of page frames of their own.
//!
//! To the registry such a block is a slab of one slot, so a bad free of it is found in the same way.

use core::alloc::Layout;
use core::ptr::NonNull;

use super::Heap;
use crate::allocator::Cpu;
use crate::frame::{FRAME_SIZE, Order};
use crate::slab::class::Divider;
use crate::slab::descriptor::Owner;
use crate::slab::source::PageSource;

/// How many large objects there are.
pub(super) struct Large {
    blocks: [usize; Order::COUNT],
}

impl Large {
    pub(super) const NAME: &'static str = "kmalloc-large";

    pub(super) const fn new() -> Self {
        Self { blocks: [0; Order::COUNT] }
    }

    /// Live objects in blocks of `order`.
    pub(super) fn blocks(&self, order: Order) -> usize {
        self.blocks[order.index()]
    }

    /// The frames in all of them.
    pub(super) fn frames(&self) -> u64 {
        Order::all().map(|order| self.blocks(order) as u64 * order.frames()).sum()
    }
}

/// The order of the block that a large object takes; `None` if no block is that large. Blocks are aligned to their size.
pub(super) fn order_of(layout: Layout) -> Option<Order> {
    Order::covering((layout.size().max(layout.align()) as u64).div_ceil(FRAME_SIZE))
}

impl<S: PageSource, C: Cpu, const CPUS: usize> Heap<S, C, CPUS> {
    #[cold]
    pub(super) fn allocate_large(&self, layout: Layout) -> Option<NonNull<u8>> {
        let order = order_of(layout)?;
        let size = order.bytes() as u32;
        let open = || self.registry.open::<C>(order, size, 1, Divider::new(size));
        let block = open().or_else(|| if self.shrink() > 0 { open() } else { None })?;
        self.large.with::<C, _>(|large| {
            large.blocks[order.index()] += 1;
            block.set_owner(Owner::LARGE);
            block.take()
        })
    }

    #[cold]
    pub(super) fn free_large(&self, object: NonNull<u8>, layout: Layout) -> Result<(), super::HeapError> {
        let block = self.large.with::<C, _>(|large| {
            // SAFETY: we hold the owner's lock.
            let (block, slot) = unsafe { self.find_slot(Owner::LARGE, object.as_ptr().addr()) }?;
            if Some(block.order()) != order_of(layout) || !block.put_any(slot) {
                return None;
            }
            large.blocks[block.order().index()] -= 1;
            block.set_owner(Owner::TRANSIT);
            Some(block)
        });
        let block = block.ok_or_else(|| self.diagnose(object, Some(layout)))?;
        self.registry.close::<C>(block);
        Ok(())
    }

    #[cold]
    pub(super) fn is_live_large(&self, object: NonNull<u8>, layout: Layout) -> bool {
        self.large.with::<C, _>(|_| {
            // SAFETY: we hold the owner's lock.
            unsafe { self.find_slot(Owner::LARGE, object.as_ptr().addr()) }
                .is_some_and(|(block, _)| Some(block.order()) == order_of(layout))
        })
    }

    /// A layout that the live large object which starts here could have; `None` if none does.
    pub(super) fn object_layout(&self, object: NonNull<u8>) -> Option<Layout> {
        self.large.with::<C, _>(|_| {
            // SAFETY: we hold the owner's lock.
            let (block, slot) = unsafe { self.find_slot(Owner::LARGE, object.as_ptr().addr()) }?;
            (!block.is_free(slot)).then(|| Layout::from_size_align(block.size(), 1).ok())?
        })
    }
}
