//! A kernel whose frames and heap are one allocator's: the heap is made of frames, and grows as long as there are any.
#![no_std]
#![no_main]

use bifolio::frame::{Gfp, Order};
use bifolio::kernel::{Kernel, Regions, Uniprocessor, X86};
use bootloader_api::{BootInfo, entry_point};

#[global_allocator]
static MEMORY: Kernel<Uniprocessor<X86>> = Kernel::new();

entry_point!(main, config = &guides::CONFIG);

fn main(boot_info: &'static mut BootInfo) -> ! {
    let mut regions = Regions::<128>::new();
    regions.extend(boot_info.memory_regions.iter());
    // SAFETY: nobody uses what the boot loader calls usable, which it maps there; the machine's other CPUs do not run.
    unsafe { MEMORY.init(regions, guides::window(boot_info)) }.expect("the machine has memory");

    let frames = MEMORY.frames();
    let one = frames.allocate(Order::ZERO, Gfp::KERNEL).expect("there is a frame");
    let sixteen = frames.allocate(Order::covering(16).expect("there is such an order"), Gfp::KERNEL);
    let sixteen = sixteen.expect("there are 16 in a row");
    frames.free(one).expect("it was allocated");
    frames.free(sixteen).expect("they were allocated");
    guides::finish()
}
