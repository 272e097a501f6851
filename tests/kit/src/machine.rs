//! Allocators over a map, for tests that want one and no more.

use alloc::boxed::Box;
use alloc::vec;

use bifolio::allocator::{Cpu, PageAllocator, PerCpuPages, Plan};
pub use bifolio::heap::SingleCpu;
use bifolio::memory_map::{MemoryMap, Region, RegionKind};

use crate::over_numbers;

/// A usable region, in frames.
pub fn usable(start: u64, end: u64) -> Region {
    Region { start: start * 4096, end: end * 4096, kind: RegionKind::Usable }
}

/// An allocator over a map, without a CPU's own pages. Its metadata is leaked: a test is over soon.
pub fn allocator(regions: &[Region]) -> PageAllocator<'static, SingleCpu> {
    allocator_with(regions, &[])
}

/// An allocator over a map, with a CPU's own pages.
pub fn allocator_with_pages(regions: &[Region]) -> PageAllocator<'static, SingleCpu> {
    allocator_with(regions, Box::leak(Box::new([PerCpuPages::new()])))
}

/// An allocator over a map, for any kind of processor.
pub fn allocator_with<C: Cpu>(regions: &[Region], pages: &'static [PerCpuPages]) -> PageAllocator<'static, C> {
    let mut regions = regions.to_vec();
    let map = MemoryMap::sanitise(&mut regions).expect("the map is sound");
    let plan = Plan::new(map).expect("the map has room for the metadata");
    // What the memory held before must not matter.
    let metadata = Box::leak(vec![0xdead_beef_dead_beef; plan.metadata_words()].into_boxed_slice());
    over_numbers(&plan, metadata, pages).expect("the metadata has the planned size")
}
