//! Bifolio itself: 1 GiB in zone Normal that need not exist.

use crate::{FRAMES, PageFrames};
use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;
use bifolio::allocator::{Cpu, PageAllocator, PerCpuPages, Plan, Recorder, Recording};
use bifolio::frame::{FRAME_SIZE, Gfp, Order, Pfn, Profile, ZoneKind};
use bifolio::memory_map::{MemoryMap, Region, RegionKind};

/// As many CPUs as any run on the host has threads.
pub(crate) const CPUS: usize = 2;

/// The first frame: the first of zone Normal.
pub(crate) const FIRST: u64 = Profile::X86_64.range(ZoneKind::Normal).start.number();

/// The allocator, and how many bytes it needs besides its code.
pub struct Bifolio<C: 'static> {
    frames: PageAllocator<'static, C>,
    bytes: usize,
}

impl<C: Cpu> Bifolio<C> {
    /// An allocator with pages of its own for each of so many CPUs. The metadata is never freed, as in a kernel: some 100 KiB.
    pub fn for_cpus(cpus: usize) -> Self {
        // The metadata goes to the end of the memory: this much more there is, so that no frame is missing.
        let mut metadata = 0;
        loop {
            let (start, frames) = (FIRST * FRAME_SIZE, FRAMES as u64 + metadata);
            let mut regions = [Region { start, end: start + frames * FRAME_SIZE, kind: RegionKind::Usable }];
            let map = MemoryMap::sanitise(&mut regions).expect("the region is RAM");
            let plan = Plan::new(map).expect("there is room for metadata");
            if plan.metadata().frames() > metadata {
                metadata = plan.metadata().frames();
                continue;
            }
            let words = Box::leak(vec![0; plan.metadata_words()].into_boxed_slice());
            let pages: &[PerCpuPages] = (0..cpus).map(|_| PerCpuPages::new()).collect::<Vec<_>>().leak();
            let bytes = size_of_val(words) + size_of_val(pages);
            // SAFETY: the frames are numbers, and nobody's memory.
            let frames = unsafe { PageAllocator::new(&plan, words, pages) }.expect("the metadata is as planned");
            assert_eq!(frames.zone(ZoneKind::Normal).free, FRAMES as u64);
            return Self { frames, bytes };
        }
    }

    /// Has every operation recorded from now on, by a recorder of the caller's.
    pub fn record(&mut self, recorder: &'static dyn Recorder) {
        self.frames.record(Box::leak(Box::new(Recording::new(recorder))));
    }

    /// The allocator itself.
    pub fn allocator(&self) -> &PageAllocator<'static, C> {
        &self.frames
    }
}

impl<C: Cpu + Sync> PageFrames for Bifolio<C> {
    const NAME: &'static str = "bifolio";
    type Block = Pfn;

    fn new() -> Self {
        Self::for_cpus(CPUS)
    }

    #[inline(always)]
    fn allocate(&self, order: Order, gfp: Gfp) -> Option<Pfn> {
        self.frames.allocate(order, gfp).ok().map(|block| block.into_raw().0)
    }

    #[inline(always)]
    fn free(&self, block: Pfn, order: Order) {
        // SAFETY: nobody else frees it, and it is a number.
        unsafe { self.frames.free_raw(block, order) }.expect("the harness frees what it allocated");
    }

    fn number(&self, block: Pfn) -> usize {
        (block.number() - FIRST) as usize
    }

    fn bytes_per_frame(&self) -> f64 {
        self.bytes as f64 / FRAMES as f64
    }
}
