//! What the kernel has against its own mistakes: read out of the page tables and the control registers of every CPU, then tried.
#![no_std]
#![no_main]
#![feature(custom_test_frameworks)]
#![test_runner(framework::run)]
#![reexport_test_harness_main = "test_main"]
#![allow(missing_docs, reason = "a test's name says what it tests")]

extern crate alloc;

use alloc::boxed::Box;
use alloc::vec::Vec;
use bifolio::frame::{Pfn, PfnRange};
use booted::{fault_at, frame_of};
use core::arch::asm;
use core::arch::x86_64::{__cpuid, __cpuid_count};
use core::hint::black_box;
use core::ops::Range;
use kernel::cpu::exceptions::{DOUBLE_FAULT, MACHINE_CHECK, PAGE_FAULT, Report};
use kernel::cpu::{self, MAX_CPUS, Trap, catch, segments};
use kernel::memory::map::map;
use kernel::memory::paging::{self, is_mapped};
use kernel::memory::{frames, space};
use kernel::println;
use spin::mutex::SpinMutex;
use x86_64::registers::control::{Cr0, Cr0Flags, Cr2, Cr3, Cr4, Efer, EferFlags};
use x86_64::structures::paging::{PageTable, PageTableFlags};
use x86_64::{PhysAddr, VirtAddr};

framework::entry!(test_main);

const PAGE: u64 = 4096;
/// The window, and the kernel's image.
const WINDOW: Range<u64> = 0xffff_8800_0000_0000..0xffff_c800_0000_0000;
const IMAGE: u64 = 0xffff_ffff_8000_0000;
/// Pages that CPUs start in.
const LOW: u64 = 5;

unsafe extern "C" {
    /// Where code ends, says the linker; read-only data lies before it.
    static etext: u8;
}

/// A page of whatever size, and what it can be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Leaf {
    start: u64,
    frame: u64,
    bytes: u64,
    writable: bool,
    executable: bool,
    /// An entry on the way is open to user mode.
    user: bool,
    global: bool,
}

impl Leaf {
    /// This one and the next as one, if they are alike and follow each other in memory, physical and virtual.
    fn merged(self, next: Leaf) -> Option<Leaf> {
        let follows =
            Leaf { start: self.start + self.bytes, frame: self.frame + self.bytes, bytes: next.bytes, ..self };
        (follows == next).then_some(Leaf { bytes: self.bytes + next.bytes, ..self })
    }

    fn frames(self) -> PfnRange {
        PfnRange::new(Pfn::containing(self.frame), Pfn::containing(self.frame + self.bytes))
    }
}

/// Everything that is mapped, in the order of addresses; what is alike is one.
fn everything() -> Vec<Leaf> {
    let (table, _) = Cr3::read();
    let whole =
        Leaf { start: 0, frame: 0, bytes: 1 << 48, writable: true, executable: true, user: true, global: false };
    let mut leaves = Vec::new();
    walk(table.start_address(), whole, &mut |leaf| match leaves.last_mut() {
        Some(last) => match Leaf::merged(*last, leaf) {
            Some(merged) => *last = merged,
            None => leaves.push(leaf),
        },
        None => leaves.push(leaf),
    });
    leaves
}

/// Visits every page that a table leads to. `whole` is what it maps, and what the entries on the way allow.
fn walk(table: PhysAddr, whole: Leaf, visit: &mut impl FnMut(Leaf)) {
    // SAFETY: the window shows all page tables, and nobody changes them meanwhile: no other CPU has anything to do.
    let entries = unsafe { &*paging::to_virtual(table).as_ptr::<PageTable>() };
    let bytes = whole.bytes / 512;
    for (index, entry) in (0..).zip(entries.iter()).filter(|(_, entry)| !entry.is_unused()) {
        let flags = entry.flags();
        assert!(flags.contains(PageTableFlags::PRESENT), "{entry:?} in {table:?}");
        let start = VirtAddr::new_truncate(whole.start + index * bytes).as_u64();
        let leaf = Leaf {
            start,
            frame: entry.addr().as_u64(),
            bytes,
            writable: whole.writable && flags.contains(PageTableFlags::WRITABLE),
            executable: whole.executable && !flags.contains(PageTableFlags::NO_EXECUTE),
            user: whole.user && flags.contains(PageTableFlags::USER_ACCESSIBLE),
            global: flags.contains(PageTableFlags::GLOBAL),
        };
        if bytes == PAGE || flags.contains(PageTableFlags::HUGE_PAGE) {
            visit(leaf);
        } else {
            walk(entry.addr(), leaf, visit);
        }
    }
}

/// Runs `look` on each CPU, one after the other.
fn on_each_cpu(look: impl Fn(usize) + Sync) {
    cpu::online().for_each(|cpu| cpu::on(cpu, &look));
}

#[test_case]
fn every_cpu_has_switched_on_what_its_processor_has() {
    on_each_cpu(|cpu| {
        let (basic, extended) = (__cpuid(1), __cpuid(0x8000_0001));
        let has_structured = __cpuid(0).eax >= 7;
        let structured = __cpuid_count(7, 0);
        let structured = if has_structured { (structured.ebx, structured.ecx) } else { (0, 0) };
        let cr4 = Cr4::read_raw();
        // Bits of CR4 as the manuals number them: MCE, PGE, SMEP, SMAP, UMIP.
        for (name, bit, is_there) in [
            ("MCE", 6, basic.edx >> 7),
            ("PGE", 7, basic.edx >> 13),
            ("SMEP", 20, structured.0 >> 7),
            ("SMAP", 21, structured.0 >> 20),
            ("UMIP", 11, structured.1 >> 2),
        ] {
            assert_eq!(cr4 >> bit & 1, u64::from(is_there & 1), "{name} of CPU {cpu}");
        }
        assert_eq!(extended.edx >> 20 & 1, 1, "this processor has no bit against execution");
        assert!(Efer::read().contains(EferFlags::NO_EXECUTE_ENABLE), "CPU {cpu}");
        assert!(Cr0::read().contains(Cr0Flags::WRITE_PROTECT), "CPU {cpu}");
    });
}

#[test_case]
fn every_cpu_has_the_same_page_tables() {
    let own = Cr3::read();
    on_each_cpu(|cpu| assert_eq!(Cr3::read(), own, "CPU {cpu}"));
}

#[test_case]
fn nothing_is_writable_and_executable_nor_open_to_user_mode() {
    let leaves = everything();
    assert!(leaves.len() > 10, "{leaves:x?}");
    // SAFETY: only its address is of interest.
    let code = IMAGE..&raw const etext as u64;
    assert!(code.contains(&(everything as *const () as u64)));
    for leaf in &leaves {
        assert!(!leaf.user, "open to user mode: {leaf:x?}");
        assert!(!(leaf.writable && leaf.executable), "writable and executable: {leaf:x?}");
        assert!(!leaf.executable || code.contains(&leaf.start), "executable, and no code: {leaf:x?}");
    }
    // Nor by way of two addresses.
    for code in leaves.iter().filter(|leaf| leaf.executable) {
        let aliases = || leaves.iter().filter(|other| !other.frames().intersection(code.frames()).is_empty());
        let data = aliases().find(|other| other.writable);
        assert!(data.is_none(), "{code:x?} can be written by way of {data:x?}");
    }
}

#[test_case]
fn the_lower_half_is_empty() {
    let first = everything()[0];
    assert!(first.start >= 0xffff_8000_0000_0000, "{first:x?}");
}

/// What is mapped in some part of the address space.
fn mapped_in(part: Range<u64>) -> impl Iterator<Item = Leaf> {
    everything().into_iter().filter(move |leaf| part.contains(&leaf.start))
}

fn pieces_of_metadata() -> [Range<VirtAddr>; 2] {
    space::metadata()
}

#[test_case]
fn the_window_shows_ram_that_can_be_given_out_and_nothing_else() {
    let mut expected: Vec<PfnRange> = map().ram().collect();
    for piece in pieces_of_metadata() {
        let start = frame_of(piece.start);
        let hole = PfnRange::new(start, start.offset((piece.end - piece.start) / PAGE));
        let cut = |range: PfnRange| {
            [PfnRange::new(range.start, range.end.min(hole.start)), PfnRange::new(range.start.max(hole.end), range.end)]
        };
        let (kept, holed): (Vec<_>, Vec<_>) =
            expected.iter().copied().partition(|range| range.intersection(hole).is_empty());
        expected = kept.into_iter().chain(holed.into_iter().flat_map(cut)).filter(|range| !range.is_empty()).collect();
    }
    expected.sort_by_key(|range| range.start);
    let shown: Vec<Leaf> = mapped_in(WINDOW).collect();
    assert!(shown.iter().all(|leaf| leaf.start - WINDOW.start == leaf.frame && !leaf.executable && leaf.global));
    let writable = |low: bool| {
        let is_low = move |leaf: &&Leaf| (leaf.frame < 1 << 20) == low;
        shown.iter().filter(|leaf| leaf.writable).filter(is_low).map(|leaf| leaf.frames())
    };
    assert_eq!(writable(false).collect::<Vec<_>>(), expected);
    // Where other CPUs start; and what was read of firmware's tables, which is not RAM that anybody else has.
    assert!(writable(true).map(PfnRange::frames).sum::<u64>() <= LOW);
    for firmware in shown.iter().filter(|leaf| !leaf.writable) {
        let is_ram = map().ram().any(|range| !range.intersection(firmware.frames()).is_empty());
        assert!(!is_ram && firmware.bytes <= 1 << 20, "{firmware:x?}");
    }
}

#[test_case]
fn what_the_kernel_runs_on_is_not_in_the_window() {
    let metadata = pieces_of_metadata().map(|piece| piece.start.as_u64()..piece.end.as_u64());
    let stack = 0_u8;
    let stack = &raw const stack as u64 & !0xfff;
    for part in metadata.into_iter().chain([IMAGE..u64::MAX, stack..stack + 1]) {
        let mut frames = 0;
        for leaf in mapped_in(part.clone()) {
            for pfn in (0..leaf.frames().frames()).map(|nth| leaf.frames().start.offset(nth)) {
                let shown = paging::to_virtual(PhysAddr::new(pfn.address())).as_u64();
                assert!(!is_mapped(shown), "frame {pfn} of {leaf:x?} is in the window");
                frames += 1;
            }
        }
        assert!(frames > 0 || part.start == stack, "nothing is mapped at {part:x?}");
    }
}

/// The pages that are mapped without a gap around an address.
fn run_around(address: u64) -> Range<u64> {
    let (mut start, mut end) = (address & !(PAGE - 1), address & !(PAGE - 1));
    while is_mapped(start - PAGE) {
        start -= PAGE;
    }
    while is_mapped(end) {
        end += PAGE;
    }
    start..end
}

#[test_case]
fn guards_are_where_they_belong() {
    for piece in pieces_of_metadata() {
        let mapped = run_around(piece.start.as_u64());
        assert_eq!(mapped, piece.start.as_u64()..piece.end.as_u64());
    }
    on_each_cpu(|cpu| {
        let here = 0_u8;
        let stack = run_around(&raw const here as u64);
        let kib = (stack.end - stack.start) >> 10;
        assert_eq!(kib, if cpu == 0 { 256 } else { 64 }, "the stack of CPU {cpu}");
        for stack in segments::exception_stacks(cpu).expect("the CPU has stacks") {
            let start = stack.start.as_u64();
            assert!(is_mapped(start) && !is_mapped(start - 1), "an exception stack of CPU {cpu} has no guard");
            // The boot processor's lie among its statics.
            assert!(cpu == 0 || run_around(start).end == stack.end.as_u64(), "CPU {cpu}");
        }
    });
    assert!((cpu::count()..MAX_CPUS).all(|cpu| segments::exception_stacks(cpu).is_none()));
}

/// The exception that `f` must raise.
#[track_caller]
fn raised_by(f: impl FnOnce()) -> Trap {
    // SAFETY: what these tests try owns nothing and holds no lock.
    unsafe { catch(f) }.expect("no exception came")
}

#[track_caller]
fn assert_says(trap: &Trap, part: &str) {
    let report = alloc::format!("{}", Report(trap));
    assert!(report.contains(part), "'{part}' is not in this report:\n{report}");
}

#[test_case]
fn the_heap_cannot_be_executed() {
    // A return.
    let code = Box::new([0xc3_u8; 64]);
    // SAFETY: the heap is mapped without the right to execute, so the call raises a page fault.
    let trap = raised_by(|| unsafe { asm!("call {}", in(reg) black_box(code.as_ptr())) });
    assert_eq!((trap.vector, trap.rip), (PAGE_FAULT, code.as_ptr() as u64));
    assert_says(&trap, "executing a page that forbids it");
}

#[test_case]
fn code_and_metadata_are_not_to_be_reached_through_the_window() {
    let [metadata, area] = pieces_of_metadata().map(|piece| piece.start);
    for address in [VirtAddr::new(everything as *const () as u64), metadata, area] {
        let shown = paging::to_virtual(PhysAddr::new(frame_of(address).address()));
        // SAFETY: the window does not show the frame, so that the write raises a page fault.
        let trap = raised_by(|| unsafe { shown.as_mut_ptr::<u8>().write_volatile(0xcc) });
        assert_eq!((trap.vector, Cr2::read_raw()), (PAGE_FAULT, shown.as_u64()));
        assert_says(&trap, "writing to a page that is not mapped");
    }
    // Whatever runs out of a frame that lies before the metadata does not run into it.
    for piece in pieces_of_metadata() {
        for guard in [piece.start - 1, piece.end] {
            assert!(fault_at(guard).contains("reading from a page that is not mapped"));
        }
    }
    assert!(frames().metadata().frames() > 0);
}

/// Uses up the stack: 1 KiB a call, and something to do behind the call, so that it cannot become a loop.
#[inline(never)]
#[expect(unconditional_recursion, reason = "that is the test")]
fn descend(depth: u64) -> u64 {
    let frame = black_box([depth; 128]);
    descend(depth + 1) + frame[depth as usize % 128]
}

extern "C" fn descend_for_ever() -> ! {
    black_box(descend(0));
    unreachable!("it has no end")
}

#[test_case]
fn every_stack_of_every_cpu_overflows_into_its_guard() {
    on_each_cpu(|cpu| {
        let overflow = raised_by(|| descend_for_ever());
        assert_overflow(&overflow, "its first stack", cpu);
        let stacks = segments::exception_stacks(cpu).expect("the CPU has stacks");
        for (name, stack) in ["double faults", "unmaskable interrupts", "machine checks"].into_iter().zip(stacks) {
            let end = stack.end.as_u64();
            // SAFETY: nothing on this CPU handles an exception now, so the stack is free. What runs on it never returns: the
            // exception that it ends with goes on behind `catch`, on the stack as it was.
            let overflow = raised_by(|| unsafe {
                asm!("mov rsp, {}", "xor ebp, ebp", "call {}", in(reg) end, sym descend_for_ever, options(noreturn));
            });
            assert_overflow(&overflow, name, cpu);
            assert!(overflow.rsp.abs_diff(stack.start.as_u64()) < 2 * PAGE, "{overflow:x?} on {stack:x?}");
        }
    });
}

#[track_caller]
fn assert_overflow(trap: &Trap, stack: &str, cpu: usize) {
    assert_eq!(trap.vector, DOUBLE_FAULT, "CPU {cpu}, the stack for {stack}");
    assert_says(trap, "the stack has overflown");
}

#[test_case]
fn a_machine_check_has_a_handler_of_its_own_on_every_cpu() {
    static REPORTS: SpinMutex<Vec<usize>> = SpinMutex::new(Vec::new());
    on_each_cpu(|cpu| {
        let stack = &segments::exception_stacks(cpu).expect("the CPU has stacks")[2];
        // SAFETY: raises the exception that the processor raises when something of it fails.
        let trap = raised_by(|| unsafe { asm!("int 18") });
        let caught = cpu::local().caught_at();
        assert_eq!(trap.vector, MACHINE_CHECK);
        assert!(stack.contains(&VirtAddr::new(caught)), "CPU {cpu} handled it at {caught:#x}");
        assert_says(&trap, "EXCEPTION machine check (#MC), vector 18");
        REPORTS.lock().push(cpu);
    });
    println!("machine checks of {:?}", REPORTS.lock());
    assert_eq!(REPORTS.lock().len(), cpu::count());
    *REPORTS.lock() = Vec::new();
}
