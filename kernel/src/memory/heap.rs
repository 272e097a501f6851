//! The heap: `Box`, `Vec` and the rest, on slabs out of page frames.
//!
//! It has no size: it takes frames as it needs them and gives them back. Nothing sets it up, since it takes nothing
//! before the first allocation. Where memory runs out, `try_reserve` and its like return an error; what cannot return
//! one panics with the size that was asked for.
//!
//! In an interrupt handler, and wherever else nothing may wait, it takes what there is, up to the reserves, and maps nothing.
//!
//! Slabs and objects of up to 4 MiB lie in the window onto physical memory. Larger ones, and those for which no frames in a
//! row are found, are [mapped](super::vmalloc) (Linux: `kvmalloc`).

use super::frames::{Processor, gfp, try_frames};
use super::{paging, vmalloc};
use crate::sync;
use bifolio::error::FreeError;
use bifolio::frame::{FRAME_SIZE, Gfp, Order, Pfn, PfnRange};
use bifolio::heap::{Heap, PageSource};
use core::alloc::Layout;
use core::ptr::NonNull;
use x86_64::{PhysAddr, VirtAddr};

/// Bytes in a page.
const PAGE: usize = FRAME_SIZE as usize;

/// The kernel's heap.
#[global_allocator]
pub static HEAP: Heap<KernelPages, Processor> = Heap::new(KernelPages);

/// Page frames where the window onto physical memory shows them, and mappings for what is too large for that.
#[derive(Clone, Copy, Debug)]
pub struct KernelPages;

/// The first frame of what the window shows here.
fn frame_at(address: NonNull<u8>) -> Pfn {
    Pfn::containing(paging::to_physical(VirtAddr::from_ptr(address.as_ptr())).as_u64())
}

/// Where the window shows a frame.
fn window_on(pfn: Pfn) -> Option<NonNull<u8>> {
    NonNull::new(paging::to_virtual(PhysAddr::new(pfn.address())).as_mut_ptr())
}

/// A block of frames, by a request with these flags beside the usual ones.
fn block_of(order: Order, flags: Gfp) -> Option<NonNull<u8>> {
    let gfp = if HEAP.may_wait_recorded() { Gfp::KERNEL } else { gfp() };
    window_on(try_frames()?.allocate(order, gfp | flags).ok()?.into_raw().0)
}

/// The pages of a run.
fn pages_of(run: Layout) -> u64 {
    (run.size() / PAGE) as u64
}

fn is_mapped(run: NonNull<u8>) -> bool {
    vmalloc::contains(VirtAddr::from_ptr(run.as_ptr()))
}

// SAFETY: the allocator gives a frame to one owner at a time, out of usable memory that the window shows, readable and
// writable, for as long as the kernel runs. The window is aligned to more than any block, so a block is aligned in
// virtual memory as it is in physical memory. A mapping has frames and addresses of its own, and is aligned as it was asked
// for. All addresses lie in the upper half.
unsafe impl PageSource for KernelPages {
    fn allocate(&self, order: Order) -> Option<NonNull<u8>> {
        block_of(order, Gfp::empty())
    }

    fn allocate_slab(&self, order: Order) -> Option<NonNull<u8>> {
        // Where there is none of this order the heap asks for a smaller one. As in Linux's SLUB, that is nothing to warn of.
        let quiet = if order > Order::ZERO { Gfp::NOWARN } else { Gfp::empty() };
        block_of(order, quiet)
    }

    unsafe fn release(&self, block: NonNull<u8>, order: Order) -> Result<(), FreeError> {
        // SAFETY: by this function's contract the block is the caller's to free.
        unsafe { super::frames().free_raw(frame_at(block), order) }
    }

    /// Physical addresses; behind them, those of mappings; behind those, whatever else somebody wants to free.
    fn number_of(&self, address: usize) -> u64 {
        const MAPPED: u64 = 1 << 60;
        const ELSEWHERE: u64 = 1 << 61;
        let mapped = VirtAddr::try_new(address as u64).ok().and_then(vmalloc::offset).map(|offset| MAPPED + offset);
        mapped.or_else(|| paging::physical_in_window(address)).unwrap_or(ELSEWHERE | address as u64)
    }

    fn run_for(object: Layout) -> Option<Layout> {
        Layout::from_size_align(object.size().max(1).checked_next_multiple_of(PAGE)?, object.align()).ok()
    }

    fn allocate_run(&self, run: Layout) -> Option<NonNull<u8>> {
        let (pages, align) = (pages_of(run), (run.align() as u64).div_ceil(FRAME_SIZE));
        let (frames, gfp) = (try_frames()?, gfp() | Gfp::NOWARN);
        // A mapping takes page tables, and address space.
        let block = Order::covering(pages).and_then(|_| {
            let exact = |align| frames.allocate_exact_aligned(pages, align, gfp).ok();
            let exact = Order::covering(align).and_then(exact);
            exact.or_else(|| frames.allocate_run(pages, align, gfp).ok())
        });
        match block {
            Some(block) => window_on(block.into_raw().start),
            None if sync::may_sleep() => vmalloc::allocate(pages, align),
            None => None,
        }
    }

    unsafe fn release_run(&self, start: NonNull<u8>, run: Layout) -> Result<(), FreeError> {
        if is_mapped(start) {
            // SAFETY: by this function's contract it was mapped with so many pages, and nobody uses it.
            return unsafe { vmalloc::free(start, pages_of(run)) };
        }
        let first = frame_at(start);
        // SAFETY: as for a block.
        unsafe { super::frames().free_range_raw(PfnRange::new(first, first.offset(pages_of(run)))) }
    }

    unsafe fn resize_run(&self, start: NonNull<u8>, run: Layout, bytes: usize) -> bool {
        let (from, to) = (pages_of(run), (bytes / PAGE) as u64);
        if is_mapped(start) {
            // SAFETY: by this function's contract it was mapped with so many pages, and nobody uses those behind `to`.
            return unsafe { vmalloc::resize(start, from, to) };
        }
        let first = frame_at(start);
        // SAFETY: by this function's contract the run is the caller's, who does not use what is behind its new end.
        unsafe { super::frames().resize_raw(PfnRange::new(first, first.offset(from)), to, gfp()) }.is_ok()
    }
}
