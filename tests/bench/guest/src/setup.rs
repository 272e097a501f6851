//! From a memory map of 1 TiB to a working allocator.
//!
//! The memory need not exist; its metadata must, and is taken out of the boot loader's map before the kernel sees it.

use crate::meter::Meter;
use bifolio::allocator::{Arena, PageAllocator, Plan};
use bifolio::frame::{Gfp, Order};
use bifolio::memory_map::{MemoryMap, Region, RegionKind};
use bootloader_api::BootInfo;
use bootloader_api::info::MemoryRegionKind;
use core::hint::black_box;
use core::slice;
use kernel::memory::frames::Processor;

const TIB: u64 = 1 << 40;
/// Half a byte for each frame of a TiB.
const METADATA: u64 = 128 << 20;

/// Takes memory for the metadata of a TiB out of the machine's map.
///
/// # Panics
/// The machine has too little memory.
pub fn reserve(boot_info: &mut BootInfo) -> &'static mut [u64] {
    let window = boot_info.physical_memory_offset.into_option().expect("the boot loader maps physical memory");
    let is_large = |start: u64, end: u64| end - start > 2 * METADATA;
    let region = boot_info
        .memory_regions
        .iter_mut()
        .find(|region| region.kind == MemoryRegionKind::Usable && is_large(region.start, region.end));
    let region = region.expect("the machine has 256 MiB in one piece");
    region.end = (region.end - METADATA) & !0xfff;
    let words = (window + region.end) as *mut u64;
    // SAFETY: the region was usable and the window shows it. It is not any more, so that nobody else will refer to it.
    unsafe { slice::from_raw_parts_mut(words, METADATA as usize / size_of::<u64>()) }
}

/// Measures it.
pub fn run(meter: &Meter<'_>, metadata: &'static mut [u64]) {
    static ARENAS: [Arena; 1] = [Arena::new()];
    if !meter.wants(&["page-setup-1TiB"]) {
        return;
    }
    let mut regions = [Region { start: 1 << 32, end: (1 << 32) + TIB, kind: RegionKind::Usable }];
    let instructions = meter.instructions(|| {
        let map = MemoryMap::sanitise(&mut regions).expect("the region is RAM");
        let plan = Plan::new(map).expect("there is room for metadata");
        let metadata = &mut metadata[..plan.metadata_words()];
        let frames = PageAllocator::<Processor>::new(&plan, metadata, &ARENAS).expect("the metadata is as planned");
        black_box(frames.allocate(Order::ZERO, Gfp::KERNEL)).expect("nearly a TiB is free");
    });
    meter.report("page-setup-1TiB", "bifolio", 1, instructions, 0);
}
