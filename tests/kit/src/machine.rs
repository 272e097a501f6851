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
    over_numbers(&plan, metadata(plan.metadata_words()), pages).expect("the metadata has the planned size")
}

/// Memory for the metadata of an allocator. It is leaked: a test is over soon.
///
/// It is aligned as metadata has to be, which a vector of these words need not be: on i686 they are aligned to 4 bytes.
pub fn metadata(words: usize) -> &'static mut [u64] {
    #[derive(Clone, Copy)]
    #[repr(align(8))]
    struct Word(#[expect(dead_code, reason = "it is seen as a number")] u64);

    // What the memory held before must not matter.
    let metadata = Box::leak(vec![Word(0xdead_beef_dead_beef); words].into_boxed_slice());
    // SAFETY: so many words are nobody else's, and each is a number that is aligned to more than it has to be.
    unsafe { core::slice::from_raw_parts_mut(metadata.as_mut_ptr().cast(), words) }
}
