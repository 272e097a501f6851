//! The lock: spin's, whose waiting and whose order are the kernel's business.

use core::fmt;
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};

use spin::RelaxStrategy;
use spin::mutex::{SpinMutex, SpinMutexGuard};

use super::{Acquire, Lock};
use crate::cpu::{Cpu, Masked};

/// A value that one CPU of kind `C` at a time may touch.
///
/// ```
/// # use bifolio::cpu::{Cpu, Hooks};
/// use bifolio::sync::Mutex;
/// # struct Machine;
/// # // SAFETY: one CPU at a time, which nothing interrupts.
/// # unsafe impl Cpu for Machine {
/// #     fn current() -> usize { 0 }
/// #
/// #     fn synchronize() {}
/// #
/// #     fn mask_interrupts() -> bool { false }
/// #
/// #     fn restore_interrupts(_: bool) {}
/// # }
/// #
/// # impl Hooks for Machine {}
///
/// static TICKS: Mutex<u64, Machine> = Mutex::new("ticks", 0);
///
/// TICKS.with(|ticks| *ticks += 1); // what an interrupt handler does too
/// assert_eq!(*TICKS.lock(), 1); // where interrupts are masked, or no handler takes the lock
/// ```
pub struct Mutex<T: ?Sized, C> {
    name: &'static str,
    inner: SpinMutex<T, Relax<C>>,
}

/// Waits as the CPU wants to.
struct Relax<C>(PhantomData<C>);

impl<C: Cpu> RelaxStrategy for Relax<C> {
    #[inline(always)]
    fn relax() {
        C::relax();
    }
}

impl<T, C: Cpu> Mutex<T, C> {
    /// A lock that is free. `name` says what it guards, to [hooks that look on](Lock).
    pub const fn new(name: &'static str, value: T) -> Self {
        Self { name, inner: SpinMutex::new(value) }
    }

    /// The value, of a lock that nobody shares any more.
    pub fn into_inner(self) -> T {
        self.inner.into_inner()
    }
}

impl<T: ?Sized, C: Cpu> Mutex<T, C> {
    /// What the lock is to hooks that look on.
    #[inline(always)]
    fn id(&self) -> Lock {
        Lock { name: self.name, address: core::ptr::from_ref(self).addr() }
    }

    /// Waits until nobody has the lock, and takes it. If an interrupt handler takes it too, interrupts must be masked for as
    /// long as it is held: [`with`](Self::with) does that.
    #[inline(always)]
    pub fn lock(&self) -> Guard<'_, T, C> {
        C::acquire(&self.id(), Acquire::Wait);
        self.guard(self.inner.try_lock().unwrap_or_else(|| self.wait()))
    }

    #[cold]
    fn wait(&self) -> SpinMutexGuard<'_, T, Relax<C>> {
        self.inner.lock()
    }

    /// Takes the lock if nobody has it.
    #[inline]
    pub fn try_lock(&self) -> Option<Guard<'_, T, C>> {
        let inner = self.inner.try_lock()?;
        C::acquire(&self.id(), Acquire::Try);
        Some(self.guard(inner))
    }

    /// [`lock`](Self::lock) with interrupts masked, for as long as the lock is held.
    #[inline(always)]
    pub(crate) fn lock_masked(&self) -> MaskedGuard<'_, T, C> {
        let masked = Masked::new();
        MaskedGuard { guard: self.lock(), _masked: masked }
    }

    /// Runs `critical` on the value, with interrupts masked.
    #[inline]
    pub fn with<R>(&self, critical: impl FnOnce(&mut T) -> R) -> R {
        critical(&mut self.lock_masked())
    }

    /// The value, of a lock that nobody shares.
    pub fn get_mut(&mut self) -> &mut T {
        self.inner.get_mut()
    }

    #[inline(always)]
    fn guard<'a>(&'a self, inner: SpinMutexGuard<'a, T, Relax<C>>) -> Guard<'a, T, C> {
        Guard { inner, _released: Released(self) }
    }
}

impl<T: ?Sized + fmt::Debug, C> fmt::Debug for Mutex<T, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

/// A lock that is held, and the value behind it. Lets it go when dropped.
pub struct Guard<'a, T: ?Sized, C: Cpu> {
    /// Comes first: fields are dropped in their order.
    inner: SpinMutexGuard<'a, T, Relax<C>>,
    _released: Released<'a, T, C>,
}

impl<T: ?Sized + fmt::Debug, C: Cpu> fmt::Debug for Guard<'_, T, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

/// A lock that is held, with interrupts masked.
pub(crate) struct MaskedGuard<'a, T: ?Sized, C: Cpu> {
    /// Comes first: fields are dropped in their order.
    guard: Guard<'a, T, C>,
    _masked: Masked<C>,
}

impl<T: ?Sized, C: Cpu> Deref for MaskedGuard<'_, T, C> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        &self.guard
    }
}

impl<T: ?Sized, C: Cpu> DerefMut for MaskedGuard<'_, T, C> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut T {
        &mut self.guard
    }
}

/// Tells of the lock's release, when it is over.
struct Released<'a, T: ?Sized, C: Cpu>(&'a Mutex<T, C>);

impl<T: ?Sized, C: Cpu> Drop for Released<'_, T, C> {
    #[inline(always)]
    fn drop(&mut self) {
        C::release(&self.0.id());
    }
}

impl<T: ?Sized, C: Cpu> Deref for Guard<'_, T, C> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        &self.inner
    }
}

impl<T: ?Sized, C: Cpu> DerefMut for Guard<'_, T, C> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut T {
        &mut self.inner
    }
}
