//! What the kernels of the guides have in common, and what is not the allocator's: how they boot, what they try, how they end.
#![no_std]

use core::panic::PanicInfo;
use core::sync::atomic::{AtomicU32, Ordering};

use adopter_checks::pc;
use bootloader_api::BootInfo;
use bootloader_api::config::{BootloaderConfig, Mapping};
use bootloader_api::info::MemoryRegionKind;

/// Physical memory is mapped somewhere.
pub static CONFIG: BootloaderConfig = {
    let mut config = BootloaderConfig::new_default();
    config.mappings.physical_memory = Some(Mapping::Dynamic);
    config
};

/// Where physical memory is mapped.
///
/// # Panics
/// If it is not.
pub fn window(boot_info: &BootInfo) -> u64 {
    boot_info.physical_memory_offset.into_option().expect("the boot loader maps physical memory")
}

/// So much mapped memory that nobody uses.
///
/// # Panics
/// If there is not as much.
pub fn mapped_memory(boot_info: &BootInfo, bytes: u64) -> *mut u8 {
    let mut usable = boot_info.memory_regions.iter().filter(|region| region.kind == MemoryRegionKind::Usable);
    let region = usable.find(|region| region.end - region.start >= bytes).expect("the machine has as much memory");
    (window(boot_info) + region.start) as *mut u8
}

/// So that every kernel has data in its file: this boot loader cannot load a segment of which nothing is there.
static FINISHES: AtomicU32 = AtomicU32::new(1);

/// Collections on the global allocator hold what is put into them; ends the machine.
pub fn finish() -> ! {
    FINISHES.fetch_add(1, Ordering::Relaxed);
    adopter_checks::collections();
    pc::exit(pc::SUCCESS)
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    pc::fail(info)
}
