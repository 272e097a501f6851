//! Starting the other CPUs, one after the other, and stopping them.
//!
//! As Intel's manual has it (volume 3, "MP initialization"): a reset, 10 ms, the command to start, and once more if nothing
//! comes of it. A CPU that does not answer is left alone; the kernel runs on those that did.

use super::topology::{self, Topology, TopologyError};
use super::{given, segments, setup, trampoline, work};
use crate::arch::local::{self, MAX_CPUS, halt};
use crate::arch::{apic, clock, ipi, online, timer};
use crate::sync::Processor;
use bifolio::frame::FRAME_SIZE;
use bifolio::sync::Mutex;
use core::fmt;
use core::sync::atomic::Ordering;
use core::time::Duration;
use log::{info, warn};
use spin::Once;
use x86_64::VirtAddr;
use x86_64::instructions::{interrupts, tlb};
use x86_64::registers::control::{Cr3, Cr3Flags};
use x86_64::structures::paging::PhysFrame;

/// Pages of a CPU's stack.
const STACK_PAGES: u64 = 16;
/// How long a CPU may take from the command to start to its first sign of life.
const PATIENCE: Duration = Duration::from_millis(100);

/// What is known of the machine's CPUs.
static TOPOLOGY: Once<Result<Topology, TopologyError>> = Once::new();
/// The frame of the kernel's level 4 table, for CPUs that come from the trampoline's.
static TABLES: Once<(PhysFrame, Cr3Flags)> = Once::new();
/// Each CPU's stack, once it has one.
static STACKS: [Once<VirtAddr>; MAX_CPUS] = [const { Once::new() }; MAX_CPUS];
/// One CPU is started at a time.
static STARTING: Mutex<(), Processor> = Mutex::new("start of a CPU", ());

/// Why a CPU does not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartError {
    /// The local APIC of the CPU that should start it is not in use.
    NoApic,
    /// No command can name a local APIC of its number, in the mode that they are in.
    NoName,
    /// There is no page below 1 MiB for it to start in.
    NoLowMemory,
    /// There is no memory for its stacks.
    NoMemory,
    /// It does not answer.
    Silent,
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoApic => "there is no local APIC to start it with",
            Self::NoName => "no command can name its local APIC",
            Self::NoLowMemory => "there is no free memory below 1 MiB for it to start in",
            Self::NoMemory => "there is no memory for its stacks",
            Self::Silent => "it does not answer",
        })
    }
}

impl core::error::Error for StartError {}

/// Takes note of the machine's CPUs. How many of them there can be.
pub(crate) fn discover(root_pointer: Option<u64>) -> usize {
    let topology = TOPOLOGY.call_once(|| topology::read(root_pointer));
    topology.as_ref().map_or(1, |topology| topology.apic_ids().len())
}

/// How many CPUs firmware lists, those beyond [`MAX_CPUS`] among them; `None` if it has no list that can be believed.
pub fn listed() -> Option<usize> {
    let topology = TOPOLOGY.get()?.as_ref().ok()?;
    Some(topology.apic_ids().len() + topology.surplus)
}

/// Starts all CPUs that firmware tells of, and says in the log how that went.
pub(super) fn init() {
    clock::init();
    TABLES.call_once(Cr3::read);
    if !apic::init(|registers| given::memory()?.map_device(registers)) {
        warn!("one CPU: it has no local APIC that can be used");
        return;
    }
    apic::admit_external();
    timer::init();
    info!("CPU 0: {}, timer at {} kHz", apic::mode(), timer::rate() / 1000);
    let topology = match TOPOLOGY.get() {
        Some(Ok(topology)) => topology,
        Some(Err(error)) => return warn!("one CPU: {error}"),
        None => return,
    };
    if topology.surplus > 0 {
        warn!("{} CPUs are left alone: {MAX_CPUS} are the most", topology.surplus);
    }
    let own = apic::number_of(local::local().apic_id());
    let others = topology.apic_ids().iter().filter(|&&number| number != own);
    for &apic_number in others.take(MAX_CPUS - 1) {
        // The numbers have no holes: a CPU that does not answer leaves its own to the next.
        if let Err(error) = add(apic_number) {
            warn!("the CPU with local APIC {apic_number} is left alone: {error}");
        }
    }
    if online::count() > 1 {
        info!("{} CPUs run", online::count());
    }
}

/// Starts the CPU with that local APIC as the one of that number.
fn start_as(number: usize, apic_id: u32) -> Result<(), StartError> {
    if !apic::is_enabled() {
        return Err(StartError::NoApic);
    }
    let stack = *STACKS[number].try_call_once(|| stack().ok_or(StartError::NoMemory))?;
    // Waits for memory, which nobody may with the lock held.
    segments::task(number).ok_or(StartError::NoMemory)?;
    // Held for so long that interrupts cannot be masked meanwhile; no handler takes it.
    let _one_at_a_time = STARTING.lock();
    // SAFETY: one CPU is started at a time, and none of that number runs.
    unsafe { segments::prepare(number) };
    // SAFETY: one CPU is started at a time, and its stack is its own. It is reset before it starts, and was not running or
    // has stopped.
    let page = unsafe { trampoline::prepare(number, stack, enter) }.ok_or(StartError::NoLowMemory)?;
    let cpu = local::of(number);
    cpu.apic_id.store(apic_id, Ordering::Relaxed);
    cpu.expected.store(true, Ordering::SeqCst);
    // SAFETY: the CPU was not running or has stopped, and the page that it starts in is prepared for it.
    unsafe { apic::reset(apic_id) };
    clock::wait(Duration::from_millis(10));
    let arrived = (0..2).any(|_| {
        // SAFETY: the trampoline is in that page.
        unsafe { apic::start_at(apic_id, page) };
        clock::wait_for(PATIENCE, || online::is_online(number))
    });
    if arrived {
        return Ok(());
    }
    if !cpu.expected.swap(false, Ordering::SeqCst) {
        // It has just come after all, and has nothing more to do before it runs.
        while !online::is_online(number) {
            ipi::relax();
        }
        return Ok(());
    }
    // It must not come later, when the trampoline has another CPU's number, or another CPU has this one's.
    // SAFETY: whatever it is at, nothing depends on it yet: it finds itself not expected, and goes no further.
    unsafe { apic::reset(apic_id) };
    Err(StartError::Silent)
}

/// A stack with a guard page below it: its end.
pub(super) fn stack() -> Option<VirtAddr> {
    let start = given::memory()?.stack(STACK_PAGES)?;
    Some(VirtAddr::from_ptr(start.as_ptr()) + STACK_PAGES * FRAME_SIZE)
}

/// Whether a CPU of that number runs, or did once.
pub fn was_started(cpu: usize) -> bool {
    cpu == 0 || local::of(cpu).started.load(Ordering::Relaxed)
}

/// Where a CPU arrives from the trampoline.
extern "C" fn enter(number: usize) -> ! {
    let (frame, flags) = *TABLES.get().expect("the tables were noted before any CPU was started");
    // SAFETY: these are the kernel's own tables, which map this code and this stack like those that are in force.
    unsafe { Cr3::write(frame, flags) };
    // SAFETY: whoever started this CPU has given it a number that no other has, and prepared its segments.
    unsafe { setup::init_as(number) };
    if !apic::enable() {
        // Nobody could wake it.
        halt();
    }
    let own = local::local();
    if !own.expected.swap(false, Ordering::SeqCst) {
        // Too late: whoever started this CPU has given up.
        halt();
    }
    // The reset has stopped its timer.
    own.periodic.store(false, Ordering::Relaxed);
    own.started.store(true, Ordering::Relaxed);
    online::set_online(number, true);
    // What was unmapped before is not asked for any more.
    tlb::flush_all();
    // Whoever has asked before this CPU last stopped, and has not noticed that it did, still waits: the interrupt is lost.
    ipi::answer();
    interrupts::enable();
    // Others may wait for it from here on, so that it can take part in what needs them all.
    given::memory().into_iter().for_each(|memory| memory.prepare_cpu());
    while !own.stop.swap(false, Ordering::Acquire) {
        work::wait();
    }
    interrupts::disable();
    online::set_online(number, false);
    halt()
}

/// Stops a CPU once it has done its work, for good or until it is [started](start) again: it sleeps and hears nothing.
///
/// # Panics
/// If it is the calling CPU, the boot processor, or does not run.
pub fn stop(cpu: usize) {
    assert!(cpu != 0 && cpu != local::current() && online::is_online(cpu), "CPU {cpu} cannot be stopped");
    local::of(cpu).stop.store(true, Ordering::Release);
    while online::is_online(cpu) {
        work::wake(cpu);
        ipi::relax();
    }
}

/// Starts a CPU again that was [stopped](stop). Waits for some 10 ms.
///
/// # Errors
/// [`StartError`], if it does not run now.
///
/// # Panics
/// If it runs, or never did.
pub fn start(cpu: usize) -> Result<(), StartError> {
    assert!(was_started(cpu) && !online::is_online(cpu), "CPU {cpu} is not stopped");
    start_as(cpu, local::of(cpu).apic_id())
}

/// Starts one more CPU, which firmware may not have told of: the one whose local APIC has that number. Its own number is the
/// next that was never used. Waits for some 10 ms, or for a fraction of a second if nobody answers.
///
/// # Errors
/// [`StartError`], if it does not run now.
///
/// # Panics
/// If that CPU is known already, or [`MAX_CPUS`] are.
pub fn add(apic_number: u32) -> Result<usize, StartError> {
    let apic_id = apic::id_of(apic_number).ok_or(StartError::NoName)?;
    let mut known = (0..MAX_CPUS).filter(|&cpu| was_started(cpu));
    assert!(!known.any(|cpu| local::of(cpu).apic_id() == apic_id), "the CPU with local APIC {apic_number} is known");
    let number = (0..MAX_CPUS).find(|&cpu| !was_started(cpu)).expect("there is room for one more CPU");
    start_as(number, apic_id).map(|()| number)
}
