//! Each CPU's timer: an interrupt after a while, or again and again.
//!
//! At rest unless somebody asks for it: a CPU that has nothing to do is not to be woken for the sake of a clock.

use super::trap::Trap;
use super::{apic, clock, local};
use core::mem;
use core::ptr;
use core::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
use core::time::Duration;

/// The timers' ticks in a second: all run off the same bus. 0 without a timer.
static RATE: AtomicU64 = AtomicU64::new(0);

/// What is called in each timer interrupt: a `fn(&mut Trap)`, or null.
static HOOK: AtomicPtr<()> = AtomicPtr::new(ptr::null_mut());

/// Measures the timer.
pub(crate) fn init() {
    const TIME: Duration = Duration::from_millis(10);
    apic::set_timer(u32::MAX, false);
    let (start, before) = (clock::uptime(), apic::timer());
    clock::wait(TIME);
    let ticks = u64::from(before - apic::timer());
    let time = clock::uptime() - start;
    apic::set_timer(0, false);
    RATE.store((u128::from(ticks) * 1_000_000_000 / time.as_nanos()) as u64, Ordering::Relaxed);
}

/// The timers' ticks in a second; 0 if there is none.
pub fn rate() -> u64 {
    RATE.load(Ordering::Relaxed)
}

/// Ticks of the timer in that time, at least one.
fn count(time: Duration) -> u32 {
    let ticks = time.as_nanos() * u128::from(rate()) / 1_000_000_000;
    u32::try_from(ticks).unwrap_or(u32::MAX).max(1)
}

/// Has the timer of the CPU that runs this interrupt it every `period`; with a period of zero, no more.
pub fn set_period(period: Duration) {
    local::local().periodic.store(!period.is_zero(), Ordering::Relaxed);
    apic::set_timer(if period.is_zero() { 0 } else { count(period) }, true);
}

/// Has the timer of the CPU that runs this interrupt it once, after `time`.
pub fn set_alarm(time: Duration) {
    local::local().periodic.store(false, Ordering::Relaxed);
    apic::set_timer(count(time), false);
}

/// As [`set_alarm`], unless the CPU is interrupted every [period](set_period) anyway.
pub(crate) fn set_alarm_unless_periodic(time: Duration) {
    if !local::local().periodic.load(Ordering::Relaxed) {
        set_alarm(time);
    }
}

/// Has every CPU call this in each interrupt of its timer, with what was interrupted. In an interrupt handler, so it must
/// not wait; other CPUs may still be inside the hook before for a moment.
pub fn set_hook(hook: Option<fn(&mut Trap)>) {
    HOOK.store(hook.map_or(ptr::null_mut(), |hook| hook as *mut ()), Ordering::Release);
}

/// The timer's interrupt.
pub(crate) fn tick(trap: &mut Trap) {
    local::local().ticks.fetch_add(1, Ordering::Relaxed);
    let hook = HOOK.load(Ordering::Acquire);
    if !hook.is_null() {
        // SAFETY: what is not null came out of such a pointer in `set_hook`.
        let hook: fn(&mut Trap) = unsafe { mem::transmute(hook) };
        hook(trap);
    }
}
