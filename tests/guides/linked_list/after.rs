//! A kernel that has mapped a heap, and has `bifolio` manage it.
#![no_std]
#![no_main]

use bifolio::heap::StaticHeap;
use bifolio::kernel::{Uniprocessor, X86};
use bootloader_api::{BootInfo, entry_point};

/// The size of the heap, in bytes.
const HEAP_SIZE: usize = 8 << 20;

#[global_allocator]
static ALLOCATOR: StaticHeap<Uniprocessor<X86>> = StaticHeap::new();

entry_point!(main, config = &guides::CONFIG);

fn main(boot_info: &'static mut BootInfo) -> ! {
    let heap_start = guides::mapped_memory(boot_info, HEAP_SIZE as u64);
    // SAFETY: the memory is mapped, and nobody else's; the machine's other CPUs do not run.
    unsafe { ALLOCATOR.init(heap_start, HEAP_SIZE) }.expect("that is enough for a heap");
    guides::finish()
}
