//! From a memory map of 1 TiB to a working allocator.
//!
//! The memory need not exist; its metadata must.

use crate::meter::Meter;
use bifolio::allocator::{PageAllocator, PerCpuPages, Plan};
use bifolio::frame::{Gfp, Order};
use bifolio::memory_map::{MemoryMap, Region, RegionKind};
use core::hint::black_box;
use kernel::memory::frames::Processor;

const TIB: u64 = 1 << 40;
/// Half a byte for each frame of a TiB.
pub const METADATA: u64 = 128 << 20;

/// Measures it.
pub fn run(meter: &Meter<'_>, metadata: &'static mut [u64]) {
    static PAGES: [PerCpuPages; 1] = [PerCpuPages::new()];
    if !meter.wants(&["page-setup-1TiB"]) {
        return;
    }
    let mut regions = [Region { start: 1 << 32, end: (1 << 32) + TIB, kind: RegionKind::Usable }];
    let instructions = meter.instructions(|| {
        let map = MemoryMap::sanitise(&mut regions).expect("the region is RAM");
        let plan = Plan::new(map).expect("there is room for metadata");
        let metadata = &mut metadata[..plan.metadata_words()];
        // SAFETY: the memory need not exist, and nobody uses it.
        let frames = unsafe { PageAllocator::<Processor>::new(&plan, metadata, &PAGES) };
        let frames = frames.expect("the metadata is as planned");
        let _ = black_box(frames.allocate(Order::ZERO, Gfp::KERNEL)).expect("nearly a TiB is free");
    });
    meter.report("page-setup-1TiB", "bifolio", 1, instructions, 0);
}
