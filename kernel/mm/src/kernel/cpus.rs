//! Ready-made CPUs.

use core::cell::Cell;
use core::fmt;
use core::marker::PhantomData;

use crate::cpu::{Cpu, Hooks};

/// How a processor's interrupts are masked.
///
/// # Safety
/// Between [`mask`](Self::mask) and [`restore`](Self::restore), nothing interrupts the CPU that allocates or frees memory.
pub unsafe trait Interrupts {
    /// Masks interrupts, and says whether they were enabled.
    fn mask() -> bool;

    /// Enables interrupts again, if [`mask`](Self::mask) has said that they were.
    fn restore(were_enabled: bool);
}

/// No interrupt handler allocates or frees.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_structs, reason = "it has no state")]
pub struct NoInterrupts;

// SAFETY: what leans on it is shared with handlers only by the contract of `Kernel::init` or `StaticHeap::init`, which says that there
// are none that allocate or free; or by `Shared`, to whose CPUs they are other CPUs.
unsafe impl Interrupts for NoInterrupts {
    #[inline(always)]
    fn mask() -> bool {
        false
    }

    #[inline(always)]
    fn restore(_: bool) {}
}

/// The interrupts of a processor: the instructions that save its state in a register and mask them, the bit of that state that speaks
/// of them, its value where they are enabled, and the instruction that enables them. None of those may touch any other state.
macro_rules! interrupts {
    ($(#[$about:meta])* $name:ident of $architecture:literal:
     $($mask:literal)+, $bit:literal is $enabled:literal, $enable:literal) => {
        $(#[$about])*
        #[cfg(target_arch = $architecture)]
        #[derive(Clone, Copy, Debug)]
        #[expect(clippy::exhaustive_structs, reason = "it has no state")]
        pub struct $name;

        // SAFETY: what the processor can mask of its kernel's interrupts is masked; handlers of what it cannot must neither allocate
        // nor free, as `Cpu` says.
        #[cfg(target_arch = $architecture)]
        unsafe impl Interrupts for $name {
            #[inline(always)]
            fn mask() -> bool {
                let state: usize;
                // SAFETY: interrupts are masked, which does no harm; the state goes through the stack, or not near it.
                unsafe { core::arch::asm!($($mask),+, out(reg) state) };
                state >> $bit & 1 == $enabled
            }

            #[inline(always)]
            fn restore(were_enabled: bool) {
                if were_enabled {
                    // SAFETY: they were enabled before `mask`.
                    unsafe { core::arch::asm!($enable, options(nostack)) };
                }
            }
        }
    };
}

interrupts! {
    /// The interrupts of an x86_64 processor, in the kernel's ring.
    X86 of "x86_64": "pushfq" "pop {}" "cli", 9 is 1, "sti"
}
interrupts! {
    /// The interrupts of a riscv64 processor, in supervisor mode. Those of machine mode do not come to the kernel.
    Riscv64 of "riscv64": "csrrci {}, sstatus, 2", 1 is 1, "csrsi sstatus, 2"
}
interrupts! {
    /// The interrupts of an aarch64 processor. Handlers of fast ones must neither allocate nor free.
    Aarch64 of "aarch64": "mrs {}, daif" "msr daifset, #2", 7 is 0, "msr daifclr, #2"
}

/// A CPU that says the same number, whichever it is: [`Uniprocessor`] and [`Shared`]. Its interrupts are masked by `I`.
///
/// A cell is what no two CPUs may look at.
pub struct Numbered<I, const NUMBER: usize>(PhantomData<I>, PhantomData<Cell<()>>);

/// The CPU of a machine that has one.
///
/// That there is one is promised where a [`Kernel`](super::Kernel) or a [`StaticHeap`](crate::heap::StaticHeap) is given its memory.
/// The type by itself is not `Sync`, and so a [`Heap`](crate::heap::Heap) or a [`PageAllocator`](crate::allocator::PageAllocator)
/// of such CPUs that is put together by hand stays with its owner:
///
/// ```compile_fail,E0277
/// # use bifolio::{heap::Heap, kernel::{NoInterrupts, Uniprocessor}};
/// let mut region = vec![0; 1 << 20];
/// let heap = Heap::<_, Uniprocessor<NoInterrupts>, 1>::in_shared_region(&mut region).unwrap();
/// std::thread::scope(|scope| {
///     scope.spawn(|| _ = heap.malloc(100)); // `Uniprocessor` cannot be shared between threads safely
///     _ = heap.malloc(100);
/// });
/// ```
pub type Uniprocessor<I> = Numbered<I, 0>;

/// Any of a machine's CPUs, none of which has anything of its own: all wait for the same locks. Interrupts between them are not
/// needed.
pub type Shared<I> = Numbered<I, { usize::MAX }>;

// SAFETY: no CPU has pages or an arena of that number, so it does not matter how many there are.
unsafe impl<I> Sync for Shared<I> {}

// SAFETY: with pages or an arena of that number, there is one CPU, since the type is not `Sync`; without them, no barrier is needed,
// however many there are. Interrupts are masked where that is asked for.
unsafe impl<I: Interrupts, const NUMBER: usize> Cpu for Numbered<I, NUMBER> {
    #[inline(always)]
    fn current() -> usize {
        NUMBER
    }

    fn synchronize() {}

    #[inline(always)]
    fn mask_interrupts() -> bool {
        I::mask()
    }

    #[inline(always)]
    fn restore_interrupts(were_enabled: bool) {
        I::restore(were_enabled);
    }
}

impl<I, const NUMBER: usize> Hooks for Numbered<I, NUMBER> {}

impl<I, const NUMBER: usize> fmt::Debug for Numbered<I, NUMBER> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Numbered")
    }
}
