//! Exceptions, their reports and backtraces: a kernel that breaks must be able to say how.
#![no_std]
#![no_main]
#![feature(custom_test_frameworks)]
#![test_runner(framework::run)]
#![reexport_test_harness_main = "test_main"]
#![allow(missing_docs, reason = "a test's name says what it tests")]

extern crate alloc;

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::arch::asm;
use core::hint::black_box;
use kernel::backtrace::Backtrace;
use kernel::cpu::exceptions::{BREAKPOINT, DOUBLE_FAULT, GENERAL_PROTECTION, INVALID_OPCODE, PAGE_FAULT, Report};
use kernel::cpu::{Trap, catch};
use kernel::memory::paging::is_mapped;
use protocol::backtrace::Line;
use x86_64::VirtAddr;
use x86_64::instructions::interrupts;
use x86_64::registers::control::{Cr0, Cr0Flags, Cr2};
use x86_64::registers::rflags::{self, RFlags};

framework::entry!(test_main);

/// An address in the lower half, where nothing is mapped.
const NOWHERE: u64 = 0x1234_5678_9000;

/// The exception that `f` must raise.
fn raised_by(f: impl FnOnce()) -> Trap {
    // SAFETY: the closures of these tests own nothing and hold no lock when they raise their exception.
    unsafe { catch(f) }.expect("no exception came")
}

/// Reads where reading raises an exception.
fn read(address: u64) {
    // SAFETY: these tests pass addresses where nothing is mapped, or nothing can be: reading there does no harm.
    black_box(unsafe { (black_box(address) as *const u8).read_volatile() });
}

fn report(trap: &Trap) -> String {
    Report(trap).to_string()
}

#[track_caller]
fn assert_says(report: &str, parts: &[&str]) {
    for part in parts {
        assert!(report.contains(part), "'{part}' is not in this report:\n{report}");
    }
}

#[test_case]
fn a_breakpoint_returns_with_every_register_as_it_was() {
    let (mut rax, mut r11, mut rdi) = (0x1111_u64, 0x2222_u64, 0x3333_u64);
    // SAFETY: a breakpoint's handler prints and returns; it changes no register.
    unsafe { asm!("int3", inout("rax") rax, inout("r11") r11, inout("rdi") rdi) };
    assert_eq!((rax, r11, rdi), (0x1111, 0x2222, 0x3333));
}

#[test_case]
fn a_caught_breakpoint_is_named() {
    let trap = raised_by(interrupts::int3);
    assert_eq!((trap.vector, trap.error_code), (BREAKPOINT, 0));
    assert_says(&report(&trap), &["EXCEPTION breakpoint (#BP), vector 3"]);
}

#[test_case]
fn rust_code_goes_on_with_the_direction_flag_clear_after_a_backward_copy() {
    // SAFETY: raises an exception, behind which nothing of this runs again.
    let trap = raised_by(|| unsafe { asm!("std", "ud2") });
    let flags = rflags::read();
    // SAFETY: that is how Rust code wants it.
    unsafe { asm!("cld") };
    assert_eq!(trap.vector, INVALID_OPCODE);
    assert!(RFlags::from_bits_retain(trap.rflags).contains(RFlags::DIRECTION_FLAG), "the report has it as it was");
    assert!(!flags.contains(RFlags::DIRECTION_FLAG));
}

#[test_case]
fn a_page_fault_names_address_cause_and_instruction() {
    let instruction: u64;
    // SAFETY: reads the instruction pointer.
    unsafe { asm!("lea {}, [rip]", out(reg) instruction) };
    let trap = raised_by(|| read(NOWHERE));
    assert_eq!((trap.vector, trap.error_code), (PAGE_FAULT, 0));
    assert_eq!(Cr2::read_raw(), NOWHERE);
    assert!(trap.rip.abs_diff(instruction) < 0x10_0000, "{:#x} is not in this kernel", trap.rip);
    let rip = alloc::format!("instruction {:#018x}", trap.rip);
    assert_says(
        &report(&trap),
        &["page fault (#PF)", "0x0000123456789000", "reading from a page that is not mapped", &rip],
    );
}

#[test_case]
fn a_report_shows_the_registers_at_the_fault() {
    let trap = raised_by(|| {
        // SAFETY: raises a page fault, behind which nothing of this runs again.
        unsafe {
            asm!(
                "mov [{nowhere}], al",
                nowhere = in(reg) NOWHERE,
                in("rax") 0xaaaa_u64, in("rcx") 0xcccc_u64, in("rdx") 0xdddd_u64,
                in("rsi") 0x5151_u64, in("rdi") 0xd1d1_u64,
                in("r8") 8_u64, in("r9") 9_u64, in("r10") 10_u64, in("r11") 11_u64,
            );
        }
    });
    assert_eq!((trap.rax, trap.rcx, trap.rdx, trap.rsi, trap.rdi), (0xaaaa, 0xcccc, 0xdddd, 0x5151, 0xd1d1));
    assert_eq!((trap.r8, trap.r9, trap.r10, trap.r11), (8, 9, 10, 11));
    assert_says(
        &report(&trap),
        &["writing to a page that is not mapped", "rax 0x000000000000aaaa", "r11 0x000000000000000b"],
    );
}

#[test_case]
fn writing_to_code_is_forbidden_and_named() {
    assert!(Cr0::read().contains(Cr0Flags::WRITE_PROTECT));
    let code = raised_by as fn(fn()) -> Trap as *mut u8;
    // SAFETY: code is mapped read-only: the write raises a page fault.
    let trap = raised_by(|| unsafe { black_box(code).write_volatile(0xcc) });
    assert_eq!((trap.vector, trap.error_code & 0b11), (PAGE_FAULT, 0b11));
    assert_says(&report(&trap), &["writing to a page that forbids it"]);
}

#[test_case]
fn running_data_is_forbidden_and_named() {
    let data = [0xc3_u8; 16];
    let trap = raised_by(|| {
        // SAFETY: the stack is mapped without the right to execute: the call raises a page fault.
        unsafe { asm!("call {}", in(reg) black_box(data.as_ptr())) };
    });
    assert_eq!((trap.vector, trap.rip), (PAGE_FAULT, data.as_ptr() as u64));
    assert_says(&report(&trap), &["executing a page that forbids it"]);
}

#[test_case]
fn a_null_pointer_is_called_one() {
    let trap = raised_by(|| read(0x18));
    assert_says(&report(&trap), &["0x0000000000000018", "at a null pointer's offset"]);
}

#[test_case]
fn other_faults_are_named() {
    // SAFETY: an instruction that raises an exception by definition.
    let trap = raised_by(|| unsafe { asm!("ud2") });
    assert_eq!(trap.vector, INVALID_OPCODE);
    assert_says(&report(&trap), &["invalid opcode (#UD)"]);

    let trap = raised_by(|| read(0x8000_0000_0000_0000));
    assert_eq!(trap.vector, GENERAL_PROTECTION);
    assert_says(&report(&trap), &["general protection fault (#GP)", "non-canonical"]);

    // SAFETY: a division by zero raises an exception.
    let trap = raised_by(|| unsafe {
        asm!("div {zero:e}", zero = in(reg) 0, inout("eax") 1 => _, inout("edx") 0 => _);
    });
    assert_eq!(trap.vector, 0);
    assert_says(&report(&trap), &["divide error (#DE)"]);

    // SAFETY: loads a selector beyond the table, which raises a general protection fault that names it.
    let trap = raised_by(|| unsafe { asm!("mov es, {:x}", in(reg) 0x1f8_u16) });
    assert_eq!((trap.vector, trap.error_code), (GENERAL_PROTECTION, 0x1f8));
    assert_says(&report(&trap), &["segment selector 0x1f8"]);
}

/// Uses up the stack: 1 KiB a call, and something to do behind the call, so that it cannot become a loop.
#[inline(never)]
#[expect(unconditional_recursion, reason = "that is the test")]
fn descend(depth: u64) -> u64 {
    let frame = black_box([depth; 128]);
    descend(depth + 1) + frame[depth as usize % 128]
}

#[test_case]
fn a_stack_overflow_is_a_double_fault_that_the_kernel_survives() {
    for _ in 0..3 {
        let trap = raised_by(|| _ = black_box(descend(0)));
        assert_eq!((trap.vector, trap.error_code), (DOUBLE_FAULT, 0));
        // The report was not written on the stack that is full.
        let here = &raw const trap as u64;
        assert!(trap.rsp < here && here - trap.rsp > 128 * 1024, "stack at {:#x}, here {here:#x}", trap.rsp);
        assert_says(&report(&trap), &["double fault (#DF)", "the stack has overflown"]);
    }
}

#[test_case]
fn exceptions_are_caught_by_the_innermost_catch() {
    let outer = raised_by(|| {
        let inner = raised_by(interrupts::int3);
        assert_eq!(inner.vector, BREAKPOINT);
        // SAFETY: raises an exception by definition.
        unsafe { asm!("ud2") };
    });
    assert_eq!(outer.vector, INVALID_OPCODE);
    // SAFETY: nothing is raised.
    assert_eq!(unsafe { catch(|| ()) }, None);
}

#[test_case]
fn interrupts_are_as_before_behind_an_exception() {
    assert!(interrupts::are_enabled());
    raised_by(interrupts::int3);
    assert!(interrupts::are_enabled());
    interrupts::without_interrupts(|| {
        raised_by(interrupts::int3);
        assert!(!interrupts::are_enabled());
    });
}

#[inline(never)]
fn third() -> Backtrace {
    black_box(Backtrace::here())
}

#[inline(never)]
fn second() -> Backtrace {
    black_box(third())
}

#[inline(never)]
fn first() -> Backtrace {
    black_box(second())
}

#[test_case]
fn a_backtrace_names_every_caller() {
    let trace: Vec<u64> = {
        // The frames must still be there while the trace walks them.
        #[inline(never)]
        fn walk() -> Vec<u64> {
            let trace = Backtrace::here();
            trace.addresses().collect()
        }
        #[inline(never)]
        fn caller() -> Vec<u64> {
            black_box(walk())
        }
        let addresses = caller();
        let calls = [walk as fn() -> Vec<u64> as usize as u64, caller as fn() -> Vec<u64> as usize as u64];
        for (address, function) in addresses.iter().zip(calls) {
            assert!((function..function + 0x400).contains(address), "{address:#x} is not in {function:#x}");
        }
        addresses
    };
    assert!(trace.len() > 3, "{trace:x?}");
    let text = Backtrace::here().to_string();
    for (number, line) in text.lines().enumerate() {
        assert_eq!(Line::parse(line).map(|line| line.number), Some(number), "{line}");
    }
}

#[test_case]
fn a_backtrace_survives_any_frame_pointer() {
    black_box(first());
    let trap = raised_by(interrupts::int3);
    let on_stack = [0_u64; 4];
    let circle = &raw const on_stack as u64;
    let wild = [0, 1, 8, 0x7ff8, NOWHERE, NOWHERE + 4, 0x8000_0000_0000_0000, !0, !7, circle + 1];
    for rbp in wild {
        let trace = Backtrace::of(&Trap { rbp, ..trap });
        assert_eq!(trace.addresses().collect::<Vec<_>>(), [trap.rip], "{rbp:#x}");
    }
    // The last word below the stack, where nothing is mapped: the return address would be on the stack.
    let mut page = circle & !0xfff;
    while is_mapped(page) {
        page -= 0x1000;
    }
    let trace = Backtrace::of(&Trap { rbp: page + 0xff8, ..trap });
    assert_eq!(trace.addresses().collect::<Vec<_>>(), [trap.rip]);
    let mut looped = [0_u64; 2];
    let start = VirtAddr::from_ptr(&raw const looped).as_u64();
    looped = black_box([start, 0x1111]);
    let trace = Backtrace::of(&Trap { rbp: start, ..trap });
    assert_eq!(trace.addresses().collect::<Vec<_>>(), [trap.rip, looped[1]]);
}
