//! A kernel for x86_64 that GRUB boots, or any boot loader by the Multiboot2 protocol. What it has of bifolio is `MEMORY`.
#![no_std]
#![no_main]

use core::ops::Range;
use core::panic::PanicInfo;

use adopter_checks::pc;
use bifolio::kernel::{Kernel, Regions, Uniprocessor, X86};
use multiboot2::{BootInformation, BootInformationHeader};

#[global_allocator]
static MEMORY: Kernel<Uniprocessor<X86>> = Kernel::new();

core::arch::global_asm!(include_str!("start.s"), main = sym main);

extern "C" fn main(info: *const BootInformationHeader) -> ! {
    // SAFETY: it is where the boot loader says, and nobody writes there.
    let info = unsafe { BootInformation::load(info) }.expect("a boot loader by the protocol");
    let mut regions = Regions::<64>::new();
    regions.extend(info.memory_map_tag().expect("there is a memory map").memory_areas());
    regions.reserve(image());
    regions.reserve(info.start_address() as u64..info.end_address() as u64);
    regions.reserve(MAPPED..u64::MAX);
    // SAFETY: nobody uses what is usable and not reserved; addresses are physical ones; the other CPUs do not run.
    unsafe { MEMORY.init(regions, 0) }.expect("the machine has memory");
    adopter_checks::run(&MEMORY, &mut pc::Serial);
    pc::exit(pc::SUCCESS)
}

/// How far memory is mapped.
const MAPPED: u64 = 4 << 30;

/// Where the kernel lies, its page tables and its stack included.
fn image() -> Range<u64> {
    unsafe extern "C" {
        static image_start: u8;
        static image_end: u8;
    }
    (&raw const image_start) as u64..(&raw const image_end) as u64
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    pc::fail(info)
}
