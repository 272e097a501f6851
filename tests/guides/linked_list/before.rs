//! A kernel that has mapped a heap, and has `linked_list_allocator` manage it.
#![no_std]
#![no_main]

use bootloader_api::{BootInfo, entry_point};
use linked_list_allocator::LockedHeap;

/// The size of the heap, in bytes.
const HEAP_SIZE: usize = 8 << 20;

#[global_allocator]
static ALLOCATOR: LockedHeap = LockedHeap::empty();

entry_point!(main, config = &guides::CONFIG);

fn main(boot_info: &'static mut BootInfo) -> ! {
    let heap_start = guides::mapped_memory(boot_info, HEAP_SIZE as u64);
    // SAFETY: the memory is mapped, and nobody else's.
    unsafe { ALLOCATOR.lock().init(heap_start, HEAP_SIZE) };
    guides::finish()
}
