//! QEMU's machine `virt` for riscv64: a hart as a CPU of the crate's.

use core::arch::asm;
use core::sync::atomic::{Ordering, fence};

use bifolio::cpu::{Cpu, Hooks};
use bifolio::kernel::{Interrupts, Riscv64};

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
    main = sym crate::main,
    other = sym crate::other,
);

/// A hart, in supervisor mode. Its number is in `tp`.
pub(crate) struct Processor;

// SAFETY: each hart is started with its number in `tp`, which nothing changes. Where firmware's call for a remote fence returns, each
// other hart has been in firmware since it was made, and done an atomic operation there that acquires and releases: nothing before it
// comes after it, nor the other way round. The supervisor's interrupts are masked where that is asked for.
unsafe impl Cpu for Processor {
    #[inline(always)]
    fn current() -> usize {
        let number;
        // SAFETY: a register is read.
        unsafe { asm!("mv {}, tp", out(reg) number, options(nomem, nostack, preserves_flags)) };
        number
    }

    // Firmware interrupts a hart whatever it has masked, and answers for it: nobody is missed, and there is no handler to be written.
    fn synchronize() {
        fence(Ordering::SeqCst);
        firmware(REMOTE_FENCE, 0, [0, ALL, 0]).expect("firmware has remote fences");
        fence(Ordering::SeqCst);
    }

    #[inline(always)]
    fn mask_interrupts() -> bool {
        Riscv64::mask()
    }

    #[inline(always)]
    fn restore_interrupts(were_enabled: bool) {
        Riscv64::restore(were_enabled);
    }
}

impl Hooks for Processor {}

/// Firmware's extension for remote fences; its function 0 is `fence.i`.
const REMOTE_FENCE: usize = 0x5246_4e43;
/// In place of a mask's first hart: all of them.
const ALL: usize = usize::MAX;
/// Firmware's extension for the state of harts; its function 0 starts one.
const HART_STATE: usize = 0x0048_534d;

/// Starts a hart with this stack.
pub(crate) fn start(number: usize, stack_end: usize) {
    unsafe extern "C" {
        fn start_other();
    }
    let at = start_other as *const () as usize;
    firmware(HART_STATE, 0, [number, at, stack_end]).expect("the hart starts");
}

/// There is nothing that a hart has to do before it allocates.
pub(crate) fn begin() {}

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

/// Calls firmware.
fn firmware(extension: usize, function: usize, arguments: [usize; 3]) -> Result<(), isize> {
    let error: isize;
    // SAFETY: the calls that are made here do nothing to this hart's memory or registers but for these two.
    unsafe {
        asm!(
            "ecall",
            inlateout("a0") arguments[0] => error,
            inlateout("a1") arguments[1] => _,
            in("a2") arguments[2],
            in("a6") function,
            in("a7") extension,
        );
    }
    if error == 0 { Ok(()) } else { Err(error) }
}
