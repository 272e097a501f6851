//! A kernel for four CPUs of riscv64 or aarch64, each of which has page frames and an arena of the heap of its own: [`Processor`] is what
//! it takes.
#![no_std]
#![no_main]

extern crate alloc;

#[cfg_attr(target_arch = "riscv64", path = "riscv64.rs")]
#[cfg_attr(target_arch = "aarch64", path = "aarch64.rs")]
mod machine;

use core::fmt::Write;
use core::ops::Range;
use core::panic::PanicInfo;

use adopter_checks::smp;
use bifolio::cpu::Cpu;
use bifolio::kernel::{DeviceTree, Kernel, Regions};
use machine::Processor;

pub(crate) const CPUS: usize = 4;

#[global_allocator]
static MEMORY: Kernel<Processor, CPUS> = Kernel::new();

extern "C" fn main(tree: *const u8) -> ! {
    // SAFETY: it is where firmware says, and nobody writes there.
    let tree = unsafe { DeviceTree::at(tree) }.expect("there is a device tree");
    let mut regions = Regions::<32>::new();
    regions.extend_fdt(&tree).expect("the device tree can be read");
    regions.reserve(image());
    let bytes = tree.bytes().as_ptr_range();
    regions.reserve(bytes.start as u64..bytes.end as u64);
    // SAFETY: nobody uses what the tree calls memory and is not reserved; addresses are physical ones; each CPU has its own number.
    unsafe { MEMORY.init(regions, 0) }.expect("the machine has memory");
    adopter_checks::run(&MEMORY, &mut Serial);
    machine::begin();
    for number in (0..CPUS).filter(|number| *number != Processor::current()) {
        let stack = alloc::vec![0_u128; STACK].leak();
        machine::start(number, stack.as_ptr_range().end as usize);
    }
    smp::work(&MEMORY, Some(&mut Serial));
    machine::exit(0)
}

/// The size of the stack of a CPU that is started, in units of 16 bytes.
const STACK: usize = 4096;

/// Where such a CPU begins, with its number where [`Processor`] looks for it.
extern "C" fn other() -> ! {
    machine::begin();
    smp::work(&MEMORY, None::<&mut Serial>);
    loop {
        core::hint::spin_loop();
    }
}

/// Where the kernel lies, the stack of its first hart included.
fn image() -> Range<u64> {
    unsafe extern "C" {
        static image_start: u8;
        static image_end: u8;
    }
    (&raw const image_start) as u64..(&raw const image_end) as u64
}

/// Writes to the serial port, as it stands.
struct Serial;

impl Write for Serial {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        // SAFETY: that is the port's register, and to write there prints a character.
        text.bytes().for_each(|byte| unsafe { machine::SERIAL.write_volatile(byte) });
        Ok(())
    }
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    let _ = writeln!(Serial, "{info}");
    machine::exit(1)
}
