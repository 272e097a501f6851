//! Work for CPUs: what each runs besides interrupts.
//!
//! There are no threads here. A CPU is given a function, runs it to its end, with interrupts enabled, and waits for the
//! next. The boot processor runs the boot and the shell, and takes work while it waits for a key.

use super::given::{self, IdleWork};
use crate::arch::local::{self, MAX_CPUS};
use crate::arch::{apic, ipi, vectors};
use crate::sync::lockdep;
use core::ptr;
use core::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering};
use x86_64::instructions::interrupts as masking;

pub use crate::arch::online::{count, is_online, online};

/// The CPUs that sleep, or are about to, a bit each.
static IDLE: AtomicU64 = AtomicU64::new(0);

/// Work for one or more CPUs. Lies on the stack of whoever waits for it.
#[derive(Debug)]
struct Job {
    work: *const (dyn Fn(usize) + Sync),
    /// How many CPUs have not finished it.
    left: AtomicUsize,
}

/// Work that others have for each CPU, or null; whoever puts some here finds null first.
static JOBS: [AtomicPtr<Job>; MAX_CPUS] = [const { AtomicPtr::new(ptr::null_mut()) }; MAX_CPUS];

/// Runs `work` on the first `cpus` CPUs that run, all at once, each with its number; returns when all have finished. The
/// calling CPU does its share if it is among them.
///
/// Waits, so not to be called in an interrupt handler or with a lock held. One of these at a time, or the second waits for
/// CPUs that are at work; work that itself asks for CPUs which wait for it never ends.
pub fn on_cpus(cpus: usize, work: &(dyn Fn(usize) + Sync)) {
    run(online().take(cpus), work);
}

/// As [`on_cpus`], on a single CPU.
///
/// # Panics
/// If that CPU does not run.
pub fn on(cpu: usize, work: &(dyn Fn(usize) + Sync)) {
    assert!(is_online(cpu), "CPU {cpu} does not run");
    run(core::iter::once(cpu), work);
}

fn run(cpus: impl Iterator<Item = usize> + Clone, work: &(dyn Fn(usize) + Sync)) {
    lockdep::might_sleep("waiting for work on CPUs");
    let own = local::current();
    let others = || cpus.clone().filter(|&cpu| cpu != own);
    // SAFETY: only forgets for how long `work` lives, and this function returns when nobody has the job any more.
    let work_for_ever: &'static (dyn Fn(usize) + Sync) = unsafe { core::mem::transmute(work) };
    let job = Job { work: work_for_ever, left: AtomicUsize::new(others().count()) };
    for cpu in others() {
        let slot = &JOBS[cpu];
        let job = (&raw const job).cast_mut();
        while slot.compare_exchange_weak(ptr::null_mut(), job, Ordering::AcqRel, Ordering::Relaxed).is_err() {
            ipi::relax();
        }
        wake(cpu);
    }
    if cpus.clone().any(|cpu| cpu == own) {
        work(own);
    }
    while job.left.load(Ordering::Acquire) > 0 {
        ipi::relax();
    }
}

/// Has a CPU that sleeps look around.
pub fn wake(cpu: usize) {
    apic::interrupt(local::of(cpu).apic_id(), vectors::REQUEST);
}

/// Has one of the CPUs that sleep look around, if any does: for what any CPU can do.
pub(crate) fn wake_idle() {
    let idle = IDLE.load(Ordering::SeqCst) & !(1 << local::current());
    if idle != 0 {
        wake(idle.trailing_zeros() as usize);
    }
}

/// Does the work that others have put here, if there is any. Whether there was.
pub(super) fn do_job() -> bool {
    let own = local::current();
    let job = JOBS[own].load(Ordering::Acquire);
    if job.is_null() {
        return false;
    }
    // SAFETY: whoever put the job here keeps it until `left` is 0, so it outlives the next lines but the last.
    let (work, left) = unsafe { (&*(*job).work, &(*job).left) };
    work(own);
    postpone_idle_work();
    // Room for the next comes before the end of this one, behind which the job is gone.
    JOBS[own].store(ptr::null_mut(), Ordering::Release);
    left.fetch_sub(1, Ordering::Release);
    true
}

fn is_idle_work_due() -> bool {
    given::idle_work().is_some_and(IdleWork::is_due)
}

fn run_idle_work() -> bool {
    given::idle_work().is_some_and(IdleWork::run)
}

/// The CPU that runs this has had something to do.
pub fn postpone_idle_work() {
    given::idle_work().into_iter().for_each(IdleWork::postpone);
}

/// What a CPU does that has nothing to do: waits for an interrupt, and does what came with it.
///
/// Called with interrupts enabled, returns after at least one interrupt, or some work.
pub fn wait() {
    wait_unless(|| false);
}

/// As [`wait`], but returns at once if that for which the CPU waits is there: looked at with interrupts masked, so that it
/// cannot come between the look and the sleep.
pub fn wait_unless(is_there: impl FnOnce() -> bool) {
    lockdep::might_sleep("waiting for an interrupt");
    if do_job() || run_idle_work() {
        return;
    }
    masking::disable();
    let own = local::local();
    // Said before the last look at what there is to do: whoever has something either is seen there, or sees this.
    IDLE.fetch_or(1 << own.number(), Ordering::SeqCst);
    let is_free = JOBS[own.number()].load(Ordering::Acquire).is_null() && !own.stop.load(Ordering::Relaxed);
    if is_free && !is_idle_work_due() && !is_there() {
        given::idle_work().into_iter().for_each(IdleWork::set_alarm);
        // One instruction enables interrupts and the next sleeps, with nothing in between: an interrupt that came since
        // the look above still wakes the CPU.
        masking::enable_and_hlt();
    } else {
        masking::enable();
    }
    IDLE.fetch_and(!(1 << own.number()), Ordering::SeqCst);
    // Whoever had something for any CPU may have woken this one, which may be busy with something else from here on.
    if is_idle_work_due() {
        run_idle_work();
    }
}
