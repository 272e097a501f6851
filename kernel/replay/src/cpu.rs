//! The CPUs of a world: one thread that takes their turns.

use core::marker::PhantomData;

use bifolio::cpu::{Cpu, Hooks};
use bifolio::frame::PfnRange;

#[cfg(not(target_arch = "wasm32"))]
mod current {
    use core::cell::Cell;

    std::thread_local! {
        static CURRENT: Cell<usize> = const { Cell::new(0) };
    }

    pub(super) fn get() -> usize {
        CURRENT.get()
    }

    pub(super) fn set(cpu: usize) {
        CURRENT.set(cpu);
    }
}

/// There are no threads, nor a `std` to have them from.
#[cfg(target_arch = "wasm32")]
mod current {
    use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    static CURRENT: AtomicUsize = AtomicUsize::new(0);

    pub(super) fn get() -> usize {
        CURRENT.load(Relaxed)
    }

    pub(super) fn set(cpu: usize) {
        CURRENT.store(cpu, Relaxed);
    }
}

/// The CPU that a world's thread takes the turn of.
#[derive(Debug)]
pub struct Replayed(PhantomData<*const ()>);

// SAFETY: the type is not `Sync`, so an allocator with such CPUs is used by one thread, which is one of them at a time and is not
// interrupted. Frames are numbers, which hold whatever one likes.
unsafe impl Cpu for Replayed {
    fn current() -> usize {
        current::get()
    }

    fn synchronize() {}

    fn mask_interrupts() -> bool {
        false
    }

    fn restore_interrupts(_: bool) {}

    unsafe fn zero(_: PfnRange) -> bool {
        true
    }
}

impl Hooks for Replayed {}

/// The CPU whose turn it is.
pub(crate) fn current() -> usize {
    current::get()
}

/// Makes what follows on this thread the turn of `cpu`.
pub fn take_turn_of(cpu: usize) {
    current::set(cpu);
}
