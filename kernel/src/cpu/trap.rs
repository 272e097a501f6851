//! What the CPU was doing when an exception or interrupt stopped it, and how it gets from there into Rust.
//!
//! The entry is written in assembly rather than with the `x86-interrupt` calling convention: that one saves registers
//! where no Rust code can see them, and a report without the registers is half a report. One naked function, generic
//! over the vector, is all the assembly there is.

use core::arch::naked_asm;
use core::fmt;

/// The registers of the interrupted code, in the order in which the entry leaves them on the stack.
///
/// Changing one changes what the code goes on with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
#[expect(missing_docs, reason = "the registers' own names")]
pub struct Trap {
    pub r15: u64,
    pub r14: u64,
    pub r13: u64,
    pub r12: u64,
    pub r11: u64,
    pub r10: u64,
    pub r9: u64,
    pub r8: u64,
    pub rbp: u64,
    pub rdi: u64,
    pub rsi: u64,
    pub rdx: u64,
    pub rcx: u64,
    pub rbx: u64,
    pub rax: u64,
    /// Which exception or interrupt this is.
    pub vector: u64,
    /// The CPU's error code; 0 for vectors that have none.
    pub error_code: u64,
    pub rip: u64,
    pub cs: u64,
    pub rflags: u64,
    pub rsp: u64,
    pub ss: u64,
}

impl fmt::Display for Trap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = [
            [("rax", self.rax), ("rbx", self.rbx), ("rcx", self.rcx), ("rdx", self.rdx)],
            [("rsi", self.rsi), ("rdi", self.rdi), ("rbp", self.rbp), ("rsp", self.rsp)],
            [("r8 ", self.r8), ("r9 ", self.r9), ("r10", self.r10), ("r11", self.r11)],
            [("r12", self.r12), ("r13", self.r13), ("r14", self.r14), ("r15", self.r15)],
        ];
        for row in rows {
            for (name, value) in row {
                write!(f, "  {name} {value:#018x}")?;
            }
            writeln!(f)?;
        }
        write!(f, "  cs {:#x}  ss {:#x}  rflags {:#x}", self.cs, self.ss, self.rflags)
    }
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
pub(super) extern "C" fn entry<const VECTOR: u8>() {
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
        dispatch = sym super::exceptions::dispatch,
    )
}
