//! Memory: from the firmware's map to page frames, page tables and a heap.
//!
//! What is decided here is only where things lie; how memory is managed is the crate `bifolio`'s.

mod for_cpus;
pub mod frames;
pub mod heap;
pub mod map;
pub mod paging;
pub mod reclaim;
pub mod vmalloc;

pub use frames::frames;

use crate::cpu::{given, start, trampoline};
use crate::host::Stopwatch;
use crate::sync;
use bifolio::allocator::{PageAllocator, Plan};
use bootloader_api::BootInfo;
use x86_64::VirtAddr;

/// Takes charge of the machine's memory: sanitises the map, places the allocator's metadata in it, frees every usable
/// frame into the zones. The heap works from here on, since all it needs is page frames.
///
/// # Panics
/// If the boot loader did not map physical memory, or its memory map leaves nothing to work with. There is no kernel
/// without memory.
pub fn init(boot_info: &'static mut BootInfo) {
    let window = boot_info.physical_memory_offset.into_option().expect("the boot loader maps physical memory");
    // SAFETY: the boot loader says so, and nothing has looked at its page tables yet.
    unsafe { paging::init(VirtAddr::new(window)) };

    let cpus = start::discover(boot_info.rsdp_addr.into_option());

    let entries = map::translate(&mut boot_info.memory_regions);
    let count = entries.len();
    trampoline::init(map::low_memory(entries, trampoline::PAGES as usize));
    map::warn_of_faults(entries);
    let stopwatch = Stopwatch::start();
    let map = map::init(entries);
    let sanitising = stopwatch.elapsed();

    let stopwatch = Stopwatch::start();
    let plan = Plan::new(*map).unwrap_or_else(|error| panic!("no page allocator: {error}"));
    // SAFETY: the plan took these frames out of usable ones, so nobody else refers to them, and the window shows them.
    let metadata = unsafe { frames::metadata(&plan) };
    // SAFETY: what the map calls usable nobody uses, and the only other allocator, that of address space, keeps its blocks.
    let allocator = unsafe { PageAllocator::new(&plan, metadata, &frames::PAGES[..cpus]) }
        .unwrap_or_else(|error| panic!("no page allocator: {error}"));
    frames::init(allocator);
    sync::when_memory_is_low(reclaim::wake);
    frames().add_shrinker(&vmalloc::DeferredFrees).expect("there is room for the first shrinker");
    frames().add_shrinker(&heap::HEAP).expect("there is room for the second shrinker");
    let setting_up = stopwatch.elapsed();

    map::summarise(count, sanitising);
    frames::summarise(setting_up);
    vmalloc::init();
    given::give(&for_cpus::ForCpus, &reclaim::Idle);
}
