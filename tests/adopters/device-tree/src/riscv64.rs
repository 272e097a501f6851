//! QEMU's machine `virt` for riscv64.

pub(crate) use bifolio::kernel::Riscv64 as Interrupts;

// Firmware starts one hart, in supervisor mode, with the address of the device tree in a1.
core::arch::global_asm!(
    ".section .text.start, \"ax\"",
    ".global start",
    "start:",
    "la sp, stack_end",
    "mv a0, a1",
    "tail {main}",
    main = sym crate::main,
);

/// Where the serial port is: what is written there is printed.
pub(crate) const SERIAL: *mut u8 = 0x1000_0000 as *mut u8;

/// Ends the machine, with an exit status of QEMU's.
pub(crate) fn exit(status: u32) -> ! {
    const DEVICE: *mut u32 = 0x10_0000 as *mut u32;
    let code = if status == 0 { 0x5555 } else { status << 16 | 0x3333 };
    // SAFETY: that is the device, which ends the machine.
    unsafe { DEVICE.write_volatile(code) };
    loop {
        core::hint::spin_loop();
    }
}
