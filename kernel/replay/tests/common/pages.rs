//! Memory for the frames of the machine of these tests, and a heap on them.

use std::alloc::Layout;
use std::ptr::NonNull;

use bifolio::allocator::PageAllocator;
use bifolio::error::FreeError;
use bifolio::frame::{FRAME_SIZE, Gfp, Order, Pfn, PfnRange};
use bifolio::heap::{Heap, PageSource};

use super::common::Thread;

const MIB: u64 = 1 << 20;
/// Frames below 48 MiB, and above 4 GiB: as many bytes of memory, one behind the other.
const LOW: u64 = 48 * MIB;
const HIGH: u64 = 4096 * MIB;
pub const MEMORY: Layout = match Layout::from_size_align(96 << 20, 4 << 20) {
    Ok(layout) => layout,
    Err(_) => panic!(),
};

pub type Frames = PageAllocator<'static, Thread>;
pub type Objects = Heap<Pages, Thread>;

/// Frames of the allocator, which are memory.
pub struct Pages {
    pub frames: &'static Frames,
    pub base: NonNull<u8>,
}
// SAFETY: the memory is read and written by whoever has an object there, and nothing else here changes.
unsafe impl Sync for Pages {}
// SAFETY: nothing in it is bound to a thread; all of it is memory and addresses.
unsafe impl Send for Pages {}

impl Pages {
    fn at(&self, pfn: Pfn) -> NonNull<u8> {
        let address = pfn.address();
        // SAFETY: all usable frames have their place in the memory.
        unsafe { self.base.add(if address < HIGH { address } else { address - HIGH + LOW } as usize) }
    }

    fn range(&self, start: NonNull<u8>, run: Layout) -> PfnRange {
        let first = Pfn::containing(self.number_of(start.as_ptr().addr()));
        PfnRange::new(first, first.offset(run.size() as u64 / FRAME_SIZE))
    }
}

// SAFETY: the allocator gives each frame to one owner, and each is other memory, aligned as it is.
unsafe impl PageSource for Pages {
    fn allocate(&self, order: Order) -> Option<NonNull<u8>> {
        Some(self.at(self.frames.allocate(order, Gfp::KERNEL).ok()?.into_raw().0))
    }

    unsafe fn release(&self, block: NonNull<u8>, order: Order) -> Result<(), FreeError> {
        // SAFETY: the block is the caller's to give back, by the contract of `release`.
        unsafe { self.frames.free_raw(Pfn::containing(self.number_of(block.as_ptr().addr())), order) }
    }

    fn number_of(&self, address: usize) -> u64 {
        let offset = (address - self.base.as_ptr().addr()) as u64;
        if offset < LOW { offset } else { offset - LOW + HIGH }
    }

    fn run_for(object: Layout) -> Option<Layout> {
        Layout::from_size_align(object.size().max(1).checked_next_multiple_of(4096)?, object.align()).ok()
    }

    fn allocate_run(&self, run: Layout) -> Option<NonNull<u8>> {
        let align = Order::covering((run.align() as u64).div_ceil(FRAME_SIZE))?;
        let run = self.frames.allocate_exact_aligned(run.size() as u64 / FRAME_SIZE, align, Gfp::KERNEL).ok()?;
        Some(self.at(run.into_raw().start))
    }

    unsafe fn release_run(&self, start: NonNull<u8>, run: Layout) -> Result<(), FreeError> {
        // SAFETY: the run is the caller's to give back, by the contract of `release_run`.
        unsafe { self.frames.free_range_raw(self.range(start, run)) }
    }

    unsafe fn resize_run(&self, start: NonNull<u8>, run: Layout, bytes: usize) -> bool {
        // SAFETY: nobody uses what lies behind the new end, by the contract of `resize_run`.
        unsafe { self.frames.resize_raw(self.range(start, run), bytes as u64 / FRAME_SIZE, Gfp::KERNEL) }.is_ok()
    }
}
