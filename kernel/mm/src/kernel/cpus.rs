//! Ready-made CPUs.

use core::fmt;
use core::marker::PhantomData;

use crate::cpu::{Cpu, Hooks};

/// How a processor's interrupts are masked.
///
/// # Safety
/// Between [`mask`](Self::mask) and [`restore`](Self::restore), nothing interrupts the CPU that allocates or frees memory.
pub unsafe trait Interrupts {
    /// Masks interrupts, and says whether they were enabled.
    fn mask() -> bool;

    /// Enables interrupts again, if [`mask`](Self::mask) has said that they were.
    fn restore(were_enabled: bool);
}

/// No interrupt handler allocates or frees.
#[derive(Clone, Copy, Debug)]
pub struct NoInterrupts;

// SAFETY: that no handler allocates or frees is promised where `Kernel::init` is called on a kernel of this type.
unsafe impl Interrupts for NoInterrupts {
    #[inline(always)]
    fn mask() -> bool {
        false
    }

    #[inline(always)]
    fn restore(_: bool) {}
}

/// The interrupts of an x86_64 processor, in the kernel's ring.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy, Debug)]
pub struct X86;

// SAFETY: what can be masked is masked; handlers of what cannot must neither allocate nor free, as `Cpu` says.
#[cfg(target_arch = "x86_64")]
unsafe impl Interrupts for X86 {
    #[inline(always)]
    fn mask() -> bool {
        const ENABLED: u64 = 1 << 9;
        let flags: u64;
        // SAFETY: the flags are read by way of the stack; to mask interrupts does no harm.
        unsafe { core::arch::asm!("pushfq", "pop {}", "cli", out(reg) flags) };
        flags & ENABLED != 0
    }

    #[inline(always)]
    fn restore(were_enabled: bool) {
        if were_enabled {
            // SAFETY: they were not masked before `mask`.
            unsafe { core::arch::asm!("sti", options(nostack)) };
        }
    }
}

/// The interrupts of a riscv64 processor, in supervisor mode.
#[cfg(target_arch = "riscv64")]
#[derive(Clone, Copy, Debug)]
pub struct Riscv64;

// SAFETY: the supervisor's interrupts are masked; those of machine mode do not come to the kernel.
#[cfg(target_arch = "riscv64")]
unsafe impl Interrupts for Riscv64 {
    #[inline(always)]
    fn mask() -> bool {
        const ENABLED: usize = 1 << 1;
        let status: usize;
        // SAFETY: the bit for the supervisor's interrupts is cleared, and no other changes.
        unsafe { core::arch::asm!("csrrci {}, sstatus, 2", out(reg) status, options(nostack)) };
        status & ENABLED != 0
    }

    #[inline(always)]
    fn restore(were_enabled: bool) {
        if were_enabled {
            // SAFETY: they were not masked before `mask`.
            unsafe { core::arch::asm!("csrsi sstatus, 2", options(nostack)) };
        }
    }
}

/// The interrupts of an aarch64 processor. Handlers of fast ones must neither allocate nor free.
#[cfg(target_arch = "aarch64")]
#[derive(Clone, Copy, Debug)]
pub struct Aarch64;

// SAFETY: what is no fast interrupt is masked.
#[cfg(target_arch = "aarch64")]
unsafe impl Interrupts for Aarch64 {
    #[inline(always)]
    fn mask() -> bool {
        const MASKED: u64 = 1 << 7;
        let masks: u64;
        // SAFETY: to mask interrupts does no harm.
        unsafe { core::arch::asm!("mrs {}, daif", "msr daifset, #2", out(reg) masks, options(nostack)) };
        masks & MASKED == 0
    }

    #[inline(always)]
    fn restore(were_enabled: bool) {
        if were_enabled {
            // SAFETY: they were not masked before `mask`.
            unsafe { core::arch::asm!("msr daifclr, #2", options(nostack)) };
        }
    }
}

/// The CPU of a machine that has one.
pub struct Uniprocessor<I>(PhantomData<I>);

// SAFETY: there is one CPU: `Kernel::init` is where that is promised. Its interrupts are masked where that is asked for.
unsafe impl<I: Interrupts> Cpu for Uniprocessor<I> {
    #[inline(always)]
    fn current() -> usize {
        0
    }

    fn synchronize() {}

    #[inline(always)]
    fn mask_interrupts() -> bool {
        I::mask()
    }

    #[inline(always)]
    fn restore_interrupts(were_enabled: bool) {
        I::restore(were_enabled);
    }
}

impl<I> Hooks for Uniprocessor<I> {}

/// Any of a machine's CPUs, none of which has anything of its own: all wait for the same locks. Interrupts between them are not
/// needed.
pub struct Shared<I>(PhantomData<I>);

// SAFETY: no CPU has a number for which there are pages or an arena, so no barrier is needed. Interrupts are masked where that is
// asked for.
unsafe impl<I: Interrupts> Cpu for Shared<I> {
    #[inline(always)]
    fn current() -> usize {
        usize::MAX
    }

    fn synchronize() {}

    #[inline(always)]
    fn mask_interrupts() -> bool {
        I::mask()
    }

    #[inline(always)]
    fn restore_interrupts(were_enabled: bool) {
        I::restore(were_enabled);
    }
}

impl<I> Hooks for Shared<I> {}

impl<I> fmt::Debug for Uniprocessor<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Uniprocessor")
    }
}

impl<I> fmt::Debug for Shared<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shared")
    }
}
