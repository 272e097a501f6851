//! What each CPU has of its own, found through the GS base.
//!
//! A CPU cannot be asked cheaply which one it is, so the answer lies where the segment register GS leads: a word of memory
//! that is another one on every CPU. The kernel has no other use for GS, and nothing to swap it with.

use super::request::Request;
use core::arch::asm;
use core::hint;
use core::mem::offset_of;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use x86_64::VirtAddr;
use x86_64::instructions::{hlt, interrupts};
use x86_64::registers::model_specific::GsBase;

/// How many CPUs the kernel runs on at most. Further ones are left alone.
pub const MAX_CPUS: usize = 64;

/// A CPU's own data. Others may look at most of it, and write only where it says so.
#[derive(Debug)]
#[repr(C, align(128))]
pub struct Local {
    number: usize,
    /// The address of its local APIC.
    pub(crate) apic_id: AtomicU32,
    /// How many interrupt handlers it is in.
    pub(crate) interrupts: AtomicU32,
    /// Interrupts of its timer so far.
    pub(super) ticks: AtomicU64,
    /// Its timer interrupts it again and again.
    pub(crate) periodic: AtomicBool,
    /// Where the handler of the last exception that was caught had the registers: on its own stack.
    pub(super) caught_at: AtomicU64,
    /// Of its stack, the pages that are [known](super::backtrace::callers) to be mapped.
    pub(super) stack: AtomicU64,
    /// Others ask it for a memory barrier.
    pub(super) barrier: Request,
    /// Others ask it to forget translations.
    pub(super) flush: Request,
    /// It is being started. Taken back either by the CPU itself when it arrives, or by whoever has waited too long for it.
    pub(crate) expected: AtomicBool,
    /// It has run, if it does not now.
    pub(crate) started: AtomicBool,
    /// Others want it to stop.
    pub(crate) stop: AtomicBool,
}

static LOCALS: [Local; MAX_CPUS] = {
    let mut locals = [const { Local::new() }; MAX_CPUS];
    let mut number = 0;
    while number < MAX_CPUS {
        locals[number].number = number;
        number += 1;
    }
    locals
};

/// Makes the CPU that runs this the one of that number.
///
/// # Safety
/// No other CPU has it.
pub(crate) unsafe fn init(number: usize) {
    GsBase::write(VirtAddr::from_ptr(of(number)));
}

/// The number of the CPU that runs this, below [`MAX_CPUS`]. The boot processor's is 0.
///
/// It stays true only as long as the code cannot be moved to another CPU, which nothing here does to it.
#[inline]
pub fn current() -> usize {
    let number: usize;
    // SAFETY: `init` has made GS lead to a `Local`, which lives for ever and whose number never changes.
    unsafe {
        asm!(
            "mov {}, gs:[{offset}]",
            out(reg) number,
            offset = const offset_of!(Local, number),
            options(pure, readonly, nostack, preserves_flags),
        );
    }
    // SAFETY: every `Local` has the number of its place in `LOCALS`. So the heap need not compare it with how many places it has.
    unsafe { hint::assert_unchecked(number < MAX_CPUS) };
    number
}

/// The data of the CPU that runs this.
pub fn local() -> &'static Local {
    of(current())
}

/// The data of a CPU.
///
/// # Panics
/// If the number is not below [`MAX_CPUS`].
pub fn of(number: usize) -> &'static Local {
    &LOCALS[number]
}

/// Whether the CPU is in the handler of an interrupt, rather than of an exception: what runs then must not wait.
pub fn in_interrupt() -> bool {
    local().interrupts.load(Ordering::Relaxed) != 0
}

/// Stops the CPU that runs this for good, or until it is started anew.
pub fn halt() -> ! {
    interrupts::disable();
    loop {
        hlt();
    }
}

impl Local {
    const fn new() -> Self {
        Self {
            number: 0,
            apic_id: AtomicU32::new(0),
            interrupts: AtomicU32::new(0),
            ticks: AtomicU64::new(0),
            periodic: AtomicBool::new(false),
            caught_at: AtomicU64::new(0),
            stack: AtomicU64::new(0),
            barrier: Request::new(),
            flush: Request::new(),
            expected: AtomicBool::new(false),
            started: AtomicBool::new(false),
            stop: AtomicBool::new(false),
        }
    }

    /// The CPU's number.
    pub fn number(&self) -> usize {
        self.number
    }

    /// The identifier of its local APIC.
    pub fn apic_id(&self) -> u32 {
        self.apic_id.load(Ordering::Relaxed)
    }

    /// The address, on the stack of its handler, of the registers of the last exception that the CPU
    /// [caught](super::catch::catch); 0 if it has caught none.
    pub fn caught_at(&self) -> u64 {
        self.caught_at.load(Ordering::Relaxed)
    }

    /// Memory barriers that it has passed because others asked for them.
    pub fn barriers_passed(&self) -> u64 {
        self.barrier.answers()
    }

    /// Interrupts of its timer so far.
    pub fn ticks(&self) -> u64 {
        self.ticks.load(Ordering::Relaxed)
    }
}
