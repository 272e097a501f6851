//! A CPU of the crate's, whose barriers others ask for by an interrupt: what a kernel for several of them has to write.

use core::arch::asm;
use core::sync::atomic::{AtomicUsize, Ordering, fence};

use bifolio::cpu::{Cpu, Hooks};
use bifolio::kernel::{Interrupts, X86};
use bifolio::sync::Barriers;
use x86_64::VirtAddr;
use x86_64::instructions::port::Port;
use x86_64::registers::model_specific::GsBase;
use x86_64::structures::idt::{InterruptDescriptorTable, InterruptStackFrame};

use crate::{CPUS, OTHER_STACK};

/// A CPU. Its number is the word at its GS base, and its local APIC's.
pub(crate) struct Processor;

static NUMBERS: [usize; CPUS] = [0, 1, 2, 3];
static BARRIERS: Barriers<CPUS> = Barriers::new();
/// How many CPUs can be interrupted, the first ones.
static ONLINE: AtomicUsize = AtomicUsize::new(0);

// SAFETY: each CPU has a number of its own, which nothing changes; each other one that runs is interrupted for a barrier, and waited
// for; interrupts are masked where that is asked for.
unsafe impl Cpu for Processor {
    #[inline(always)]
    fn current() -> usize {
        let number;
        // SAFETY: the word at the GS base is a place of `NUMBERS`, from `begin` on.
        unsafe { asm!("mov {}, gs:[0]", out(reg) number, options(nostack, preserves_flags, pure, readonly)) };
        number
    }

    // This kernel has no lock of its own that a CPU could wait for with interrupts masked: each answers, and is waited for.
    fn synchronize() {
        fence(Ordering::SeqCst);
        let own = Self::current();
        let others = (0..ONLINE.load(Ordering::SeqCst)).filter(|cpu| *cpu != own);
        BARRIERS.ask::<Self>(others, |cpu| interrupt(cpu, VECTOR.into()), || false, &mut |_| {});
    }

    #[inline(always)]
    fn mask_interrupts() -> bool {
        X86::mask()
    }

    #[inline(always)]
    fn restore_interrupts(were_enabled: bool) {
        X86::restore(were_enabled);
    }
}

impl Hooks for Processor {
    fn relax() {
        BARRIERS.answer(Self::current());
        core::hint::spin_loop();
    }
}

/// The vector of the interrupt that asks for a barrier, and that of one that comes to nobody.
const VECTOR: u8 = 0x40;
const SPURIOUS: u8 = 0xff;

/// Registers of the local APIC, of each CPU its own: its number, where the end of an interrupt is told, whether it is on, and what
/// interrupts it sends.
const NUMBER: usize = 0x20;
const END: usize = 0xb0;
const ON: usize = 0xf0;
const COMMAND: usize = 0x300;

fn register(offset: usize) -> *mut u32 {
    (0xfee0_0000 + offset) as *mut u32
}

fn read(offset: usize) -> u32 {
    // SAFETY: it is a register of the local APIC, and nothing of it is memory.
    unsafe { register(offset).read_volatile() }
}

fn write(offset: usize, value: u32) {
    // SAFETY: it is a register of the local APIC, and nothing of it is memory.
    unsafe { register(offset).write_volatile(value) };
}

/// Sends an interrupt to another CPU, once the last one has gone. Nothing comes in between that sends another.
fn interrupt(cpu: usize, command: u32) {
    const PENDING: u32 = 1 << 12;
    Processor::without_interrupts(|| {
        while read(COMMAND) & PENDING != 0 {}
        write(COMMAND + 0x10, (cpu as u32) << 24);
        write(COMMAND, command);
    });
}

extern "x86-interrupt" fn asked(_: InterruptStackFrame) {
    BARRIERS.answer(Processor::current());
    write(END, 0);
}

extern "x86-interrupt" fn spurious(_: InterruptStackFrame) {}

static mut TABLE: InterruptDescriptorTable = InterruptDescriptorTable::new();

/// What is done once, before any CPU [begins](begin).
pub(crate) fn prepare() {
    // SAFETY: nothing else looks at the table yet; nothing is to come of these two controllers, whose vectors are exceptions' here.
    unsafe {
        let table = &raw mut TABLE;
        let table = &mut *table;
        table[VECTOR].set_handler_fn(asked);
        table[SPURIOUS].set_handler_fn(spurious);
        [0x21, 0xa1].into_iter().for_each(|port| Port::<u8>::new(port).write(0xff));
    }
}

/// Has this CPU take interrupts, before it allocates.
pub(crate) fn begin() {
    let own = (read(NUMBER) >> 24) as usize;
    GsBase::write(VirtAddr::from_ptr(&NUMBERS[own]));
    let table = &raw const TABLE;
    // SAFETY: the table stays as it was prepared.
    unsafe { (*table).load() };
    write(ON, 1 << 8 | u32::from(SPURIOUS));
    X86::restore(true);
    ONLINE.fetch_add(1, Ordering::SeqCst);
    fence(Ordering::SeqCst);
}

/// Starts a CPU at the start of that page, with this stack, and waits until it has [begun](begin).
pub(crate) fn start(number: usize, page: u32, stack_end: usize) {
    const INIT: u32 = 0x4500;
    const STARTUP: u32 = 0x4600;
    OTHER_STACK.store(stack_end, Ordering::SeqCst);
    interrupt(number, INIT);
    // Some milliseconds: a write to that port takes about a microsecond.
    // SAFETY: nothing is there but a display of codes.
    (0..10_000).for_each(|_| unsafe { Port::<u8>::new(0x80).write(0) });
    interrupt(number, STARTUP | page);
    while ONLINE.load(Ordering::SeqCst) <= number {
        Processor::relax();
    }
}
