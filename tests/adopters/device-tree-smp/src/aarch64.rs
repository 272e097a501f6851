//! QEMU's machine `virt` for aarch64: a CPU whose barriers others ask for by an interrupt of the controller's (SGI, of a GICv2).

use core::arch::{asm, global_asm};
use core::sync::atomic::{AtomicUsize, Ordering, fence};

use bifolio::cpu::{Cpu, Hooks};
use bifolio::kernel::{Aarch64, Interrupts};
use bifolio::sync::Barriers;

use crate::CPUS;

// One CPU starts, at exception level 1, and the others as that one asks firmware to, with the end of a stack in x0. For a kernel that is
// an ELF file the device tree is at the start of RAM. A CPU's number is the lowest byte of its affinity, and is kept in a register.
global_asm!(
    ".section .text.start, \"ax\"",
    ".global start",
    "start:",
    "adrp x0, stack_end",
    "add x0, x0, :lo12:stack_end",
    "adr x30, {main}",
    "b 1f",
    ".global start_other",
    "start_other:",
    "adr x30, {other}",
    "1:",
    "mov sp, x0",
    // Code for this target uses the registers for floating point.
    "mov x0, #3 << 20",
    "msr cpacr_el1, x0",
    "isb",
    "mrs x0, mpidr_el1",
    "and x0, x0, #0xff",
    "msr tpidr_el1, x0",
    "adr x0, vectors",
    "msr vbar_el1, x0",
    "mov x0, #0x40000000",
    "ret",
    // Sixteen vectors of 128 bytes each. The sixth is that of an interrupt of the kernel.
    ".balign 2048",
    "vectors:",
    ".rept 5",
    ".balign 128",
    "b {unexpected}",
    ".endr",
    ".balign 128",
    "b interrupt",
    ".rept 10",
    ".balign 128",
    "b {unexpected}",
    ".endr",
    ".balign 128",
    // What a function may change is kept on the stack.
    "interrupt:",
    "sub sp, sp, #672",
    "stp x0, x1, [sp, #0]",
    "stp x2, x3, [sp, #16]",
    "stp x4, x5, [sp, #32]",
    "stp x6, x7, [sp, #48]",
    "stp x8, x9, [sp, #64]",
    "stp x10, x11, [sp, #80]",
    "stp x12, x13, [sp, #96]",
    "stp x14, x15, [sp, #112]",
    "stp x16, x17, [sp, #128]",
    "stp x18, x30, [sp, #144]",
    ".irp n, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30",
    "str q\\n, [sp, #(160 + 16 * \\n)]",
    ".endr",
    ".irp n, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31",
    "str q\\n, [sp, #(160 + 16 * \\n)]",
    ".endr",
    "bl {interrupted}",
    ".irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31",
    "ldr q\\n, [sp, #(160 + 16 * \\n)]",
    ".endr",
    "ldp x0, x1, [sp, #0]",
    "ldp x2, x3, [sp, #16]",
    "ldp x4, x5, [sp, #32]",
    "ldp x6, x7, [sp, #48]",
    "ldp x8, x9, [sp, #64]",
    "ldp x10, x11, [sp, #80]",
    "ldp x12, x13, [sp, #96]",
    "ldp x14, x15, [sp, #112]",
    "ldp x16, x17, [sp, #128]",
    "ldp x18, x30, [sp, #144]",
    "add sp, sp, #672",
    "eret",
    main = sym crate::main,
    other = sym crate::other,
    unexpected = sym unexpected,
    interrupted = sym interrupted,
);

/// A CPU at exception level 1. Its number is in `tpidr_el1`.
pub(crate) struct Processor;

static BARRIERS: Barriers<CPUS> = Barriers::new();
/// The CPUs that can be interrupted, a bit each.
static ONLINE: AtomicUsize = AtomicUsize::new(0);

// SAFETY: each CPU has a number of its own in that register, which nothing changes; each other one that runs is interrupted for a
// barrier, and waited for; interrupts are masked where that is asked for.
unsafe impl Cpu for Processor {
    #[inline(always)]
    fn current() -> usize {
        let number;
        // SAFETY: a register is read.
        unsafe { asm!("mrs {}, tpidr_el1", out(reg) number, options(nomem, nostack, preserves_flags)) };
        number
    }

    // This kernel has no lock of its own that a CPU could wait for with interrupts masked: each answers, and is waited for.
    fn synchronize() {
        fence(Ordering::SeqCst);
        let (own, online) = (Self::current(), ONLINE.load(Ordering::SeqCst));
        let others = (0..CPUS).filter(|cpu| *cpu != own && online >> cpu & 1 == 1);
        BARRIERS.ask::<Self>(others, interrupt, || false, &mut |_| {});
    }

    #[inline(always)]
    fn mask_interrupts() -> bool {
        Aarch64::mask()
    }

    #[inline(always)]
    fn restore_interrupts(were_enabled: bool) {
        Aarch64::restore(were_enabled);
    }
}

impl Hooks for Processor {
    fn relax() {
        BARRIERS.answer(Self::current());
        core::hint::spin_loop();
    }
}

/// The interrupt controller: what all CPUs share of it, and each one's own part.
const DISTRIBUTOR: usize = 0x0800_0000;
const INTERFACE: usize = 0x0801_0000;

fn write(address: usize, value: u32) {
    // SAFETY: it is a register of the controller, and nothing of it is memory.
    unsafe { (address as *mut u32).write_volatile(value) };
}

/// Interrupts another CPU, by software: interrupt 0 there.
fn interrupt(cpu: usize) {
    write(DISTRIBUTOR + 0xf00, 1 << (16 + cpu));
}

/// Has this CPU take interrupts, before it allocates.
pub(crate) fn begin() {
    write(DISTRIBUTOR, 1);
    write(INTERFACE, 1);
    // Of any priority.
    write(INTERFACE + 4, 0xff);
    Aarch64::restore(true);
    ONLINE.fetch_or(1 << Processor::current(), Ordering::SeqCst);
    fence(Ordering::SeqCst);
}

extern "C" fn interrupted() {
    // SAFETY: it is the register that says which interrupt it is.
    let which = unsafe { ((INTERFACE + 0xc) as *const u32).read_volatile() };
    BARRIERS.answer(Processor::current());
    write(INTERFACE + 0x10, which);
}

extern "C" fn unexpected() -> ! {
    panic!("an exception");
}

/// Starts a CPU with this stack, by firmware (PSCI).
pub(crate) fn start(number: usize, stack_end: usize) {
    const CPU_ON: u64 = 0xc400_0003;
    unsafe extern "C" {
        fn start_other();
    }
    let error: u64;
    // SAFETY: the call does nothing to this CPU's memory or registers but for these.
    unsafe {
        asm!("hvc #0", inlateout("x0") CPU_ON => error, inlateout("x1") number as u64 => _,
            inlateout("x2") start_other as *const () as u64 => _, inlateout("x3") stack_end as u64 => _);
    }
    assert_eq!(error, 0, "the CPU starts");
}

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
        unsafe { asm!("hlt #0xf000", in("x0") SYS_EXIT, in("x1") &block) };
    }
}
