//! The code that a CPU starts with: from real mode to the kernel.
//!
//! A CPU that is started begins in real mode at a page below 1 MiB, knowing nothing. The code here is copied to such a page.
//! It goes to long mode in one step, on page tables of its own, which show that page at its own address, to be read and executed,
//! since the instruction behind the step must be mapped, and all else as the kernel has it. The kernel's own tables show nothing
//! there.

use crate::arch::window;
use core::arch::global_asm;
use core::ptr;
use core::sync::atomic::{AtomicU64, Ordering};
use x86_64::registers::control::{Cr0, Cr3, Cr4, Efer, EferFlags};
use x86_64::structures::paging::{PageTable, PageTableFlags};
use x86_64::{PhysAddr, VirtAddr};

/// Pages that are needed: the code, and page tables of four levels.
pub const PAGES: u64 = 5;
const PAGE: u64 = 4096;

/// The physical address of the first page; 0 if there is none.
static START: AtomicU64 = AtomicU64::new(0);

/// What the code finds at its end, filled in for each CPU.
#[repr(C)]
struct Parameters {
    /// The trampoline's level 4 table.
    tables: u64,
    efer: u64,
    cr0: u64,
    cr4: u64,
    /// The end of the CPU's stack.
    stack: u64,
    /// A function that takes the CPU's number and does not return.
    entry: u64,
    number: u64,
}

// In AT&T's syntax, which has room for the differences of labels that everything here is made of.
global_asm!(
    r#"
    .section .rodata.trampoline, "a"
    .code16
trampoline_start:
    cli
    cld
    # The page's physical address, of which real mode has the upper part in CS.
    movw %cs, %ax
    movw %ax, %ds
    movzwl %ax, %ebx
    shll $4, %ebx
    # The descriptor table and the jump need addresses, which are known only now.
    leal (descriptors - trampoline_start)(%ebx), %eax
    movl %eax, (descriptors_at - trampoline_start) + 2
    leal (in_long_mode - trampoline_start)(%ebx), %eax
    movl %eax, (long_mode_at - trampoline_start)
    lgdtl (descriptors_at - trampoline_start)
    movl (trampoline_parameters - trampoline_start) + 24, %eax
    movl %eax, %cr4
    movl (trampoline_parameters - trampoline_start), %eax
    movl %eax, %cr3
    movl $0xc0000080, %ecx
    movl (trampoline_parameters - trampoline_start) + 8, %eax
    movl (trampoline_parameters - trampoline_start) + 12, %edx
    wrmsr
    # Protection and paging at once: with long mode enabled, that is long mode.
    movl (trampoline_parameters - trampoline_start) + 16, %eax
    movl %eax, %cr0
    ljmpl *(long_mode_at - trampoline_start)
    .balign 8
    # Nothing, and a code segment of 64 bits.
descriptors:
    .quad 0, 0x00209a0000000000
    # The descriptor table's limit and address.
descriptors_at:
    .word 15
    .long 0
    .balign 4
    # Where to jump, and by which segment.
long_mode_at:
    .long 0
    .word 8
    .code64
in_long_mode:
    # Segments are a formality now; the kernel loads its own.
    xorl %eax, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    movl %eax, %fs
    movl %eax, %gs
    movl %ebx, %esi
    addq $(trampoline_parameters - trampoline_start), %rsi
    movq 32(%rsi), %rsp
    movq 40(%rsi), %rax
    movq 48(%rsi), %rdi
    # No caller: here a backtrace ends.
    xorl %ebp, %ebp
    pushq $0
    jmpq *%rax
    .balign 8
trampoline_parameters:
    .fill 7, 8, 0
trampoline_end:
    .text
    "#,
    options(att_syntax)
);

unsafe extern "C" {
    static trampoline_start: u8;
    static trampoline_parameters: u8;
    static trampoline_end: u8;
}

/// Tells where there is room for the trampoline: so many pages of RAM that nobody uses, below 1 MiB.
pub(crate) fn init(start: Option<PhysAddr>) {
    START.store(start.map_or(0, PhysAddr::as_u64), Ordering::Relaxed);
}

/// Puts the code in its place, with a CPU's number, stack and first function. The page at which the CPU is to start; `None`
/// if there is no room for it below 1 MiB.
///
/// # Safety
/// No CPU is on its way through the trampoline. `stack` is the end of a stack that nobody else uses.
pub(super) unsafe fn prepare(number: usize, stack: VirtAddr, entry: extern "C" fn(usize) -> !) -> Option<u8> {
    let start = START.load(Ordering::Relaxed);
    if start == 0 {
        return None;
    }
    let page = |nth: u64| PhysAddr::new(start + nth * PAGE);
    let parameters = Parameters {
        tables: page(1).as_u64(),
        // Some AMD processors refuse to be told that long mode is active, which is for them to say (Linux: `setup_real_mode`).
        efer: Efer::read_raw() & !EferFlags::LONG_MODE_ACTIVE.bits(),
        cr0: Cr0::read_raw(),
        cr4: Cr4::read_raw(),
        stack: stack.as_u64(),
        entry: entry as usize as u64,
        number: number as u64,
    };
    let code: *mut u8 = window::to_virtual(page(0)).as_mut_ptr();
    let [level_4, level_3, level_2, level_1]: [*mut PageTable; 4] =
        [1, 2, 3, 4].map(|nth| window::to_virtual(page(nth)).as_mut_ptr());
    // SAFETY: by `init`'s word the pages are RAM that nobody uses, by this function's contract not even a CPU, and the window
    // shows them. The labels enclose the code, the parameters in it are aligned, and all of it is shorter than a page.
    unsafe {
        let from = &raw const trampoline_start;
        let length = (&raw const trampoline_end).offset_from_unsigned(from);
        let offset = (&raw const trampoline_parameters).offset_from_unsigned(from);
        ptr::copy_nonoverlapping(from, code, length);
        code.add(offset).cast::<Parameters>().write(parameters);

        let kernel: *const PageTable = window::to_virtual(Cr3::read().0.start_address()).as_ptr();
        ptr::copy_nonoverlapping(kernel, level_4, 1);
        level_3.write(PageTable::new());
        level_2.write(PageTable::new());
        level_1.write(PageTable::new());
        let flags = PageTableFlags::PRESENT | PageTableFlags::WRITABLE;
        (&mut *level_4)[0].set_addr(page(2), flags);
        (&mut *level_3)[0].set_addr(page(3), flags);
        (&mut *level_2)[0].set_addr(page(4), flags);
        (&mut *level_1)[(start / PAGE) as usize].set_addr(page(0), PageTableFlags::PRESENT);
    }
    Some((start / PAGE) as u8)
}
