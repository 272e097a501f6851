//! The little that the crate has to know of the machine.

use core::cell::Cell;
use core::fmt;
use core::hint;
use core::marker::PhantomData;
use core::time::Duration;

use crate::frame::{Gfp, PfnRange};

/// A lock, as [hooks](Hooks::acquire) see it that look on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(clippy::exhaustive_structs, reason = "hooks are told no more of it")]
pub struct Lock {
    /// What the lock guards. All locks that guard things of one kind, such as the same part of several heaps, share a name:
    /// what is found of the order of one is true of all.
    pub name: &'static str,
    /// What tells the lock from all others there are.
    pub address: usize,
}

/// How a lock is taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(clippy::exhaustive_enums, reason = "a lock is waited for, or it is not")]
pub enum Acquire {
    /// Whoever has it is waited for.
    Wait,
    /// Only if nobody has it: nothing can wait for each other so.
    Try,
}

/// How many calls are told of that have led to an operation, where that is recorded.
pub const CALLERS: usize = 16;

/// Where what a CPU has of its own begins in a table with room for each CPU: its number, checked and multiplied once and for all.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place(usize);

impl Place {
    /// How many CPUs have a place of their own. All others have one in common, behind those.
    pub(crate) const CPUS: usize = 127;
    /// Bytes from one place to the next: two cache lines.
    pub(crate) const STRIDE: usize = 128;

    /// The place of the CPU with this number.
    #[inline(always)]
    pub const fn of(cpu: usize) -> Self {
        let number = if cpu < Self::CPUS { cpu } else { Self::CPUS };
        Self(number * Self::STRIDE)
    }

    /// Where it begins, in bytes: a multiple of the stride, at most for as many CPUs as have one.
    #[cfg(feature = "heap")]
    #[inline(always)]
    pub(crate) const fn offset(self) -> usize {
        self.0
    }
}

/// What the allocator must be able to ask of the processor that it runs on.
///
/// # On several CPUs
///
/// With inter-processor interrupts, two things are not trivial. Two CPUs may ask each other at once, each with
/// interrupts masked, so a CPU that waits answers meanwhile. And a CPU may not answer at all: it spins, with interrupts masked,
/// for a lock of the kernel's own that the asking CPU holds. So the asking CPU waits a while and no longer, and says which CPUs
/// it did not hear of: it does without what those have.
///
/// [`Barriers`](crate::sync::Barriers) are that, and their documentation shows such a CPU. What is left to write is the interrupt:
/// how it is sent, and a handler that answers, on x86_64 by the local APIC, on aarch64 by an SGI of the interrupt controller.
///
/// On riscv64 behind SBI firmware there is less to write: a remote fence of firmware's interrupts each hart whatever that has masked,
/// answers for it, and returns once all have. So [`synchronize`](Self::synchronize) is a fence, that call and a fence, nobody is
/// missed, and there is no handler.
///
/// - Interrupt handlers may allocate and free, with flags that do not wait. Non-maskable ones must do neither: they come where
///   interrupts are masked.
/// - A CPU that cannot tell its number yet says one that is too large, such as `usize::MAX`: zones serve it without pages of its
///   own, and the heap from the arena that all share.
/// - One that idles calls [`decay`](crate::allocator::PageAllocator::decay) and
///   [`retire_cpu`](crate::heap::Heap::retire_cpu), so that others can have what it holds. For one that stops,
///   [`drain`](crate::allocator::PageAllocator::drain) in place of the former.
/// - [`low_memory`](Hooks::low_memory) wakes the task that calls [`balance`](crate::allocator::PageAllocator::balance).
///
/// # Safety
///
/// No two CPUs that use one allocator or heap at the same time have the same [number](Self::current), unless it has no pages or
/// arena of that number; where that cannot be told, the type is not `Sync`. Its [place](Self::place) is that of its number.
/// [`synchronize`](Self::synchronize),
/// [`try_synchronize`](Self::try_synchronize), [`mask_interrupts`](Self::mask_interrupts) and
/// [`restore_interrupts`](Self::restore_interrupts) do what they say, and [`zero`](Self::zero) leaves zeros where it says
/// `true`. Memory is handed out by that: two CPUs of one number would be given the same. And of the type's [`Hooks`], those that
/// may be called in the middle of an allocation neither allocate nor free: [`relax`](Hooks::relax),
/// [`acquire`](Hooks::acquire) and [`release`](Hooks::release).
pub unsafe trait Cpu: Hooks {
    /// The number of the CPU that this runs on: its place among the per-CPU pages of an allocator, and the arenas of a heap. With a
    /// number beyond those it has none.
    ///
    /// Called with interrupts masked, so that the code is still on that CPU when it uses the number.
    fn current() -> usize;

    /// The [`Place`] of the CPU that this runs on, that of its [number](Self::current); called likewise. The heap's fast paths ask for it
    /// alone: a kernel that has it ready in its per-CPU data, beside the number, saves them what it takes to compute it.
    #[inline(always)]
    fn place() -> Place {
        Place::of(Self::current())
    }

    /// Makes every CPU that runs this program pass a full memory barrier before this returns: this one before it asks, each
    /// other behind that.
    ///
    /// On Linux the system call `membarrier` does that. With one CPU there is nothing to do. Where it takes an answer of the other
    /// CPUs, [`synchronize_by_trying`](Self::synchronize_by_trying) is this function, and what there is to write is
    /// [`try_synchronize`](Self::try_synchronize). The crate calls that one alone.
    fn synchronize();

    /// [`synchronize`](Self::synchronize), as far as the other CPUs let it: `missed` is told the number of each that was not seen
    /// to pass a barrier within some milliseconds. What those have is left alone.
    ///
    /// An interrupt to all others does that. Called when memory is short, and by what looks at a heap as a whole: its reports,
    /// `validate`, `shrink`. Maybe with interrupts masked, with any lock of the kernel's own held, and on several CPUs at once:
    /// so a CPU that waits in here answers as [`relax`](Hooks::relax) does, and not for ever.
    ///
    /// By default this is `synchronize`, and nobody is missed: not where another CPU could wait for a lock that is held here, with
    /// interrupts masked, and so never answer.
    fn try_synchronize(missed: &mut dyn FnMut(usize)) {
        let _ = missed;
        Self::synchronize();
    }

    /// [`synchronize`](Self::synchronize) for a CPU that has written [`try_synchronize`](Self::try_synchronize): tries until nobody
    /// is missed.
    fn synchronize_by_trying() {
        loop {
            let mut all = true;
            Self::try_synchronize(&mut |_| all = false);
            if all {
                return;
            }
            Self::relax();
        }
    }

    /// Masks interrupts on this CPU, and says whether they were enabled (Linux: `local_irq_save`).
    ///
    /// A lock that an interrupt handler may take is only held with interrupts masked, or the handler would wait for the code
    /// that it interrupted. On a host, where no interrupts are, there is nothing to do.
    fn mask_interrupts() -> bool;

    /// Enables interrupts again, if [`mask_interrupts`](Self::mask_interrupts) has said that they were (Linux:
    /// `local_irq_restore`).
    fn restore_interrupts(were_enabled: bool);

    /// Runs `critical` with interrupts masked.
    #[inline(always)]
    fn without_interrupts<R>(critical: impl FnOnce() -> R) -> R {
        let _masked = Masked::<Self>::new();
        critical()
    }

    /// Fills frames with zeros, for [`Gfp::ZERO`](crate::frame::Gfp::ZERO): where an allocator was not told at
    /// [which address](crate::allocator::PageAllocator::zero_at) it sees them.
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

/// Interrupts are masked on this CPU for as long as this lives.
pub(crate) struct Masked<C: Cpu + ?Sized> {
    /// In a cell, so that it lends no value to an `Option` around it, which would have to be written on the fast paths.
    were_enabled: Cell<bool>,
    /// What is masked is this CPU's: it does not go to another.
    cpu: PhantomData<*const C>,
}

impl<C: Cpu + ?Sized> Masked<C> {
    #[inline(always)]
    pub(crate) fn new() -> Self {
        Self { were_enabled: Cell::new(C::mask_interrupts()), cpu: PhantomData }
    }
}

impl<C: Cpu + ?Sized> Drop for Masked<C> {
    #[inline(always)]
    fn drop(&mut self) {
        C::restore_interrupts(self.were_enabled.get());
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
    /// Called again and again while this CPU waits for another: for a lock, or until it is out of its pages or arena. Maybe with
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
    /// For a kernel that checks that locks are always taken in one order, and with interrupts masked (Linux: `lock_acquire`). It
    /// must neither allocate nor free, nor take a lock of the allocator or the heap. Does nothing by default, which costs nothing.
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
    /// For a kernel that checks that nothing waits where it must not, such as in an interrupt handler (Linux: `might_alloc`). Does
    /// nothing by default.
    #[inline(always)]
    fn might_wait() {}

    /// Whether a request for so many frames, with these flags, is to be refused although it might be served; asked when one
    /// begins, only where debug assertions are on.
    ///
    /// For tests of what a kernel does then: with [`Faults`](crate::sync::Faults), each request can be the one that fails (Linux:
    /// `should_fail_alloc_page`). Refuses nothing by default, nor what is part of an operation that is being recorded.
    #[inline(always)]
    fn should_fail(frames: u64, gfp: Gfp) -> bool {
        let _ = (frames, gfp);
        false
    }

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

    /// Notes the return addresses of the calls that have led here, innermost first, and 0 behind the last if there are fewer: for an
    /// operation that is being [recorded](crate::allocator::Recording), with interrupts masked. By default they stay what they are from the
    /// start, 0.
    #[inline(always)]
    fn callers(addresses: &[Cell<u64>; CALLERS]) {
        let _ = addresses;
    }

    /// Shows the report of a refused request. Called without a lock held, in the middle of that request: so not to
    /// allocate. Does nothing by default.
    fn report(failure: &dyn fmt::Display) {
        let _ = failure;
    }
}
