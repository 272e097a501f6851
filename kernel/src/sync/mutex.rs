//! The allocator's lock, with interrupts masked while it is held (Linux: `spin_lock_irqsave`).
//!
//! Interrupts are masked before the first look at the lock, and are as before behind the last, so that no handler on this CPU
//! can find it held. How a CPU waits, and what the validator hears of it, is the [`Processor`]'s, as for the allocator's own.

use super::lockdep;
use super::processor::Processor;
use bifolio::sync::{self, Guard};
use core::cell::UnsafeCell;
use core::fmt;
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};
use x86_64::instructions::interrupts;

/// A value that one CPU at a time may touch, with interrupts masked while it does.
///
/// The name is the lock's class to the [validator](lockdep): locks of one name are taken in the same order.
pub struct Mutex<T> {
    name: &'static str,
    /// Only to be replaced when it is [seized](Self::seize).
    lock: UnsafeCell<sync::Mutex<T, Processor>>,
}

// SAFETY: the lock is shared as such, but for `seize`, whose caller is alone.
unsafe impl<T: Send> Sync for Mutex<T> {}

impl<T> Mutex<T> {
    /// An unlocked value.
    pub const fn new(name: &'static str, value: T) -> Self {
        Self { name, lock: UnsafeCell::new(sync::Mutex::new(name, value)) }
    }

    /// Waits for the lock, and masks interrupts until the guard is dropped.
    ///
    /// Guards are dropped in the reverse order in which they came: each restores the state that it found.
    #[inline]
    pub fn lock(&self) -> MutexGuard<'_, T> {
        let masked = Masked::new();
        MutexGuard { guard: self.inner().lock(), _masked: masked }
    }

    /// Takes the lock if nobody has it.
    #[inline]
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        let masked = Masked::new();
        Some(MutexGuard { guard: self.inner().try_lock()?, _masked: masked })
    }

    /// Unlocks it, whoever holds it, and leaves interrupts as they are.
    ///
    /// # Safety
    /// Whoever holds the lock, or waits for it, never runs again.
    pub unsafe fn seize(&self) {
        let lock = self.lock.get();
        // SAFETY: by this function's contract nobody is left who could look at the lock meanwhile. The value moves out of it
        // and into a new one.
        unsafe { lock.write(sync::Mutex::new(self.name, lock.read().into_inner())) };
    }

    #[inline]
    fn inner(&self) -> &sync::Mutex<T, Processor> {
        // SAFETY: it is replaced only when nobody else has such a reference any more, by the contract of `seize`.
        unsafe { &*self.lock.get() }
    }
}

impl<T> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mutex").finish_non_exhaustive()
    }
}

/// The value of a [`Mutex`], for as long as interrupts are masked for it. It stays on the CPU that took it.
pub struct MutexGuard<'a, T> {
    /// Comes first: fields are dropped in their order.
    guard: Guard<'a, T, Processor>,
    _masked: Masked,
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.guard
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        &mut self.guard
    }
}

/// Interrupts are masked; when this is dropped, they are as before.
struct Masked {
    were_enabled: bool,
    /// What a CPU masks is its own.
    _stays: PhantomData<*const ()>,
}

impl Masked {
    #[inline]
    fn new() -> Self {
        let were_enabled = interrupts::are_enabled();
        if were_enabled {
            interrupts::disable();
        }
        Self { were_enabled, _stays: PhantomData }
    }
}

impl Drop for Masked {
    #[inline]
    fn drop(&mut self) {
        if self.were_enabled {
            lockdep::before_unmasking();
            interrupts::enable();
        }
    }
}
