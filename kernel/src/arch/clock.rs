//! Time: how fast the time-stamp counter and the local APICs' timers tick.
//!
//! Nobody says, so both are measured against the one clock of every PC whose rate is fixed, the 8254's second channel. The
//! counter is taken to run at one rate on all CPUs and always, as it does on machines of the last fifteen years.

use core::hint;
use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;
use x86_64::instructions::interrupts::without_interrupts;
use x86_64::instructions::port::Port;

/// Ticks of the 8254 in a second.
const PIT_RATE: u64 = 1_193_182;
/// For how many of its ticks is measured: 10 ms.
const PIT_TICKS: u16 = 11_932;
/// Looks at the 8254 after which it is taken for absent: some seconds' worth.
const PATIENCE: u32 = 10_000_000;

/// The time-stamp counter's ticks in a second; until it is measured, one a nanosecond.
static RATE: AtomicU64 = AtomicU64::new(1_000_000_000);

/// Runs `f` for 10 ms by the 8254, and returns how long that was in ticks of the time-stamp counter; `None` if there is no
/// 8254.
fn ten_milliseconds() -> Option<u64> {
    const CHANNEL_2: u16 = 0x42;
    const COMMAND: u16 = 0x43;
    const CONTROL: u16 = 0x61;
    const GATE: u8 = 1 << 0;
    const SPEAKER: u8 = 1 << 1;
    const OUTPUT: u8 = 1 << 5;
    let (mut channel, mut command, mut control) =
        (Port::<u8>::new(CHANNEL_2), Port::<u8>::new(COMMAND), Port::<u8>::new(CONTROL));
    // SAFETY: these ports are the 8254's on every PC, and nobody else uses its second channel.
    unsafe {
        let idle = control.read() & !(GATE | SPEAKER);
        control.write(idle);
        // Channel 2, both bytes, mode 0: the output rises when the count is over.
        command.write(0b1011_0000);
        channel.write(PIT_TICKS as u8);
        channel.write((PIT_TICKS >> 8) as u8);
        control.write(idle | GATE);
        let start = time_stamp();
        let over = (0..PATIENCE).any(|_| control.read() & OUTPUT != 0);
        let ticks = time_stamp() - start;
        control.write(idle);
        over.then_some(ticks)
    }
}

/// Measures the time-stamp counter.
pub(crate) fn init() {
    let ticks = without_interrupts(ten_milliseconds);
    if let Some(rate) = ticks.map(|ticks| ticks * PIT_RATE / u64::from(PIT_TICKS)).filter(|&rate| rate > 0) {
        RATE.store(rate, Ordering::Relaxed);
    }
}

/// The time-stamp counter.
pub fn time_stamp() -> u64 {
    // SAFETY: every x86_64 CPU has the instruction, and the kernel never forbids it to itself.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// The time since the machine was switched on.
pub fn uptime() -> Duration {
    let (ticks, rate) = (time_stamp(), RATE.load(Ordering::Relaxed));
    Duration::new(ticks / rate, (u128::from(ticks % rate) * 1_000_000_000 / u128::from(rate)) as u32)
}

/// Waits without doing anything else, for as long as hardware wants to be waited for.
pub(crate) fn wait(time: Duration) {
    wait_for(time, || false);
}

/// Waits until something holds, at most so long. Whether it does.
pub(crate) fn wait_for(time: Duration, mut holds: impl FnMut() -> bool) -> bool {
    let end = uptime() + time;
    loop {
        if holds() {
            return true;
        }
        if uptime() >= end {
            return holds();
        }
        hint::spin_loop();
    }
}
