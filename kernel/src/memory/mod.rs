//! Memory: from the firmware's map to page frames, page tables and a heap.
//!
//! What is decided here is only where things lie; how memory is managed is the crate `bifolio`'s.

mod early;
mod for_cpus;
pub mod frames;
pub mod heap;
pub mod kfence;
pub mod map;
pub mod paging;
mod parameters;
pub mod reclaim;
pub mod record;
pub mod space;
pub mod vmalloc;

pub use frames::{MEMORY, frames};

use crate::arch::window;
use crate::cpu::{given, start, trampoline};
use crate::host::Stopwatch;
use crate::sync;
use bifolio::allocator::{PageAllocator, Plan};
use bifolio::frame::{Pfn, PfnRange};
use bootloader_api::BootInfo;
use x86_64::structures::paging::PageTableIndex;

/// Takes charge of the machine's memory: sanitises the map, makes page tables for what is RAM, places the allocator's metadata,
/// frees every usable frame into the zones. The heap works from here on, since all it needs is page frames.
///
/// # Panics
/// If the boot loader's page tables cannot be read, or its memory map leaves nothing to work with. There is no kernel without
/// memory.
pub fn init(boot_info: &'static mut BootInfo) {
    let recursive = boot_info.recursive_index.into_option().expect("the boot loader's tables lead back to themselves");
    let recursive = PageTableIndex::new(recursive);
    // SAFETY: the boot loader says so, and its tables are in force until there are others.
    unsafe { window::read_tables_by(recursive) };

    let entries = map::translate(&mut boot_info.memory_regions);
    let count = entries.len();
    let low = map::low_memory(entries, trampoline::PAGES as usize);
    trampoline::init(low);
    map::warn_of_faults(entries);
    let stopwatch = Stopwatch::start();
    let map = map::init(entries);
    let sanitising = stopwatch.elapsed();

    let plan = Plan::new(*map).unwrap_or_else(|error| panic!("no page allocator: {error}"));
    let low = low.map(|start| Pfn::containing(start.as_u64()));
    let low = low.map(|start| PfnRange::new(start, start.offset(trampoline::PAGES)));
    // SAFETY: the tables are still the boot loader's, and what the map calls usable nobody uses yet, nor the trampoline's pages.
    let metadata = unsafe { space::enter(recursive, &plan, map, low) };
    // SAFETY: those are the kernel's own now, and nothing has looked at them yet.
    unsafe { paging::init() };
    given::give(&for_cpus::ForCpus, &reclaim::Idle);
    let cpus = start::discover(boot_info.rsdp_addr.into_option());

    let stopwatch = Stopwatch::start();
    let is_recorded = record::is_wanted();
    if is_recorded {
        // Whatever it is, it is part of the state, and whoever repeats what is recorded begins with zeros.
        metadata.frames.fill(0);
    }
    // SAFETY: what the map calls usable nobody uses but for page tables, which are told of before anything is given out; and the
    // only other allocator, that of address space, keeps its blocks.
    let mut allocator = unsafe { PageAllocator::new(&plan, metadata.frames, &MEMORY.pages()[..cpus]) }
        .unwrap_or_else(|error| panic!("no page allocator: {error}"));
    if is_recorded {
        record::begin(cpus, &mut allocator);
    }
    early::hand_over(&allocator);
    allocator.add_shrinker(&vmalloc::DeferredFrees).expect("there is room for the first shrinker");
    // SAFETY: the window shows all that the map calls usable, for as long as the kernel runs; each CPU has a number of its own.
    unsafe { MEMORY.start(allocator, window::START.as_u64(), &heap::Mapped) }
        .unwrap_or_else(|error| panic!("no memory: {error}"));
    heap::HEAP.set_error_hook(heap::report);
    sync::when_memory_is_low(reclaim::wake);
    heap::HEAP.prepare_cpu();
    let setting_up = stopwatch.elapsed();

    map::summarise(count, sanitising);
    frames::summarise(setting_up);
    vmalloc::init(metadata.area);
    parameters::apply();
}
