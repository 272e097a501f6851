//! Bifolio's heap as a kernel has it: on its page allocator, over a region in which every frame exists.

use super::{Backing, Objects};
use crate::bifolio::{CPUS, FIRST};
use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;
use bifolio::allocator::{Cpu, PageAllocator, PerCpuPages, Plan};
use bifolio::error::FreeError;
use bifolio::frame::{FRAME_SIZE, Gfp, Order, Pfn, PfnRange};
use bifolio::heap::{Heap, PageSource};
use bifolio::memory_map::{MemoryMap, Region, RegionKind};
use core::alloc::Layout;
use core::ptr::NonNull;

const PAGE: usize = FRAME_SIZE as usize;

/// The heap and its page allocator.
pub struct BifolioHeap<M, C: 'static>(Heap<Frames<M, C>, C>);

/// Page frames where the region shows them: the first frame of zone Normal is its first.
struct Frames<M, C: 'static> {
    frames: PageAllocator<'static, C>,
    memory: M,
}

impl<M: Backing, C: Cpu> Frames<M, C> {
    /// The page allocator's metadata is never freed, as in a kernel: half a byte for each frame.
    fn for_cpus(cpus: usize) -> Self {
        let start = FIRST * FRAME_SIZE;
        let mut regions = [Region { start, end: start + M::SIZE as u64, kind: RegionKind::Usable }];
        let map = MemoryMap::sanitise(&mut regions).expect("the region is RAM");
        let plan = Plan::new(map).expect("there is room for metadata");
        let words = Box::leak(vec![0; plan.metadata_words()].into_boxed_slice());
        let pages: &[PerCpuPages] = (0..cpus).map(|_| PerCpuPages::new()).collect::<Vec<_>>().leak();
        // SAFETY: the frames are the region's, which is for this alone.
        let frames = unsafe { PageAllocator::new(&plan, words, pages) }.expect("the metadata is as planned");
        Self { frames, memory: M::new() }
    }
}

impl<M: Backing, C> Frames<M, C> {
    fn address_of(&self, pfn: Pfn) -> NonNull<u8> {
        // SAFETY: the page allocator has the region's frames and no others.
        unsafe { self.memory.base().byte_add((pfn.number() - FIRST) as usize * FRAME_SIZE as usize) }
    }

    fn range_of(&self, run: NonNull<u8>, frames: u64) -> PfnRange {
        let offset = run.addr().get() - self.memory.base().addr().get();
        let pfn = Pfn::new(FIRST).offset(offset as u64 / FRAME_SIZE);
        PfnRange::new(pfn, pfn.offset(frames))
    }
}

fn frames_of(run: Layout) -> u64 {
    (run.size() / PAGE) as u64
}

// SAFETY: the allocator gives a frame to one owner at a time, out of a region that is readable and writable while this
// lives, aligned to as much as any block, and in one half of the address space.
unsafe impl<M: Backing, C: Cpu> PageSource for Frames<M, C> {
    fn allocate(&self, order: Order) -> Option<NonNull<u8>> {
        Some(self.address_of(self.frames.allocate(order, Gfp::KERNEL).ok()?.into_raw().0))
    }

    unsafe fn release(&self, block: NonNull<u8>, order: Order) -> Result<(), FreeError> {
        // SAFETY: by this function's contract the block is the caller's to free.
        unsafe { self.frames.free_raw(self.range_of(block, 1).start, order) }
    }

    fn run_for(object: Layout) -> Option<Layout> {
        Layout::from_size_align(object.size().max(1).checked_next_multiple_of(PAGE)?, object.align()).ok()
    }

    fn allocate_run(&self, run: Layout) -> Option<NonNull<u8>> {
        let (frames, align) = (frames_of(run), (run.align() as u64).div_ceil(FRAME_SIZE));
        let run = match (Order::covering(frames), Order::covering(align)) {
            (Some(_), Some(align)) => self.frames.allocate_exact_aligned(frames, align, Gfp::KERNEL),
            _ => self.frames.allocate_contiguous_aligned(frames, align, Gfp::KERNEL),
        };
        Some(self.address_of(run.ok()?.into_raw().start))
    }

    unsafe fn release_run(&self, start: NonNull<u8>, run: Layout) -> Result<(), FreeError> {
        // SAFETY: as for a block.
        unsafe { self.frames.free_range_raw(self.range_of(start, frames_of(run))) }
    }

    unsafe fn resize_run(&self, start: NonNull<u8>, run: Layout, bytes: usize) -> bool {
        let range = self.range_of(start, frames_of(run));
        // SAFETY: by this function's contract, as for a block.
        unsafe { self.frames.resize_raw(range, (bytes / PAGE) as u64, Gfp::KERNEL) }.is_ok()
    }
}

impl<M: Backing, C: Cpu> BifolioHeap<M, C> {
    /// A heap whose page allocator has an arena for each of so many CPUs.
    pub fn for_cpus(cpus: usize) -> Self {
        Self(Heap::new(Frames::for_cpus(cpus)))
    }

    /// Gives the CPU that this runs on its arena now, as a kernel does. Whether it has one.
    pub fn prepare_cpu(&self) -> bool {
        self.0.prepare_cpu()
    }
}

impl<M: Backing, C: Cpu + Sync> Objects for BifolioHeap<M, C> {
    const NAME: &'static str = "bifolio";

    fn new() -> Self {
        Self::for_cpus(CPUS)
    }

    fn prepare(&self) {
        assert!(self.prepare_cpu(), "there is memory");
    }

    #[inline(always)]
    fn allocate(&self, layout: Layout) -> Option<NonNull<u8>> {
        self.0.allocate(layout)
    }

    #[inline(always)]
    fn allocate_zeroed(&self, layout: Layout) -> Option<NonNull<u8>> {
        self.0.allocate_zeroed(layout)
    }

    #[inline(always)]
    unsafe fn free(&self, object: NonNull<u8>, layout: Layout) {
        // SAFETY: the caller keeps the same contract.
        unsafe { self.0.free(object, layout) }.expect("the harness frees what it allocated");
    }

    #[inline(always)]
    unsafe fn reallocate(&self, object: NonNull<u8>, layout: Layout, size: usize) -> Option<NonNull<u8>> {
        // SAFETY: the caller keeps the same contract.
        unsafe { self.0.reallocate(object, layout, size) }.expect("the harness frees what it allocated")
    }
}
