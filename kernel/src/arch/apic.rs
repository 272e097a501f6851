//! Local APICs: each CPU's own interrupt controller, by which CPUs interrupt each other and themselves.
//!
//! The registers are the crate `x2apic`'s business; whether they are reached through memory (xAPIC) or as model-specific
//! registers (x2APIC) is the machine's. Without an APIC there is one CPU, without a timer. QEMU emulates x2APIC from 9.0 on.

use super::{local, vectors};
use core::arch::asm;
use core::cell::UnsafeCell;
use core::hint;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use x2apic::lapic::{LocalApic, LocalApicBuilder, TimerDivide, TimerMode, xapic_base};
use x86_64::instructions::interrupts::without_interrupts;
use x86_64::registers::model_specific::Msr;
use x86_64::{PhysAddr, VirtAddr};

/// The local vector table's entries for the two pins that each local APIC has: offset of the register in memory, which as a
/// model-specific register has the number `0x800 + offset / 16`.
const PIN_0: u64 = 0x350;
const PIN_1: u64 = 0x360;
/// Such an entry that lets nothing in.
const MASKED: u32 = 1 << 16;
/// Such an entry for the 8259 controllers, which give the vector themselves.
const EXTERNAL: u32 = 0b111 << 8;
/// Such an entry for the machine's non-maskable interrupt.
const NON_MASKABLE: u32 = 0b100 << 8;

/// Where the registers are mapped; 0 in x2APIC mode, and before [`init`].
static REGISTERS: AtomicU64 = AtomicU64::new(0);
static X2APIC: AtomicBool = AtomicBool::new(false);

/// Each CPU's local APIC.
static APICS: [Slot; local::MAX_CPUS] = [const { Slot(UnsafeCell::new(None)) }; local::MAX_CPUS];

struct Slot(UnsafeCell<Option<LocalApic>>);

// SAFETY: each CPU uses the slot of its own number alone, with interrupts masked.
unsafe impl Sync for Slot {}

/// Runs `f` on this CPU's local APIC; `None` if it has none.
fn with<R>(f: impl FnOnce(&mut LocalApic) -> R) -> Option<R> {
    without_interrupts(|| {
        // SAFETY: the slot is this CPU's own, no interrupt comes in between, and `f` is not given the way back here.
        let slot = unsafe { &mut *APICS[local::current()].0.get() };
        slot.as_mut().map(f)
    })
}

/// Whether this CPU can have a local APIC.
fn is_there() -> bool {
    // Leaf 1, register EDX.
    core::arch::x86_64::__cpuid(1).edx >> 9 & 1 == 1
}

/// Makes the boot processor's local APIC ready: how all others are is known from then on. Its
/// registers are mapped by `map`, if they lie in memory. False if there is none, or no page to map it.
pub(crate) fn init(map: impl FnOnce(PhysAddr) -> Option<VirtAddr>) -> bool {
    if !is_there() {
        return false;
    }
    let x2apic = core::arch::x86_64::__cpuid(1).ecx >> 21 & 1 == 1;
    X2APIC.store(x2apic, Ordering::Relaxed);
    if !x2apic {
        // SAFETY: the CPU has a local APIC, and so the register with its address.
        let base = PhysAddr::new(unsafe { xapic_base() });
        let Some(registers) = map(base) else { return false };
        REGISTERS.store(registers.as_u64(), Ordering::Relaxed);
    }
    enable()
}

/// Enables the local APIC of the CPU that runs this, its timer at rest. False if that cannot be.
pub(crate) fn enable() -> bool {
    let built = LocalApicBuilder::new()
        .timer_vector(vectors::TIMER.into())
        .error_vector(vectors::ERROR.into())
        .spurious_vector(vectors::SPURIOUS.into())
        .timer_mode(TimerMode::OneShot)
        .timer_divide(TimerDivide::Div16)
        .timer_initial(0)
        .set_xapic_base(REGISTERS.load(Ordering::Relaxed))
        .build();
    let Ok(mut apic) = built else { return false };
    let own = local::local();
    without_interrupts(|| {
        // SAFETY: the registers are mapped, nobody else uses this CPU's, and all vectors have handlers.
        unsafe { apic.enable() };
        // SAFETY: the registers are mapped, and nobody else uses this CPU's.
        own.apic_id.store(unsafe { apic.id() }, Ordering::Relaxed);
        // The crate leaves both pins open, with a vector that none can have.
        set_pin(PIN_0, MASKED);
        set_pin(PIN_1, NON_MASKABLE);
        // SAFETY: the slot is this CPU's own.
        unsafe { *APICS[own.number()].0.get() = Some(apic) };
    });
    true
}

/// Lets the 8259 controllers' interrupts in through this CPU's first pin.
pub(crate) fn admit_external() {
    if is_enabled() {
        set_pin(PIN_0, EXTERNAL);
    }
}

fn set_pin(pin: u64, entry: u32) {
    if X2APIC.load(Ordering::Relaxed) {
        // SAFETY: in x2APIC mode that register is the pin's; what is written is a valid entry.
        unsafe { Msr::new(0x800 + (pin >> 4) as u32).write(entry.into()) };
    } else {
        let register = (REGISTERS.load(Ordering::Relaxed) + pin) as *mut u32;
        // SAFETY: `init` has mapped the registers, and that one is the pin's.
        unsafe { register.write_volatile(entry) };
    }
}

/// Whether this CPU's local APIC is in use.
pub fn is_enabled() -> bool {
    with(|_| ()).is_some()
}

/// How the registers are reached, for people.
pub fn mode() -> &'static str {
    match (is_enabled(), X2APIC.load(Ordering::Relaxed)) {
        (false, _) => "no APIC",
        (true, false) => "xAPIC",
        (true, true) => "x2APIC",
    }
}

/// The way in which commands name a local APIC of this number, which a table of the firmware's gives. `None` if they cannot:
/// in xAPIC mode a number has eight bits, and in both modes all ones stand for everybody.
pub(crate) fn id_of(number: u32) -> Option<u32> {
    if X2APIC.load(Ordering::Relaxed) {
        (number != u32::MAX).then_some(number)
    } else {
        (number < 0xff).then_some(number << 24)
    }
}

/// The number by which firmware calls that local APIC.
pub fn number_of(apic_id: u32) -> u32 {
    if X2APIC.load(Ordering::Relaxed) { apic_id } else { apic_id >> 24 }
}

/// Waits until the last command has left: there is room for one. The CPU that it is for sees what was written before.
fn command(send: impl FnOnce(&mut LocalApic)) {
    if X2APIC.load(Ordering::Relaxed) {
        // Unlike a store to the registers in memory, a write to those that are model-specific may overtake stores before it:
        // the other CPU would be interrupted before it can see what for (Linux: `weak_wrmsr_fence`).
        // SAFETY: fences have no effect but on order. Without `nomem` the compiler keeps to it too.
        unsafe { asm!("mfence", "lfence", options(nostack, preserves_flags)) };
    }
    with(|apic| {
        // SAFETY: reading the command register changes nothing. In x2APIC mode the bit is always clear.
        while unsafe { apic.get_ipi_delivery_status() } {
            hint::spin_loop();
        }
        send(apic);
    });
}

/// Interrupts another CPU.
pub(crate) fn interrupt(apic_id: u32, vector: u8) {
    // SAFETY: the vector has a handler, which may run at any time.
    command(|apic| unsafe { apic.send_ipi(vector, apic_id) });
}

/// Interrupts another CPU even where it masks interrupts.
pub(crate) fn interrupt_unmaskably(apic_id: u32) {
    // SAFETY: there is a handler for that, on a stack of its own.
    command(|apic| unsafe { apic.send_nmi(apic_id) });
}

/// Resets another CPU: it waits to be [started](start_at) then.
///
/// # Safety
/// Nothing is lost with what the CPU is at.
pub(crate) unsafe fn reset(apic_id: u32) {
    // SAFETY: by this function's contract.
    command(|apic| unsafe { apic.send_init_ipi(apic_id) });
}

/// Starts a CPU that was reset, in real mode at that page below 1 MiB. One that runs already does not heed it.
///
/// # Safety
/// There is code for it in that page.
pub(crate) unsafe fn start_at(apic_id: u32, page: u8) {
    // SAFETY: by this function's contract.
    command(|apic| unsafe { apic.send_sipi(page, apic_id) });
}

/// Acknowledges the interrupt that is being handled.
pub(crate) fn end_of_interrupt() {
    // SAFETY: an interrupt is being handled, and this is its only acknowledgement.
    with(|apic| unsafe { apic.end_of_interrupt() });
}

/// Has this CPU's timer run down from `count`; again and again if `periodic`. 0 stops it.
pub(crate) fn set_timer(count: u32, periodic: bool) {
    let mode = if periodic { TimerMode::Periodic } else { TimerMode::OneShot };
    // SAFETY: the timer's vector has a handler.
    with(|apic| unsafe {
        apic.set_timer_mode(mode);
        apic.set_timer_initial(count);
    });
}

/// Where this CPU's timer is.
pub(crate) fn timer() -> u32 {
    with(|apic| {
        if X2APIC.load(Ordering::Relaxed) {
            current_count()
        } else {
            // SAFETY: reading changes nothing.
            unsafe { apic.timer_current() }
        }
    })
    .unwrap_or(0)
}

/// The timer's register in x2APIC mode.
///
/// QEMU that counts instructions translates them in blocks, and knows the time only where a block ends. It sees to that for
/// the instructions that it takes for input and output, of which `rdmsr` is none: behind others of its block it ends QEMU
/// with "Bad icount read". After a load of SS, which the next instruction is not to be interrupted from, that one is a
/// block by itself. A processor does not care: what is loaded is what was there.
fn current_count() -> u32 {
    const CURRENT_COUNT: u32 = 0x839;
    let count: u32;
    // SAFETY: in x2APIC mode the register is there, and reading it changes nothing; SS is loaded with its own value.
    unsafe {
        asm!("mov {ss:x}, ss", "mov ss, {ss:x}", "rdmsr", ss = out(reg) _, in("ecx") CURRENT_COUNT, out("eax") count,
             out("edx") _, options(nomem, nostack, preserves_flags));
    }
    count
}
