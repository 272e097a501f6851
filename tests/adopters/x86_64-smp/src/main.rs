//! A kernel for four CPUs of x86_64, each of which has page frames and an arena of the heap of its own: [`Processor`] is what it takes.
//! Any boot loader by the Multiboot2 protocol boots it.
#![no_std]
#![no_main]
#![feature(abi_x86_interrupt)]

extern crate alloc;

mod processor;

use core::ops::Range;
use core::panic::PanicInfo;
use core::sync::atomic::AtomicUsize;

use adopter_checks::{pc, smp};
use bifolio::kernel::{Kernel, Regions};
use multiboot2::{BootInformation, BootInformationHeader};
use processor::Processor;

const CPUS: usize = 4;

#[global_allocator]
static MEMORY: Kernel<Processor, CPUS> = Kernel::new();

core::arch::global_asm!(include_str!("../../multiboot2/src/start.s"), main = sym main);

/// The end of the stack of the CPU that is started next.
static OTHER_STACK: AtomicUsize = AtomicUsize::new(0);

core::arch::global_asm!(include_str!("start_other.s"), stack = sym OTHER_STACK, other = sym other);

extern "C" fn main(info: *const BootInformationHeader) -> ! {
    processor::prepare();
    processor::begin();
    // SAFETY: it is where the boot loader says, and nobody writes there.
    let info = unsafe { BootInformation::load(info) }.expect("a boot loader by the protocol");
    let mut regions = Regions::<64>::new();
    regions.extend(info.memory_map_tag().expect("there is a memory map").memory_areas());
    regions.reserve(image());
    regions.reserve(info.start_address() as u64..info.end_address() as u64);
    regions.reserve(MAPPED..u64::MAX);
    // SAFETY: nobody uses what is usable and not reserved; addresses are physical ones; each CPU has a number of its own.
    unsafe { MEMORY.init(regions, 0) }.expect("the machine has memory");
    adopter_checks::run(&MEMORY, &mut pc::Serial);
    let code = copy_start();
    for number in 1..CPUS {
        let stack = alloc::vec![0_u128; STACK].leak();
        processor::start(number, code, stack.as_ptr_range().end as usize);
    }
    smp::work(&MEMORY, Some(&mut pc::Serial));
    pc::exit(pc::SUCCESS)
}

/// The size of the stack of a CPU that is started, in units of 16 bytes.
const STACK: usize = 4096;

/// Where such a CPU goes on.
extern "C" fn other() -> ! {
    processor::begin();
    smp::work(&MEMORY, None::<&mut pc::Serial>);
    loop {
        x86_64::instructions::hlt();
    }
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

/// Copies the code by which a CPU starts to page 8, in the first MiB, which the allocator leaves alone.
fn copy_start() -> u32 {
    const PAGE: u32 = 8;
    unsafe extern "C" {
        static start_other: u8;
        static start_other_end: u8;
    }
    let (start, end) = (&raw const start_other, &raw const start_other_end);
    // SAFETY: the code lies between the two, and nobody uses that page.
    unsafe { start.copy_to((PAGE << 12) as usize as *mut u8, end.addr() - start.addr()) };
    PAGE
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    pc::fail(info)
}
