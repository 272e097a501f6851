//! QEMU's machine `virt` for aarch64.

pub(crate) use bifolio::kernel::Aarch64 as Interrupts;

// One CPU starts, at exception level 1. For a kernel that is an ELF file the device tree is at the start of RAM.
core::arch::global_asm!(
    ".section .text.start, \"ax\"",
    ".global start",
    "start:",
    // Code for this target uses the registers for floating point.
    "mov x0, #3 << 20",
    "msr cpacr_el1, x0",
    "isb",
    "adrp x0, stack_end",
    "add x0, x0, :lo12:stack_end",
    "mov sp, x0",
    "mov x0, #0x40000000",
    "b {main}",
    main = sym crate::main,
);

/// Where the serial port is: what is written there is printed.
pub(crate) const SERIAL: *mut u8 = 0x0900_0000 as *mut u8;

/// Ends the machine, with an exit status of QEMU's, which listens as a debugger would (semihosting).
pub(crate) fn exit(status: u32) -> ! {
    const SYS_EXIT: u64 = 0x18;
    /// The program ended by itself.
    const APPLICATION_EXIT: u64 = 0x2_0026;
    let block = [APPLICATION_EXIT, status.into()];
    loop {
        // SAFETY: that ends the machine.
        unsafe { core::arch::asm!("hlt #0xf000", in("x0") SYS_EXIT, in("x1") &block) };
    }
}
