//! A kernel that is handed a device tree, on riscv64 behind SBI firmware and on aarch64. What it has of bifolio is `MEMORY`.
#![no_std]
#![no_main]

#[cfg_attr(target_arch = "riscv64", path = "riscv64.rs")]
#[cfg_attr(target_arch = "aarch64", path = "aarch64.rs")]
mod machine;

use core::fmt::Write;
use core::ops::Range;
use core::panic::PanicInfo;

use bifolio::kernel::{DeviceTree, Kernel, Regions, Uniprocessor};

#[global_allocator]
static MEMORY: Kernel<Uniprocessor<machine::Interrupts>> = Kernel::new();

extern "C" fn main(tree: *const u8) -> ! {
    // SAFETY: it is there, and nobody writes there.
    let tree = unsafe { DeviceTree::at(tree) }.expect("there is a device tree");
    let mut regions = Regions::<32>::new();
    regions.extend_fdt(&tree).expect("the device tree can be read");
    regions.reserve(image());
    let bytes = tree.bytes().as_ptr_range();
    regions.reserve(bytes.start as u64..bytes.end as u64);
    // SAFETY: nobody uses what the tree calls memory and is not reserved; addresses are physical ones; the other CPUs do not run.
    unsafe { MEMORY.init(regions, 0) }.expect("the machine has memory");
    adopter_checks::run(&MEMORY, &mut Serial);
    machine::exit(0)
}

/// Where the kernel lies, its stack included.
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
