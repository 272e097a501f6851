//! Segments, and the stacks that exceptions switch to.
//!
//! In 64-bit mode segments are a formality, except for one: the task state segment names stacks that the CPU switches
//! to for chosen exceptions. Without a stack of its own a double fault after a stack overflow would fault again, and
//! the third fault resets the machine without a word.

use core::cell::UnsafeCell;
use spin::LazyLock;
use x86_64::VirtAddr;
use x86_64::instructions::segmentation::{CS, DS, ES, SS, Segment};
use x86_64::instructions::tables::load_tss;
use x86_64::structures::gdt::{Descriptor, GlobalDescriptorTable, SegmentSelector};
use x86_64::structures::tss::TaskStateSegment;

/// Bytes of an exception's stack: a report with its backtrace takes about a fifth of that.
const STACK_SIZE: usize = 32 * 1024;

/// The exceptions that need a stack which is known to be good, by their place in the interrupt stack table.
///
/// A page fault is not among them: its report may itself touch a bad page, and would then overwrite its own frame. The
/// one page fault that has no stack, at the end of an overflown one, becomes a double fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum ExceptionStack {
    /// An exception while another was being delivered: the stack may be the reason.
    DoubleFault = 0,
    /// May come at any instruction, even between two that switch stacks.
    NonMaskable = 1,
    /// Hardware that has failed; like a non-maskable interrupt, it waits for nobody.
    MachineCheck = 2,
}

const STACKS: usize = 3;

#[repr(C, align(16))]
struct Stack(UnsafeCell<[u8; STACK_SIZE]>);

// SAFETY: the bytes are never accessed through the static, only by the CPU while it handles the one exception that the
// stack belongs to.
unsafe impl Sync for Stack {}

static EXCEPTION_STACKS: [Stack; STACKS] = [const { Stack(UnsafeCell::new([0; STACK_SIZE])) }; STACKS];

static TASK: LazyLock<TaskStateSegment> = LazyLock::new(|| {
    let mut task = TaskStateSegment::new();
    for (index, stack) in EXCEPTION_STACKS.iter().enumerate() {
        // Stacks grow downward: the CPU starts at the end.
        task.interrupt_stack_table[index] = VirtAddr::from_ptr(stack.0.get()) + STACK_SIZE as u64;
    }
    task
});

static SEGMENTS: LazyLock<Segments> = LazyLock::new(|| {
    let mut table = GlobalDescriptorTable::new();
    Segments {
        code: table.append(Descriptor::kernel_code_segment()),
        data: table.append(Descriptor::kernel_data_segment()),
        task: table.append(Descriptor::tss_segment(&TASK)),
        table,
    }
});

struct Segments {
    table: GlobalDescriptorTable,
    code: SegmentSelector,
    data: SegmentSelector,
    task: SegmentSelector,
}

/// Replaces the boot loader's segments, which lie in memory that the kernel has no claim to.
pub(super) fn init() {
    SEGMENTS.table.load();
    // SAFETY: the selectors name entries of the table just loaded, of the kinds that each register wants, and the
    // table and the task segment are statics.
    unsafe {
        CS::set_reg(SEGMENTS.code);
        SS::set_reg(SEGMENTS.data);
        DS::set_reg(SEGMENTS.data);
        ES::set_reg(SEGMENTS.data);
        load_tss(SEGMENTS.task);
    }
}
