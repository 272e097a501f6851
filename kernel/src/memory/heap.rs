//! The heap: `Box`, `Vec` and the rest, on slabs out of page frames.
//!
//! It has no size: it takes frames as it needs them and gives them back. Nothing sets it up, since it takes nothing
//! before the first allocation. Where memory runs out, `try_reserve` and its like return an error; what cannot return
//! one panics with the size that was asked for.

use super::frames::{Processor, try_frames};
use super::paging;
use bifolio::error::FreeError;
use bifolio::frame::{Gfp, Order, Pfn};
use bifolio::heap::{Heap, PageSource};
use core::ptr::NonNull;
use x86_64::{PhysAddr, VirtAddr};

/// The kernel's heap.
#[global_allocator]
pub static HEAP: Heap<WindowPages, Processor> = Heap::new(WindowPages);

/// Page frames where the window onto physical memory shows them, so that heap memory needs no mapping of its own.
#[derive(Clone, Copy, Debug)]
pub struct WindowPages;

// SAFETY: the allocator gives a block to one owner at a time, out of usable memory that the window shows, readable and
// writable, for as long as the kernel runs. The window is aligned to more than any block, so a block is aligned in
// virtual memory as it is in physical memory. All its addresses lie in the upper half.
unsafe impl PageSource for WindowPages {
    fn allocate(&self, order: Order) -> Option<NonNull<u8>> {
        let pfn = try_frames()?.allocate(order, Gfp::KERNEL).ok()?;
        NonNull::new(paging::to_virtual(PhysAddr::new(pfn.address())).as_mut_ptr())
    }

    unsafe fn release(&self, block: NonNull<u8>, order: Order) -> Result<(), FreeError> {
        let pfn = Pfn::containing(paging::to_physical(VirtAddr::from_ptr(block.as_ptr())).as_u64());
        super::frames().free(pfn, order)
    }
}
