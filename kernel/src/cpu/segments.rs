//! Segments, and the stacks that exceptions switch to.
//!
//! In 64-bit mode segments are a formality, except for one: the task state segment names stacks that the CPU switches
//! to for chosen exceptions. Without a stack of its own a double fault after a stack overflow would fault again, and
//! the third fault resets the machine without a word.

use super::local::MAX_CPUS;
use crate::memory::vmalloc;
use bifolio::frame::{FRAME_SIZE, Order};
use core::cell::UnsafeCell;
use spin::Once;
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

/// The boot processor's stacks: it needs them before there is memory. All others' are [mapped](vmalloc).
static BOOT_STACKS: [Stack; STACKS] = [const { Stack(UnsafeCell::new([0; STACK_SIZE])) }; STACKS];

static TASKS: [Once<TaskStateSegment>; MAX_CPUS] = [const { Once::new() }; MAX_CPUS];
static SEGMENTS: [Once<Segments>; MAX_CPUS] = [const { Once::new() }; MAX_CPUS];

struct Segments {
    table: GlobalDescriptorTable,
    code: SegmentSelector,
    data: SegmentSelector,
    task: SegmentSelector,
}

/// The ends of a CPU's exception stacks: they grow downward. `None` without memory for them.
fn stacks(number: usize) -> Option<[VirtAddr; STACKS]> {
    let mut ends = BOOT_STACKS.each_ref().map(|stack| VirtAddr::from_ptr(stack.0.get()) + STACK_SIZE as u64);
    if number != 0 {
        for end in &mut ends {
            let start = vmalloc::allocate(STACK_SIZE as u64 / FRAME_SIZE, Order::ZERO)?;
            *end = VirtAddr::from_ptr(start.as_ptr()) + STACK_SIZE as u64;
        }
    }
    Some(ends)
}

/// Makes a CPU's segments ready, if they are not. False if there is no memory for its stacks.
pub(super) fn prepare(number: usize) -> bool {
    let task = TASKS[number].try_call_once(|| {
        let mut task = TaskStateSegment::new();
        for (index, end) in stacks(number).ok_or(())?.into_iter().enumerate() {
            task.interrupt_stack_table[index] = end;
        }
        Ok::<_, ()>(task)
    });
    let Ok(task) = task else { return false };
    SEGMENTS[number].call_once(|| {
        let mut table = GlobalDescriptorTable::new();
        Segments {
            code: table.append(Descriptor::kernel_code_segment()),
            data: table.append(Descriptor::kernel_data_segment()),
            task: table.append(Descriptor::tss_segment(task)),
            table,
        }
    });
    true
}

/// Replaces the segments that the boot loader or the trampoline left the CPU with.
///
/// # Panics
/// If they have not been [prepared](prepare). The boot processor's need not be.
pub(super) fn init(number: usize) {
    if number == 0 {
        prepare(0);
    }
    let segments = SEGMENTS[number].get().expect("the CPU's segments are prepared before it is started");
    segments.table.load();
    // SAFETY: the selectors name entries of the table just loaded, of the kinds that each register wants, and the
    // table and the task segment are statics. A CPU loads its own task segment once in its life, since it is reset before
    // it starts again.
    unsafe {
        CS::set_reg(segments.code);
        SS::set_reg(segments.data);
        DS::set_reg(segments.data);
        ES::set_reg(segments.data);
        load_tss(segments.task);
    }
}
