//! A kernel with the two allocators of `buddy_system_allocator`: one for frames, and one for a heap in an array.
#![no_std]
#![no_main]

use bootloader_api::info::MemoryRegionKind;
use bootloader_api::{BootInfo, entry_point};
use buddy_system_allocator::{LockedFrameAllocator, LockedHeap};
use spin::LazyLock;

/// The size of the heap, in bytes.
const HEAP_SIZE: usize = 8 << 20;
static mut HEAP_SPACE: [u8; HEAP_SIZE] = [0; HEAP_SIZE];

#[global_allocator]
static HEAP: LockedHeap<33> = LockedHeap::empty();
static FRAMES: LazyLock<LockedFrameAllocator<33>> = LazyLock::new(LockedFrameAllocator::new);

entry_point!(main, config = &guides::CONFIG);

fn main(boot_info: &'static mut BootInfo) -> ! {
    // SAFETY: nobody else uses the array.
    unsafe { HEAP.lock().init(&raw mut HEAP_SPACE as usize, HEAP_SIZE) };
    for region in boot_info.memory_regions.iter().filter(|region| region.kind == MemoryRegionKind::Usable) {
        FRAMES.lock().add_frame(region.start as usize / 4096, region.end as usize / 4096);
    }

    let one = FRAMES.lock().alloc(1).expect("there is a frame");
    let sixteen = FRAMES.lock().alloc(16).expect("there are 16 in a row");
    FRAMES.lock().dealloc(one, 1);
    FRAMES.lock().dealloc(sixteen, 16);
    guides::finish()
}
