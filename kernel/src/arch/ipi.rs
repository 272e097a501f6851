//! What CPUs ask of each other: to pass a memory barrier, to forget translations, to look for work, to stop.
//!
//! A CPU that asks counts up what is asked of the other, interrupts it and waits for the count of answers to follow. The one
//! that is asked answers in the handler, or, while it waits with interrupts masked, in [`relax`]: two CPUs that ask each
//! other must not wait for each other.

use super::local::{self, Local, halt};
use super::request::Request;
use super::{apic, clock, online, vectors};
use core::hint;
use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};
use core::time::Duration;
use x86_64::VirtAddr;
use x86_64::instructions::interrupts::without_interrupts;
use x86_64::instructions::tlb;
use x86_64::structures::paging::Page;

/// From more pages on the whole TLB is flushed (Linux: `tlb_single_page_flush_ceiling`).
const FLUSHED_ONE_BY_ONE: u64 = 33;

/// Answers what other CPUs ask of this one.
pub(crate) fn answer() {
    without_interrupts(|| {
        let local = local::local();
        local.barrier.answer(|| fence(Ordering::SeqCst));
        local.flush.answer(|| Pages::asked_for().forget());
    });
}

/// To be called again and again by whoever waits for another CPU, perhaps with interrupts masked.
pub fn relax() {
    answer();
    hint::spin_loop();
}

/// Asks all other CPUs that run, and returns once each has answered, or was given up.
fn ask_all(request: impl Fn(&Local) -> &Request, mut give_up: impl FnMut(usize) -> bool) {
    let own = local::current();
    let mut tickets = [0; local::MAX_CPUS];
    for cpu in online::online().filter(|&cpu| cpu != own) {
        tickets[cpu] = request(local::of(cpu)).ask();
        apic::interrupt(local::of(cpu).apic_id(), vectors::REQUEST);
    }
    for (cpu, ticket) in tickets.into_iter().enumerate().filter(|&(_, ticket)| ticket != 0) {
        // A CPU that is stopped meanwhile has passed all barriers and remembers nothing.
        while !request(local::of(cpu)).is_answered(ticket) && online::is_online(cpu) && !give_up(cpu) {
            relax();
        }
    }
}

/// How long another CPU is waited for that does not answer: this kernel's all do, in microseconds, unless a hypervisor has other
/// things run.
const PATIENCE: Duration = Duration::from_secs(1);

/// Makes every other CPU that runs pass a full memory barrier before this returns (Linux: `membarrier`); each that was not seen to
/// is `missed`.
pub fn try_synchronize(missed: &mut dyn FnMut(usize)) {
    // What came before must be seen by whoever is not running yet, and so is not asked.
    fence(Ordering::SeqCst);
    let deadline = clock::uptime() + PATIENCE;
    let is_missed = |cpu| {
        let is_late = clock::uptime() > deadline;
        if is_late {
            missed(cpu);
        }
        is_late
    };
    ask_all(|cpu| &cpu.barrier, is_missed);
}

/// Pages that are not mapped any more as they were.
struct Pages {
    first: u64,
    pages: u64,
}

/// Held by a CPU that has others flush their TLBs: what they are to forget stands in one place.
static FLUSHING: AtomicBool = AtomicBool::new(false);
static FIRST: AtomicU64 = AtomicU64::new(0);
static PAGES: AtomicU64 = AtomicU64::new(0);

impl Pages {
    /// The pages that the CPU that holds [`FLUSHING`] wants forgotten.
    fn asked_for() -> Self {
        Self { first: FIRST.load(Ordering::Relaxed), pages: PAGES.load(Ordering::Relaxed) }
    }

    /// Has this CPU's TLB forget them, and every table on the way to them.
    fn forget(&self) {
        if self.pages > FLUSHED_ONE_BY_ONE {
            tlb::flush_all();
        } else {
            (0..self.pages).for_each(|nth| tlb::flush(VirtAddr::new(self.first) + nth * 4096));
        }
    }
}

/// Makes sure that no CPU's TLB remembers these pages, which have just been unmapped, nor any table on the way to them
/// (a TLB shootdown).
///
/// Waits for the other CPUs, so not to be called with a lock held.
pub fn flush(first: Page, pages: u64) {
    let forgotten = Pages { first: first.start_address().as_u64(), pages };
    forgotten.forget();
    if online::online().count() < 2 {
        return;
    }
    // Masked, or an interrupt handler that unmaps something would wait for what it interrupted.
    without_interrupts(|| {
        while FLUSHING.swap(true, Ordering::Acquire) {
            relax();
        }
        FIRST.store(forgotten.first, Ordering::Relaxed);
        PAGES.store(forgotten.pages, Ordering::Relaxed);
        ask_all(|cpu| &cpu.flush, |_| false);
        FLUSHING.store(false, Ordering::Release);
    });
}

/// The CPU that dies and takes the others with it; [`NOBODY`] as long as all is well.
static DYING: AtomicUsize = AtomicUsize::new(NOBODY);
const NOBODY: usize = usize::MAX;
/// The CPUs that have stopped for it, a bit each.
static STOPPED: AtomicU64 = AtomicU64::new(0);
/// Stops all other CPUs for good, whatever they are at: for a CPU that has a last report to make. Returns only on the first
/// CPU that calls it, when they have stopped, or cannot be stopped (Linux: `nmi_shootdown_cpus`).
pub(crate) fn stop_others() {
    let own = local::current();
    match DYING.compare_exchange(NOBODY, own, Ordering::SeqCst, Ordering::SeqCst) {
        Ok(_) => {}
        // Something went wrong in the report.
        Err(dying) if dying == own => return,
        Err(_) => stop(),
    }
    let mut asked = 0;
    for cpu in online::online().filter(|&cpu| cpu != own) {
        apic::interrupt_unmaskably(local::of(cpu).apic_id());
        asked |= 1 << cpu;
    }
    clock::wait_for(PATIENCE, || STOPPED.load(Ordering::SeqCst) & asked == asked);
}

/// Whether another CPU wants this one to stop: what a non-maskable interrupt asks first.
pub(crate) fn obey_stop() {
    if ![NOBODY, local::current()].contains(&DYING.load(Ordering::SeqCst)) {
        stop();
    }
}

fn stop() -> ! {
    STOPPED.fetch_or(1 << local::current(), Ordering::SeqCst);
    halt();
}
