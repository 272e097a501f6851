//! A kernel for x86_64 that Limine boots. What it has of bifolio is `MEMORY`.
#![no_std]
#![no_main]

use core::panic::PanicInfo;

use adopter_checks::pc;
use bifolio::kernel::{Kernel, Regions, Uniprocessor, X86};
use limine::BaseRevision;
use limine::request::{HhdmRequest, MemoryMapRequest};

#[global_allocator]
static MEMORY: Kernel<Uniprocessor<X86>> = Kernel::new();

// The boot loader looks for what is asked of it in the whole of the kernel.
#[used]
static REVISION: BaseRevision = BaseRevision::new();
#[used]
static MAP: MemoryMapRequest = MemoryMapRequest::new();
#[used]
static WINDOW: HhdmRequest = HhdmRequest::new();

/// Where the boot loader begins, with a stack.
// SAFETY: there is no other `start`.
#[unsafe(no_mangle)]
extern "C" fn start() -> ! {
    let window = WINDOW.get_response().expect("the boot loader maps physical memory").offset();
    let mut regions = Regions::<128>::new();
    regions.extend(MAP.get_response().expect("there is a memory map").entries().iter().copied());
    // SAFETY: nobody uses what the boot loader calls usable, which it maps there; the other CPUs do not run.
    unsafe { MEMORY.init(regions, window) }.expect("the machine has memory");
    adopter_checks::run(&MEMORY, &mut pc::Serial);
    pc::exit(pc::SUCCESS)
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    pc::fail(info)
}
