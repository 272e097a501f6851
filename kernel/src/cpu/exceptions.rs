//! The CPU's exceptions: a handler for every one of them and a report that a person can act on.
//!
//! Only a breakpoint is harmless. Everything else is a defect of the kernel or of the machine: the report is printed,
//! then the backtrace from the instruction at fault, and the machine ends as it does for a panic. Code that expects an
//! exception runs under [`catch`](super::catch()).

use super::segments::ExceptionStack;
use super::trap::{Trap, entry};
use super::{catch, interrupts, ipi};
use crate::backtrace::Backtrace;
use crate::memory::vmalloc;
use crate::{panic, println};
use core::fmt;
use spin::LazyLock;
use x86_64::VirtAddr;
use x86_64::registers::control::Cr2;
use x86_64::structures::idt::{Entry, InterruptDescriptorTable, PageFaultErrorCode};

/// The number of vectors that the CPU keeps for exceptions.
const EXCEPTIONS: u64 = 32;
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
        18 => "machine check (#MC)",
        19 => "SIMD floating-point error (#XM)",
        20 => "virtualisation exception (#VE)",
        21 => "control protection exception (#CP)",
        28 => "hypervisor injection (#HV)",
        29 => "VMM communication (#VC)",
        30 => "security exception (#SX)",
        _ => "reserved exception",
    }
}

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
    interrupts::fill(&mut table);
    table
});

/// Points a vector at its entry.
pub(super) fn set<const VECTOR: u8, F>(slot: &mut Entry<F>) {
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

/// Where every entry ends up, with what it interrupted.
pub(super) extern "C" fn dispatch(trap: &mut Trap) {
    if trap.vector >= EXCEPTIONS {
        return interrupts::handle(trap);
    }
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
        write!(f, "{trap}")
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
            // For these the error code is a segment selector, or 0 if no segment is to blame.
            10..=13 if error_code != 0 => write!(f, "segment selector {error_code:#x}"),
            GENERAL_PROTECTION => f.write_str("a non-canonical address, or something the CPU forbids here"),
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
        vmalloc::place_of(Cr2::read_raw()).unwrap_or("a page that is not mapped")
    };
    write!(f, "{access} {page}")?;
    if Cr2::read_raw() < 4096 {
        f.write_str(", at a null pointer's offset")?;
    }
    Ok(())
}

/// Whether a push with this stack pointer would have found no memory.
fn stack_overflown(rsp: u64) -> bool {
    !crate::memory::paging::is_mapped(rsp.wrapping_sub(8))
}
