//! The gate to what one CPU owns, and others want to themselves now and then.
//!
//! The owner says that it is inside, and looks whether the gate is open. A stranger closes it, and looks whether the owner is
//! inside. Each writes its own word and then reads the other's, which takes a full barrier between the two on both sides. The
//! owner comes all the time and strangers hardly ever, so the stranger pays for both: [`Cpu::synchronize`] makes every CPU pass
//! a barrier. To the owner the words are plain loads and stores.

use core::fmt;

use crate::cpu::Cpu;
use crate::sync::atomic::{AtomicBool, AtomicU8, Ordering, compiler_fence};

use Ordering::{Acquire, Relaxed, Release};

/// A gate that one owner goes through and that strangers close.
///
/// It guards nothing by itself. What is behind it is the owner's while it is [inside](Self::enter), and a stranger's from
/// [waiting for the owner](Self::await_owner) until it [opens](Self::open) the gate again; of strangers there must be one at a
/// time.
///
/// ```
/// # use bifolio::cpu::{Cpu, Hooks};
/// use bifolio::sync::Gate;
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
/// static GATES: [Gate; 2] = [const { Gate::new() }; 2]; // one for each CPU
///
/// if let Some(_inside) = GATES[0].enter() {
///     // CPU 0 is at what it owns
/// }
///
/// Gate::close_all::<Machine>(&GATES);
/// for gate in &GATES {
///     gate.await_owner::<Machine>();
///     assert!(gate.enter().is_none());
///     gate.open();
/// }
/// ```
pub struct Gate<S = AtomicBool> {
    /// The owner is inside.
    busy: AtomicBool,
    /// What the owner finds.
    sign: S,
}

impl<S: Sign> fmt::Debug for Gate<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (is_closed, is_busy) = (self.is_closed(), self.is_busy());
        f.debug_struct("Gate").field("is_closed", &is_closed).field("is_busy", &is_busy).finish()
    }
}

/// What the owner of a gate finds: whether it is closed, or what is behind it.
pub trait Sign {
    /// What is found.
    type Value: Copy + PartialEq;

    /// What is found of a gate that is closed.
    const CLOSED: Self::Value;

    /// Loads it, with what [`write`](Self::write) released.
    fn read(&self) -> Self::Value;

    /// Stores it.
    fn write(&self, value: Self::Value, order: Ordering);
}

/// Whether the gate is closed.
impl Sign for AtomicBool {
    type Value = bool;

    const CLOSED: bool = true;

    #[inline(always)]
    fn read(&self) -> bool {
        self.load(Acquire)
    }

    fn write(&self, is_closed: bool, order: Ordering) {
        self.store(is_closed, order);
    }
}

/// Who may go in, by whatever numbers the gate's users know.
impl Sign for AtomicU8 {
    type Value = u8;

    const CLOSED: u8 = u8::MAX;

    #[inline(always)]
    fn read(&self) -> u8 {
        self.load(Acquire)
    }

    fn write(&self, value: u8, order: Ordering) {
        self.store(value, order);
    }
}

/// The owner of a gate is inside, for as long as this lives.
#[must_use = "the owner leaves when this is dropped"]
pub struct Inside<'a>(&'a AtomicBool);

impl fmt::Debug for Inside<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Inside")
    }
}

impl Drop for Inside<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        self.0.store(false, Release);
    }
}

impl Gate {
    /// A gate that is open.
    pub const fn new() -> Self {
        Self::with(AtomicBool::new(false))
    }

    /// A gate that is closed.
    pub const fn closed() -> Self {
        Self::with(AtomicBool::new(true))
    }

    /// Goes inside, unless the gate is closed. Only for the owner, which must be outside, and which nothing that goes inside
    /// may interrupt before it has left.
    #[inline(always)]
    pub fn enter(&self) -> Option<Inside<'_>> {
        let is_closed = self.enter_anyway();
        let inside = Inside(&self.busy);
        if is_closed { None } else { Some(inside) }
    }

    /// Lets the owner in again.
    pub fn open(&self) {
        self.open_to(false);
    }

    /// Closes these gates, each given with the number of its owner, all with one barrier, and opens those again whose owner was
    /// [not seen](Cpu::try_synchronize) to pass it: such an owner may be inside, or go there, without a sign of it. True if there
    /// are none.
    pub fn try_close_all<'a, C: Cpu>(gates: impl Iterator<Item = (usize, &'a Self)> + Clone) -> bool {
        Self::try_close_each::<C>(gates, false)
    }
}

impl Default for Gate {
    fn default() -> Self {
        Self::new()
    }
}

impl<S: Sign> Gate<S> {
    /// A gate with this sign.
    pub(crate) const fn with(sign: S) -> Self {
        Self { busy: AtomicBool::new(false), sign }
    }

    /// Makes the atomics of the gate known to loom.
    #[cfg(bifolio_loom)]
    pub fn prime(&self) {
        crate::sync::atomic::prime!(self.busy);
        self.sign.read();
    }

    /// Goes inside, and says what is there. Only for the owner, as [`enter`](Self::enter), which [leaves](Self::leave) then.
    #[inline(always)]
    pub(crate) fn enter_anyway(&self) -> S::Value {
        self.busy.store(true, Relaxed);
        // Keeps the compiler from swapping the two; that the processor does not either is `Cpu::synchronize`'s part.
        compiler_fence(Ordering::SeqCst);
        self.sign.read()
    }

    /// What is there. Only for the owner that is inside.
    #[cfg(feature = "heap")]
    #[inline(always)]
    pub(crate) fn sign(&self) -> S::Value {
        self.sign.read()
    }

    /// Goes outside. Only for the owner that is inside.
    #[inline(always)]
    pub(crate) fn leave(&self) {
        self.busy.store(false, Release);
    }

    /// Keeps the owner from going in, from the next barrier on; or at once, if it is the owner that closes.
    pub fn close(&self) {
        self.sign.write(S::CLOSED, Relaxed);
    }

    /// Closes these gates, all with one barrier. An owner that was inside may be there still.
    pub fn close_all<'a, C: Cpu>(gates: impl IntoIterator<Item = &'a Self>)
    where
        Self: 'a,
    {
        let closed = gates.into_iter().map(Self::close);
        if closed.count() > 0 {
            C::synchronize();
        }
    }

    /// [`close_all`](Self::close_all), as far as the owners pass the barrier: the numbers of those that were not seen to go to
    /// `missed`, and their gates are for the caller to open.
    pub(crate) fn close_each<'a, C: Cpu>(gates: impl Iterator<Item = (usize, &'a Self)>, mut missed: impl FnMut(usize))
    where
        Self: 'a,
    {
        if gates.map(|(_, gate)| gate.close()).count() > 0 {
            C::try_synchronize(&mut missed);
        }
    }

    /// Closes these gates as [`try_close_all`](Gate::try_close_all) does, but opens those again whose owner was not seen to this.
    pub(crate) fn try_close_each<'a, C: Cpu>(
        gates: impl Iterator<Item = (usize, &'a Self)> + Clone,
        open_to: S::Value,
    ) -> bool
    where
        Self: 'a,
    {
        let mut all = true;
        Self::close_each::<C>(gates.clone(), |missed| {
            if let Some((_, gate)) = gates.clone().find(|(owner, _)| *owner == missed) {
                gate.open_to(open_to);
                all = false;
            }
        });
        all
    }

    /// Waits until the owner is outside, from where it does not come back once the gate was closed.
    pub fn await_owner<C: Cpu>(&self) {
        while self.is_busy() {
            C::relax();
        }
    }

    /// Whether the owner is inside: what [`await_owner`](Self::await_owner) looks at, for a stranger that waits in another way.
    pub fn is_busy(&self) -> bool {
        self.busy.load(Acquire)
    }

    /// Whether the gate is closed.
    pub fn is_closed(&self) -> bool {
        self.sign.read() == S::CLOSED
    }

    /// Lets the owner in again, to find this.
    pub(crate) fn open_to(&self, value: S::Value) {
        self.sign.write(value, Release);
    }
}
