//! The little that the allocator has to know of the machine.

use core::fmt;
use core::time::Duration;

use crate::frame::PfnRange;

/// What the allocator must be able to ask of the processor that it runs on.
///
/// # Safety
///
/// No two CPUs that use one allocator or heap at the same time have the same [number](Self::current), unless it is beyond its
/// arenas; where that cannot be told, the type is not `Sync`. [`synchronize`](Self::synchronize) and
/// [`without_interrupts`](Self::without_interrupts) do what they say. The heap hands memory out by that: two CPUs of one
/// number would be given the same.
pub unsafe trait Cpu {
    /// The number of the CPU that this runs on: its place in the arenas. Beyond them, it has none.
    ///
    /// Called with interrupts masked, so that the code is still on that CPU when it uses the number.
    fn current() -> usize;

    /// Makes every other CPU that runs this program pass a full memory barrier before this returns.
    ///
    /// An interrupt to all others does that, and on Linux the system call `membarrier`. With one CPU there is nothing to
    /// do. Called without any lock held, and hardly ever: when memory is short.
    fn synchronize();

    /// Runs `critical` with interrupts masked, and restores their state behind it.
    ///
    /// A lock that an interrupt handler may take is only taken inside, or the handler would wait for the code that it
    /// interrupted. On a host, where no interrupts are, this just calls.
    fn without_interrupts<R>(critical: impl FnOnce() -> R) -> R;

    /// Fills frames with zeros, for [`Gfp::ZERO`](crate::frame::Gfp::ZERO). The allocator itself never touches memory.
    ///
    /// By default it says that it cannot: `false`, and requests for zeroed frames are refused.
    ///
    /// # Safety
    /// The frames are RAM, and the caller's alone.
    unsafe fn zero(frames: PfnRange) -> bool {
        let _ = frames;
        false
    }

    /// The time since any fixed moment, by which reports of refused requests are rationed. Zero by default: then there is
    /// one report and no more.
    fn uptime() -> Duration {
        Duration::ZERO
    }

    /// Shows the report of a refused request. Called without a lock held, in the middle of that request: so not to
    /// allocate. Does nothing by default.
    fn report(failure: &dyn fmt::Display) {
        let _ = failure;
    }
}
