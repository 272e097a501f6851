//! Control registers: what a processor has against mistakes, switched on.

use core::arch::x86_64::{__cpuid, __cpuid_count};
use x86_64::registers::control::{Cr0, Cr0Flags, Cr4, Cr4Flags};

/// What CR4 switches on of what this processor has: machine checks are reported instead of resetting the machine; code and data
/// of user mode, of which there are none, are out of the kernel's reach, and descriptor tables out of theirs; TLBs keep what is mapped
/// for good when they are flushed.
pub fn wanted() -> Cr4Flags {
    let basic = __cpuid(1).edx;
    let (ebx, ecx) = if __cpuid(0).eax < 7 { (0, 0) } else { (__cpuid_count(7, 0).ebx, __cpuid_count(7, 0).ecx) };
    let mut wanted = Cr4Flags::empty();
    for (register, bit, flag) in [
        (basic, 7, Cr4Flags::MACHINE_CHECK_EXCEPTION),
        (basic, 13, Cr4Flags::PAGE_GLOBAL),
        (ebx, 7, Cr4Flags::SUPERVISOR_MODE_EXECUTION_PROTECTION),
        (ebx, 20, Cr4Flags::SUPERVISOR_MODE_ACCESS_PREVENTION),
        (ecx, 2, Cr4Flags::USER_MODE_INSTRUCTION_PREVENTION),
    ] {
        wanted.set(flag, register >> bit & 1 == 1);
    }
    wanted
}

/// Switches it on for the CPU that runs this. It has a handler for machine checks.
pub(crate) fn init() {
    // SAFETY: the processor has what is set; nothing is mapped for user mode, so nothing that is used becomes unreachable.
    unsafe { Cr4::update(|flags| flags.insert(wanted())) };
    // SAFETY: only what is mapped to be read becomes so for the kernel too, and it writes to nothing of that.
    unsafe { Cr0::update(|flags| flags.insert(Cr0Flags::WRITE_PROTECT)) };
}
