//! A spin lock that masks interrupts while it is held (Linux: `spin_lock_irqsave`).
//!
//! The lock itself is `spin`'s, its face `lock_api`'s: what is here is what lies between the two. Interrupts are masked
//! before the first look at the lock, and are as before behind the last, so that no handler on this CPU can find it held.
//! Who waits for it meanwhile answers what other CPUs ask of this one, as every wait loop of the allocator does.

use super::lockdep;
use crate::arch::ipi;
use bifolio::sync::Acquire;
use core::sync::atomic::{AtomicBool, Ordering};
use core::{fmt, mem, ptr};
use x86_64::instructions::interrupts;

/// A value that one CPU at a time may touch, with interrupts masked while it does.
///
/// The name is the lock's class to the [validator](lockdep): locks of one name are taken in the same order.
pub struct Mutex<T: ?Sized>(lock_api::Mutex<RawMutex, T>);

impl<T> Mutex<T> {
    /// An unlocked value.
    pub const fn new(name: &'static str, value: T) -> Self {
        Self(lock_api::Mutex::from_raw(RawMutex::new(name), value))
    }
}

impl<T: ?Sized> Mutex<T> {
    /// Waits for the lock, and masks interrupts until the guard is dropped.
    ///
    /// Guards are dropped in the reverse order in which they came: each restores the state that it found.
    #[inline]
    pub fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock()
    }

    /// Takes the lock if nobody has it.
    #[inline]
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        self.0.try_lock()
    }

    /// Unlocks it, whoever holds it, and leaves interrupts as they are.
    ///
    /// # Safety
    /// Whoever holds the lock never runs again.
    pub unsafe fn seize(&self) {
        // SAFETY: only the raw lock is touched, and by this function's contract no one is left to hold it.
        unsafe { self.0.raw().lock.force_unlock() };
    }
}

impl<T: ?Sized> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mutex").finish_non_exhaustive()
    }
}

/// The value of a [`Mutex`], for as long as interrupts are masked for it. It stays on the CPU that took it.
pub type MutexGuard<'a, T> = lock_api::MutexGuard<'a, RawMutex, T>;

/// What a CPU does while it waits for a lock.
struct Relax;

impl spin::RelaxStrategy for Relax {
    #[inline]
    fn relax() {
        ipi::relax();
    }
}

/// The lock without the value.
pub struct RawMutex {
    name: &'static str,
    lock: spin::mutex::SpinMutex<(), Relax>,
    /// Whether interrupts were enabled when the lock was taken. Only who holds it looks.
    enabled: AtomicBool,
}

impl RawMutex {
    const fn new(name: &'static str) -> Self {
        Self { name, lock: spin::mutex::SpinMutex::new(()), enabled: AtomicBool::new(false) }
    }

    fn address(&self) -> usize {
        ptr::from_ref(self).addr()
    }
}

/// Masks interrupts, and says whether they were enabled.
#[inline]
fn mask() -> bool {
    let enabled = interrupts::are_enabled();
    if enabled {
        interrupts::disable();
    }
    enabled
}

// SAFETY: the lock is held by one at a time because `spin`'s is, and guards stay on their CPU.
unsafe impl lock_api::RawMutex for RawMutex {
    const INIT: Self = Self::new("unnamed");
    type GuardMarker = lock_api::GuardNoSend;

    #[inline]
    fn lock(&self) {
        let enabled = mask();
        lockdep::acquire(self.name, self.address(), Acquire::Wait);
        mem::forget(self.lock.lock());
        self.enabled.store(enabled, Ordering::Relaxed);
    }

    #[inline]
    fn try_lock(&self) -> bool {
        let enabled = mask();
        let Some(guard) = self.lock.try_lock() else {
            if enabled {
                interrupts::enable();
            }
            return false;
        };
        mem::forget(guard);
        lockdep::acquire(self.name, self.address(), Acquire::Try);
        self.enabled.store(enabled, Ordering::Relaxed);
        true
    }

    #[inline]
    unsafe fn unlock(&self) {
        let enabled = self.enabled.load(Ordering::Relaxed);
        // SAFETY: by this function's contract the caller holds the lock, and its guard was forgotten.
        unsafe { self.lock.force_unlock() };
        lockdep::release(self.address(), enabled);
        if enabled {
            interrupts::enable();
        }
    }

    fn is_locked(&self) -> bool {
        self.lock.is_locked()
    }
}
