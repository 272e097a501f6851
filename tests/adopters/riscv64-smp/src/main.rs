//! A kernel for four harts of riscv64, each of which has page frames and an arena of the heap of its own: [`Hart`] is what it takes.
#![no_std]
#![no_main]

extern crate alloc;

mod hart;

use core::fmt::Write;
use core::ops::Range;
use core::panic::PanicInfo;

use adopter_checks::smp;
use bifolio::cpu::Cpu;
use bifolio::kernel::{Kernel, Regions};
use fdt::Fdt;
use hart::Hart;

const HARTS: usize = 4;

#[global_allocator]
static MEMORY: Kernel<Hart, HARTS> = Kernel::new();

// Firmware starts one hart, with its number in a0 and the address of the device tree in a1; and the others as that one asks it to,
// with the end of a stack in a1.
core::arch::global_asm!(
    ".section .text.start, \"ax\"",
    ".global start",
    "start:",
    "la sp, stack_end",
    "mv tp, a0",
    "mv a0, a1",
    "tail {main}",
    ".global start_other",
    "start_other:",
    "mv tp, a0",
    "mv sp, a1",
    "tail {other}",
    main = sym main,
    other = sym other,
);

extern "C" fn main(tree: *const u8) -> ! {
    // SAFETY: it is where firmware says, and nobody writes there.
    let fdt = unsafe { Fdt::from_ptr(tree) }.expect("there is a device tree");
    let mut regions = Regions::<32>::new();
    regions.extend_fdt(&fdt);
    regions.reserve(image());
    regions.reserve(tree as u64..tree as u64 + fdt.total_size() as u64);
    // SAFETY: nobody uses what the tree calls memory and is not reserved; addresses are physical ones; each hart has its own number.
    unsafe { MEMORY.init(regions, 0) }.expect("the machine has memory");
    adopter_checks::run(&MEMORY, &mut Serial);
    unsafe extern "C" {
        fn start_other();
    }
    for number in (0..HARTS).filter(|number| *number != Hart::current()) {
        let stack = alloc::vec![0_u128; STACK].leak();
        hart::start(number, start_other as *const () as usize, stack.as_ptr_range().end as usize)
            .expect("the hart starts");
    }
    smp::work(&MEMORY, Some(&mut Serial));
    exit(0x5555)
}

/// The size of a hart's stack, in units of 16 bytes.
const STACK: usize = 4096;

extern "C" fn other() -> ! {
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

/// Ends the machine.
fn exit(code: u32) -> ! {
    // SAFETY: that is QEMU's test device, which ends the machine.
    unsafe { (0x10_0000 as *mut u32).write_volatile(code) };
    loop {
        core::hint::spin_loop();
    }
}

/// Writes to the serial port, as it stands.
struct Serial;

impl Write for Serial {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        // SAFETY: that is the port's register, and to write there prints a character.
        text.bytes().for_each(|byte| unsafe { (0x1000_0000 as *mut u8).write_volatile(byte) });
        Ok(())
    }
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    let _ = writeln!(Serial, "{info}");
    exit(1 << 16 | 0x3333)
}
