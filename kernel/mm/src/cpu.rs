//! The little that the crate has to know of the machine.

use core::fmt;
use core::hint;
use core::time::Duration;

use crate::frame::PfnRange;

/// A lock, to those who look on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lock {
    /// What the lock guards. All locks that guard things of one kind, such as the same part of several heaps, share a name:
    /// what is found of the order of one is true of all.
    pub name: &'static str,
    /// What tells the lock from all others there are.
    pub address: usize,
}

/// How a lock is taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Acquire {
    /// Whoever has it is waited for.
    Wait,
    /// Only if nobody has it: nothing can wait for each other so.
    Try,
}

/// What the allocator must be able to ask of the processor that it runs on.
///
/// # On several CPUs
///
/// With inter-processor interrupts, what is not trivial looks like this. Two CPUs may ask each other at once, each with
/// interrupts masked, so whoever waits answers meanwhile.
///
/// ```
/// use bifolio::cpu::{Cpu, Hooks};
/// use core::hint;
/// use core::sync::atomic::{AtomicU64, Ordering, fence};
/// # fn per_cpu_number() -> usize { 0 }
/// # fn online() -> impl Iterator<Item = usize> { 0..1 }
/// # fn interrupt(cpu: usize) {}
///
/// const CPUS: usize = 8;
/// /// For each CPU, how many barriers others have asked of it, and how many of those it has passed.
/// static ASKED: [AtomicU64; CPUS] = [const { AtomicU64::new(0) }; CPUS];
/// static PASSED: [AtomicU64; CPUS] = [const { AtomicU64::new(0) }; CPUS];
///
/// /// What the handler of that interrupt does, before anything that could wait.
/// fn answer() {
///     let own = per_cpu_number();
///     let asked = ASKED[own].load(Ordering::Acquire);
///     fence(Ordering::SeqCst);
///     PASSED[own].fetch_max(asked, Ordering::Release);
/// }
///
/// struct Processor;
/// // SAFETY: each CPU has a number of its own; `synchronize` waits until all others have passed a barrier, and passes one;
/// // interrupts are masked where that is asked for.
/// unsafe impl Cpu for Processor {
///     fn current() -> usize {
///         per_cpu_number() // such as a word at the GS base
///     }
///
///     fn synchronize() {
///         fence(Ordering::SeqCst);
///         let own = per_cpu_number();
///         let mut tickets = [0; CPUS];
///         for cpu in online().filter(|&cpu| cpu != own) {
///             tickets[cpu] = ASKED[cpu].fetch_add(1, Ordering::SeqCst) + 1;
///             interrupt(cpu);
///         }
///         for cpu in online().filter(|&cpu| cpu != own) {
///             while PASSED[cpu].load(Ordering::Acquire) < tickets[cpu] {
///                 Self::relax();
///             }
///         }
///     }
///
///     fn without_interrupts<R>(critical: impl FnOnce() -> R) -> R {
///         critical() // x86_64::instructions::interrupts::without_interrupts(critical)
///     }
/// }
///
/// impl Hooks for Processor {
///     fn relax() {
///         answer();
///         hint::spin_loop();
///     }
/// }
/// ```
///
/// - Interrupt handlers may allocate and free, with flags that do not wait. Non-maskable ones must do neither: they come where
///   interrupts are masked.
/// - A CPU that cannot tell its number yet says one beyond those that have pages, such as `usize::MAX`: zones serve it, and
///   the heap from the one that all share.
/// - One that idles calls [`decay`](crate::allocator::PageAllocator::decay) and
///   [`retire_cpu`](crate::heap::Heap::retire_cpu), so that others can have what it holds. For one that stops,
///   [`drain`](crate::allocator::PageAllocator::drain) in place of the former.
/// - [`low_memory`](Hooks::low_memory) wakes whoever calls [`balance`](crate::allocator::PageAllocator::balance).
///
/// # Safety
///
/// No two CPUs that use one allocator or heap at the same time have the same [number](Self::current), unless it is beyond those
/// that have pages and an arena; where that cannot be told, the type is not `Sync`. [`synchronize`](Self::synchronize) and
/// [`without_interrupts`](Self::without_interrupts) do what they say, and [`zero`](Self::zero) leaves zeros where it says
/// `true`. Memory is handed out by that: two CPUs of one number would be given the same. And of the type's [`Hooks`], those that
/// may be called in the middle of an allocation neither allocate nor free: [`relax`](Hooks::relax),
/// [`acquire`](Hooks::acquire) and [`release`](Hooks::release).
pub unsafe trait Cpu: Hooks {
    /// The number of the CPU that this runs on: its place among the pages and the heap's arenas. Beyond them, it has none.
    ///
    /// Called with interrupts masked, so that the code is still on that CPU when it uses the number.
    fn current() -> usize;

    /// Makes every CPU that runs this program pass a full memory barrier before this returns: this one before it asks, each
    /// other behind that.
    ///
    /// An interrupt to all others does that, and on Linux the system call `membarrier`. With one CPU there is nothing to do.
    /// Called when memory is short, and by what looks at a heap as a whole: its reports, `validate`, `shrink`.
    ///
    /// Maybe with interrupts masked, and on several CPUs at once. No other CPU waits without end for a lock that is held here, but
    /// one may wait for this CPU's barrier: so where CPUs answer by interrupts, who waits in here answers as
    /// [`relax`](Hooks::relax) does.
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
}

/// What a CPU may do for the crate, and learn from it. Each does nothing, or little, unless it is written anew.
///
/// ```
/// use bifolio::cpu::Hooks;
///
/// struct Machine;
/// impl Hooks for Machine {}
/// ```
pub trait Hooks {
    /// Called again and again while this CPU waits for another: for a lock, or until it has left its pages. Maybe with
    /// interrupts masked, and with locks held: so not to allocate or free.
    ///
    /// A kernel whose CPUs [synchronize](Cpu::synchronize) by interrupts must answer here to those that wait meanwhile for this
    /// one, since it may have masked them: else two may wait for each other for ever. By default it tells the processor that
    /// this is a loop that waits.
    #[inline(always)]
    fn relax() {
        hint::spin_loop();
    }

    /// Learns that this CPU is about to take a lock: to wait for it, or, once a try has succeeded, that it has it.
    ///
    /// For who checks that locks are always taken in one order, and with interrupts masked (Linux: `lock_acquire`). It must
    /// neither allocate nor free, nor take a lock of the allocator or the heap. Does nothing by default, which costs nothing.
    #[inline(always)]
    fn acquire(lock: &Lock, how: Acquire) {
        let _ = (lock, how);
    }

    /// Learns that this CPU has just let a lock go (Linux: `lock_release`). As [`acquire`](Self::acquire) in all else.
    #[inline(always)]
    fn release(lock: &Lock) {
        let _ = lock;
    }

    /// Learns that a request begins whose flags let it [wait](crate::frame::Gfp::WAIT), whether or not it then has to; only
    /// where debug assertions are on.
    ///
    /// For who checks that nobody waits who must not, such as an interrupt handler (Linux: `might_alloc`). Does nothing by
    /// default.
    #[inline(always)]
    fn might_wait() {}

    /// Learns that a request, or the refill of a CPU's pages, found no zone that may give it frames and stays above its `low` mark:
    /// time to [reclaim memory in the background](crate::allocator::PageAllocator::balance) (Linux: `wakeup_kswapd`).
    ///
    /// Called for each such request, with no lock held but maybe with interrupts masked by the caller: to take note, and not
    /// to allocate or wait. Does nothing by default.
    #[inline(always)]
    fn low_memory() {}

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
