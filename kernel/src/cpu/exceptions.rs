//! The CPU's exceptions: a handler for every one of them and a report that a person can act on.
//!
//! Only a breakpoint is harmless. Everything else is a defect of the kernel or of the machine: the report is printed,
//! then the backtrace from the instruction at fault, and the machine ends as it does for a panic. Code that expects an
//! exception runs under [`catch`](catch::catch).

use super::given;
use crate::arch::backtrace::Backtrace;
use crate::arch::trap::Trap;
use crate::arch::{catch, ipi, machine_check, window};
use crate::{panic, println};
use core::fmt;
use x86_64::registers::control::Cr2;
use x86_64::structures::idt::PageFaultErrorCode;

/// Non-maskable interrupt.
const NON_MASKABLE: u64 = 2;
/// Breakpoint, the one that code asks for.
pub const BREAKPOINT: u64 = 3;
/// Invalid opcode.
pub const INVALID_OPCODE: u64 = 6;
/// Double fault: an exception while another one was being delivered.
pub const DOUBLE_FAULT: u64 = 8;
/// General protection fault.
pub const GENERAL_PROTECTION: u64 = 13;
/// Page fault.
pub const PAGE_FAULT: u64 = 14;

/// Machine check.
pub const MACHINE_CHECK: u64 = 18;

/// The exception's name in the CPU's manuals.
pub fn name(vector: u64) -> &'static str {
    match vector {
        0 => "divide error (#DE)",
        1 => "debug (#DB)",
        NON_MASKABLE => "non-maskable interrupt",
        BREAKPOINT => "breakpoint (#BP)",
        4 => "overflow (#OF)",
        5 => "bound range exceeded (#BR)",
        INVALID_OPCODE => "invalid opcode (#UD)",
        7 => "device not available (#NM)",
        DOUBLE_FAULT => "double fault (#DF)",
        10 => "invalid task state segment (#TS)",
        11 => "segment not present (#NP)",
        12 => "stack segment fault (#SS)",
        GENERAL_PROTECTION => "general protection fault (#GP)",
        PAGE_FAULT => "page fault (#PF)",
        16 => "x87 floating-point error (#MF)",
        17 => "alignment check (#AC)",
        MACHINE_CHECK => "machine check (#MC)",
        19 => "SIMD floating-point error (#XM)",
        20 => "virtualisation exception (#VE)",
        21 => "control protection exception (#CP)",
        28 => "hypervisor injection (#HV)",
        29 => "VMM communication (#VC)",
        30 => "security exception (#SX)",
        _ => "reserved exception",
    }
}

/// Handles an exception. What comes back from here goes on.
pub(super) fn handle(trap: &mut Trap) {
    if trap.vector == NON_MASKABLE {
        ipi::obey_stop();
    }
    if catch::redirect(trap) {
        return;
    }
    match trap.vector {
        BREAKPOINT => println!("{}", Report(trap)),
        vector => {
            ipi::stop_others();
            // SAFETY: exceptions come with interrupts masked, and nothing that this one interrupted runs again; nor does any
            // other CPU: all have stopped, but for one that has heard nothing for so long that it is as good as dead.
            unsafe { panic::seize() };
            println!("\n{}", Report(trap));
            panic::die(
                format_args!("{} {}", name(vector), Cause(trap)),
                format_args!("instruction {:#018x}", trap.rip),
                Backtrace::of(trap),
            )
        }
    }
}

/// An exception as people want to read it. Valid while the exception is being handled: part of it is in registers.
pub struct Report<'a>(pub &'a Trap);

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(trap) = self;
        writeln!(f, "EXCEPTION {}, vector {}, error code {:#x}", name(trap.vector), trap.vector, trap.error_code)?;
        writeln!(f, "  cause       {}", Cause(trap))?;
        if let PAGE_FAULT | DOUBLE_FAULT = trap.vector {
            writeln!(f, "  address     {:#018x}", Cr2::read_raw())?;
        }
        writeln!(f, "  instruction {:#018x}", trap.rip)?;
        write!(f, "{trap}")?;
        if trap.vector == PAGE_FAULT { given::explain(Cr2::read_raw(), f) } else { Ok(()) }
    }
}

/// What the error code and the registers say about why.
struct Cause<'a>(&'a Trap);

impl fmt::Display for Cause<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let error_code = self.0.error_code;
        match self.0.vector {
            BREAKPOINT => f.write_str("the code asked for it"),
            DOUBLE_FAULT if stack_overflown(self.0.rsp) => {
                f.write_str("the stack pointer lies in a page that is not mapped: the stack has overflown")
            }
            DOUBLE_FAULT => f.write_str("an exception came while another one was being delivered"),
            PAGE_FAULT => page_fault_cause(f, PageFaultErrorCode::from_bits_retain(error_code)),
            NON_MASKABLE => f.write_str("the machine asks for it, whatever it is that has happened to it"),
            // For these the error code is a segment selector, or 0 if no segment is to blame.
            10..=13 if error_code != 0 => write!(f, "segment selector {error_code:#x}"),
            GENERAL_PROTECTION => f.write_str("a non-canonical address, or something the CPU forbids here"),
            MACHINE_CHECK => machine_check_cause(f),
            _ => f.write_str("see the instruction"),
        }
    }
}

fn page_fault_cause(f: &mut fmt::Formatter<'_>, code: PageFaultErrorCode) -> fmt::Result {
    let access = if code.contains(PageFaultErrorCode::INSTRUCTION_FETCH) {
        "executing"
    } else if code.contains(PageFaultErrorCode::CAUSED_BY_WRITE) {
        "writing to"
    } else {
        "reading from"
    };
    let page = if code.contains(PageFaultErrorCode::MALFORMED_TABLE) {
        "a page whose table entry has reserved bits set"
    } else if code.contains(PageFaultErrorCode::PROTECTION_VIOLATION) {
        "a page that forbids it"
    } else {
        given::name_of(Cr2::read_raw()).unwrap_or("a page that is not mapped")
    };
    write!(f, "{access} {page}")?;
    if Cr2::read_raw() < 4096 {
        f.write_str(", at a null pointer's offset")?;
    }
    Ok(())
}

fn machine_check_cause(f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str("the processor or the memory has failed")?;
    machine_check::errors().try_for_each(|error| write!(f, "; {error}"))
}

/// Whether a push with this stack pointer would have found no memory.
fn stack_overflown(rsp: u64) -> bool {
    !window::is_mapped(rsp.wrapping_sub(8))
}
