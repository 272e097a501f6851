//! Segments, and the stacks that exceptions switch to.
//!
//! In 64-bit mode segments are a formality, except for one: the task state segment names stacks that the CPU switches
//! to for chosen exceptions. Without a stack of its own a double fault after a stack overflow would fault again, and
//! the third fault resets the machine without a word.

use super::given;
use crate::arch::local::MAX_CPUS;
use bifolio::frame::FRAME_SIZE;
use core::array;
use core::cell::UnsafeCell;
use core::ops::Range;
use core::ptr::NonNull;
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

/// A stack behind a page that is unmapped once there is paging: what overflows finds no memory.
#[repr(C, align(4096))]
struct Stack {
    guard: UnsafeCell<[u8; FRAME_SIZE as usize]>,
    stack: UnsafeCell<[u8; STACK_SIZE]>,
}

// SAFETY: the bytes are never accessed through the static, only by the CPU while it handles the one exception that the
// stack belongs to.
unsafe impl Sync for Stack {}

/// The boot processor's stacks: it needs them before there is memory. All others' are [given](given).
static BOOT_STACKS: [Stack; STACKS] =
    [const { Stack { guard: UnsafeCell::new([0; _]), stack: UnsafeCell::new([0; _]) } }; STACKS];

static TASKS: [Once<TaskStateSegment>; MAX_CPUS] = [const { Once::new() }; MAX_CPUS];
static SEGMENTS: [Slot; MAX_CPUS] = [const { Slot(UnsafeCell::new(None)) }; MAX_CPUS];

struct Segments {
    table: GlobalDescriptorTable,
    code: SegmentSelector,
    data: SegmentSelector,
    task: SegmentSelector,
}

/// A CPU's segments. The CPU itself marks its task segment as in use when it loads it.
struct Slot(UnsafeCell<Option<Segments>>);

// SAFETY: written only before the CPU starts, by whoever starts it, and used by that CPU alone from then on.
unsafe impl Sync for Slot {}

/// The pages below the boot processor's stacks, which are to be unmapped.
pub(crate) fn guards() -> [VirtAddr; STACKS] {
    BOOT_STACKS.each_ref().map(|stack| VirtAddr::from_ptr(stack.guard.get()))
}

/// The ends of a CPU's exception stacks: they grow downward. `None`, and nothing is taken, without memory for them.
fn stacks(number: usize) -> Option<[VirtAddr; STACKS]> {
    const PAGES: u64 = STACK_SIZE as u64 / FRAME_SIZE;
    let starts = if number == 0 {
        BOOT_STACKS.each_ref().map(|stack| stack.stack.get().cast())
    } else {
        // Each by itself, so that there is a page between them that is not mapped.
        let memory = given::memory()?;
        let taken = [(); STACKS].map(|()| memory.stack(PAGES));
        let [Some(first), Some(second), Some(third)] = taken else {
            for stack in taken.into_iter().flatten() {
                // SAFETY: it was given just now, and nobody uses it.
                unsafe { memory.free_stack(stack, PAGES) };
            }
            return None;
        };
        [first, second, third].map(NonNull::as_ptr)
    };
    Some(starts.map(|start| VirtAddr::from_ptr(start) + STACK_SIZE as u64))
}

/// A CPU's stacks for exceptions, in the order of [`ExceptionStack`]; `None` if it never had any.
pub fn exception_stacks(number: usize) -> Option<[Range<VirtAddr>; STACKS]> {
    let ends = TASKS[number].get()?.interrupt_stack_table;
    Some(array::from_fn(|index| ends[index] - STACK_SIZE as u64..ends[index]))
}

/// A CPU's task segment, with stacks. `None` if there is no memory for them.
pub(super) fn task(number: usize) -> Option<&'static TaskStateSegment> {
    let task = TASKS[number].try_call_once(|| {
        let mut task = TaskStateSegment::new();
        for (index, end) in stacks(number).ok_or(())?.into_iter().enumerate() {
            task.interrupt_stack_table[index] = end;
        }
        Ok::<_, ()>(task)
    });
    task.ok()
}

/// Makes a CPU's segments ready.
///
/// # Panics
/// If there is no memory for its stacks: it has those before, with its [task segment](task).
///
/// # Safety
/// The CPU is not running, or does not use segments of the kernel's yet; nobody else does this for it.
pub(super) unsafe fn prepare(number: usize) {
    let task = task(number).expect("the CPU has stacks");
    let mut table = GlobalDescriptorTable::new();
    let segments = Segments {
        code: table.append(Descriptor::kernel_code_segment()),
        data: table.append(Descriptor::kernel_data_segment()),
        // A fresh one: a segment that was loaded once is marked so, and cannot be loaded again.
        task: table.append(Descriptor::tss_segment(task)),
        table,
    };
    // SAFETY: by this function's contract nobody looks at the slot.
    unsafe { *SEGMENTS[number].0.get() = Some(segments) };
}

/// Replaces the segments that the boot loader or the trampoline left the CPU with.
///
/// # Panics
/// If they have not been [prepared](prepare).
///
/// # Safety
/// That is the number of the CPU that runs this.
pub(super) unsafe fn init(number: usize) {
    // SAFETY: by this function's contract the slot is this CPU's, and written before it started.
    let segments: Option<&'static Segments> = unsafe { (*SEGMENTS[number].0.get()).as_ref() };
    let segments = segments.expect("the CPU's segments are prepared before it starts");
    segments.table.load();
    // SAFETY: the selectors name entries of the table just loaded, of the kinds that each register wants, and the
    // table and the task segment are statics.
    unsafe {
        CS::set_reg(segments.code);
        SS::set_reg(segments.data);
        DS::set_reg(segments.data);
        ES::set_reg(segments.data);
        load_tss(segments.task);
    }
}
