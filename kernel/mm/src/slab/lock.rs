//! A spin lock that an interrupt cannot deadlock.

use spin::Mutex;
pub(crate) use spin::MutexGuard as Guard;

use crate::allocator::Cpu;

/// A value that one CPU at a time may touch, with interrupts masked while it does.
pub(crate) struct Locked<T>(Mutex<T>);

impl<T> Locked<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(Mutex::new(value))
    }

    /// Runs `f` on the value.
    #[inline]
    pub(crate) fn with<C: Cpu, R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        C::without_interrupts(|| f(&mut self.0.lock()))
    }

    /// Takes the lock for a caller that has masked interrupts itself.
    pub(crate) fn lock(&self) -> Guard<'_, T> {
        self.0.lock()
    }
}
