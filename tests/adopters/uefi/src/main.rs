//! A kernel for x86_64 that UEFI starts, as an application that sends the firmware away. What it has of bifolio is `MEMORY`.
#![no_std]
#![no_main]

use core::panic::PanicInfo;

use adopter_checks::pc;
use bifolio::kernel::{Kernel, Regions, Uniprocessor, X86};
use uefi::mem::memory_map::MemoryMap;
use uefi::{Status, boot, entry};

#[global_allocator]
static MEMORY: Kernel<Uniprocessor<X86>> = Kernel::new();

#[entry]
fn main() -> Status {
    // SAFETY: nothing of the boot services is used any more.
    let map = unsafe { boot::exit_boot_services(None) };
    let mut regions = Regions::<256>::new();
    regions.extend(map.entries());
    // SAFETY: nobody uses what is free in the map; firmware maps each address to itself; the other CPUs do not run.
    unsafe { MEMORY.init(regions, 0) }.expect("the machine has memory");
    adopter_checks::run(&MEMORY, &mut pc::Serial);
    pc::exit(pc::SUCCESS)
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    pc::fail(info)
}
