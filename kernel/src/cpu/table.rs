//! The table of vectors, and how each gets from the CPU into Rust.
//!
//! The entry is written in assembly rather than with the `x86-interrupt` calling convention: that one saves registers
//! where no Rust code can see them, and a report without the registers is half a report. One naked function, generic
//! over the vector, is all the assembly there is.

use super::segments::ExceptionStack;
use super::{exceptions, interrupts};
use crate::arch::trap::Trap;
use crate::arch::vectors::{ERROR, REQUEST, SPURIOUS, TIMER};
use core::arch::naked_asm;
use spin::LazyLock;
use x86_64::VirtAddr;
use x86_64::structures::idt::{Entry, InterruptDescriptorTable};

/// The number of vectors that the CPU keeps for exceptions.
const EXCEPTIONS: u64 = 32;

static TABLE: LazyLock<InterruptDescriptorTable> = LazyLock::new(|| {
    let mut table = InterruptDescriptorTable::new();
    set::<0, _>(&mut table.divide_error);
    set::<1, _>(&mut table.debug);
    set_on::<2, _>(&mut table.non_maskable_interrupt, ExceptionStack::NonMaskable);
    set::<3, _>(&mut table.breakpoint);
    set::<4, _>(&mut table.overflow);
    set::<5, _>(&mut table.bound_range_exceeded);
    set::<6, _>(&mut table.invalid_opcode);
    set::<7, _>(&mut table.device_not_available);
    set_on::<8, _>(&mut table.double_fault, ExceptionStack::DoubleFault);
    set::<10, _>(&mut table.invalid_tss);
    set::<11, _>(&mut table.segment_not_present);
    set::<12, _>(&mut table.stack_segment_fault);
    set::<13, _>(&mut table.general_protection_fault);
    set::<14, _>(&mut table.page_fault);
    set::<16, _>(&mut table.x87_floating_point);
    set::<17, _>(&mut table.alignment_check);
    set_on::<18, _>(&mut table.machine_check, ExceptionStack::MachineCheck);
    set::<19, _>(&mut table.simd_floating_point);
    set::<20, _>(&mut table.virtualization);
    set::<21, _>(&mut table.cp_protection_exception);
    set::<28, _>(&mut table.hv_injection_exception);
    set::<29, _>(&mut table.vmm_communication_exception);
    set::<30, _>(&mut table.security_exception);
    fill(&mut table);
    table
});

/// Points a vector at its entry.
fn set<const VECTOR: u8, F>(slot: &mut Entry<F>) {
    // SAFETY: the entry for this very vector, which knows whether the CPU pushes an error code.
    unsafe { slot.set_handler_addr(VirtAddr::from_ptr(entry::<VECTOR> as *const ())) };
}

/// Points a vector at its entry, to be run on an exception's own stack.
fn set_on<const VECTOR: u8, F>(slot: &mut Entry<F>, stack: ExceptionStack) {
    // SAFETY: as in `set`; the stack is in the task segment, and each is given to one vector only.
    unsafe {
        slot.set_handler_addr(VirtAddr::from_ptr(entry::<VECTOR> as *const ())).set_stack_index(stack as u16);
    }
}

/// Loads the table. The segments must be loaded before: the table holds the code selector that is in force now.
pub(super) fn init() {
    TABLE.load();
}

/// Gives all vectors an entry. The controllers' masked lines need one too: a controller whose request went away reports its
/// last line instead.
fn fill(table: &mut InterruptDescriptorTable) {
    set::<0x20, _>(&mut table[0x20]);
    set::<0x21, _>(&mut table[0x21]);
    set::<0x22, _>(&mut table[0x22]);
    set::<0x23, _>(&mut table[0x23]);
    set::<0x24, _>(&mut table[0x24]);
    set::<0x25, _>(&mut table[0x25]);
    set::<0x26, _>(&mut table[0x26]);
    set::<0x27, _>(&mut table[0x27]);
    set::<0x28, _>(&mut table[0x28]);
    set::<0x29, _>(&mut table[0x29]);
    set::<0x2a, _>(&mut table[0x2a]);
    set::<0x2b, _>(&mut table[0x2b]);
    set::<0x2c, _>(&mut table[0x2c]);
    set::<0x2d, _>(&mut table[0x2d]);
    set::<0x2e, _>(&mut table[0x2e]);
    set::<0x2f, _>(&mut table[0x2f]);
    set::<TIMER, _>(&mut table[TIMER]);
    set::<REQUEST, _>(&mut table[REQUEST]);
    set::<ERROR, _>(&mut table[ERROR]);
    set::<SPURIOUS, _>(&mut table[SPURIOUS]);
}

/// Where every entry ends up, with what it interrupted.
extern "C" fn dispatch(trap: &mut Trap) {
    if trap.vector < EXCEPTIONS { exceptions::handle(trap) } else { interrupts::handle(trap) }
}

/// Vectors for which the CPU itself pushes an error code.
const ERROR_CODES: u64 =
    1 << 8 | 1 << 10 | 1 << 11 | 1 << 12 | 1 << 13 | 1 << 14 | 1 << 17 | 1 << 21 | 1 << 29 | 1 << 30;

/// Whether the CPU leaves it to the entry to push an error code, as 0 or 1 for the assembler.
const fn lacks_error_code(vector: u8) -> u32 {
    (vector >= 64 || ERROR_CODES >> vector & 1 == 0) as u32
}

/// The entry for a vector, to be called by the CPU alone.
///
/// The CPU aligns the stack to 16 bytes before it pushes its five words; with the error code, the vector and fifteen
/// registers that makes 22 words, so the call finds the stack aligned as the calling convention wants it.
#[unsafe(naked)]
extern "C" fn entry<const VECTOR: u8>() {
    naked_asm!(
        ".if {lacks_error_code}",
        "push 0",
        ".endif",
        "push {vector}",
        "push rax",
        "push rbx",
        "push rcx",
        "push rdx",
        "push rsi",
        "push rdi",
        "push rbp",
        "push r8",
        "push r9",
        "push r10",
        "push r11",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        "mov rdi, rsp",
        // Rust code expects the direction flag clear; the interrupted code may have had it set.
        "cld",
        "call {dispatch}",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop r11",
        "pop r10",
        "pop r9",
        "pop r8",
        "pop rbp",
        "pop rdi",
        "pop rsi",
        "pop rdx",
        "pop rcx",
        "pop rbx",
        "pop rax",
        // The vector and the error code.
        "add rsp, 16",
        "iretq",
        lacks_error_code = const lacks_error_code(VECTOR),
        vector = const VECTOR,
        dispatch = sym dispatch,
    )
}
