//! Turns: one operation at a time, and its record with it.

use core::cell::Cell;
use core::fmt;

use super::ring::{CAPACITY, Event};
use super::{Call, Recorder};
use crate::cpu::{Cpu, Masked};
use crate::sync::atomic::{
    AtomicUsize,
    Ordering::{Acquire, Relaxed, Release},
};
use crate::sync::{self, Lock};

/// What an operation that is recorded is at, and so what is part of it, instead of an operation within it: what is at the same, or comes
/// before that here.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub(crate) enum At {
    /// There is no operation.
    Nothing,
    /// What belongs to others: whatever comes is an operation within it.
    Others,
    /// The heap's own affairs. What it asks of page frames is an operation within it.
    #[cfg(feature = "heap")]
    Heap,
    /// The page frames' own affairs.
    Frames,
}

/// What it takes to record operations, of an allocator and of the heap before it, which have a reference to this.
pub struct Recording<'m> {
    pub(super) recorder: &'m dyn Recorder,
    /// [`NOBODY`], or the CPU that is at an operation, and records it: a lock, which a CPU may find to be its own.
    turn: AtomicUsize,
    /// What the operation is at.
    at: Cell<At>,
    /// It may wait: it was begun with interrupts enabled.
    may_wait: Cell<bool>,
    /// How many operations have given up their turn, each within the one before.
    given_up: Cell<usize>,
    /// Those that count end with the last place, so that each may have to be told of at once as well.
    pub(super) events: [Event; CAPACITY],
    /// The first place for one.
    pub(super) start: usize,
    /// The place for the next: what is there and behind it is older than what is before.
    pub(super) next: AtomicUsize,
    /// The first place whose event the recorder was not told of.
    pub(super) told: AtomicUsize,
}

// SAFETY: whatever is in cells is touched by the CPU whose turn it is, which `turn` has one at a time be; or at the end, by the
// contract of `flush_last`, by the only one that is left.
unsafe impl Sync for Recording<'_> {}

/// Nobody's turn.
const NOBODY: usize = 0;

/// Whose turn it is, if it is this CPU's: not [`NOBODY`], whatever the number.
#[inline(always)]
fn turn_of(cpu: usize) -> usize {
    cpu << 1 | 1
}

/// What a CPU was before an operation that it has begun: what it was at, and whether its interrupts were enabled.
type Before = (At, bool);

impl<'m> Recording<'m> {
    /// One that tells `recorder`, as seldom as there is room for.
    pub const fn new(recorder: &'m dyn Recorder) -> Self {
        Self::with_room_for(CAPACITY, recorder)
    }

    /// One that tells `recorder` when so many events have happened, as far as there is room for as many: down to one, for a
    /// recorder that must hear of each at once.
    pub const fn with_room_for(events: usize, recorder: &'m dyn Recorder) -> Self {
        assert!(events > 0, "an event has to be somewhere");
        let start = CAPACITY.saturating_sub(events);
        Self {
            recorder,
            turn: AtomicUsize::new(NOBODY),
            at: Cell::new(At::Nothing),
            may_wait: Cell::new(false),
            given_up: Cell::new(0),
            events: [const { Event::none() }; CAPACITY],
            start,
            next: AtomicUsize::new(start),
            told: AtomicUsize::new(start),
        }
    }

    /// Whether what is here is part of an operation that is being recorded, which masks interrupts, and was begun where they were
    /// enabled: then it may wait, as if they still were.
    pub fn may_wait<C: Cpu>(&self) -> bool {
        self.is_at_work::<C>() && self.may_wait.get()
    }

    /// Tells the recorder what it has not been told yet, once no operation is at work.
    pub fn flush<C: Cpu>(&self) {
        if !self.is_all_told() {
            self.undisturbed::<C, _>(|| self.tell());
        }
    }

    /// The same, of a program that ends in the middle of whatever it is at.
    ///
    /// # Safety
    /// No other CPU runs any more, nor does what this one has been at.
    pub unsafe fn flush_last(&self) {
        self.tell();
    }

    /// Whether this CPU is at an operation that is being recorded.
    pub(crate) fn is_at_work<C: Cpu>(&self) -> bool {
        self.turn.load(Relaxed) == turn_of(C::without_interrupts(C::current))
    }

    /// Whether what is here is part of an operation of the heap that is recorded.
    #[cfg(feature = "heap")]
    pub(crate) fn is_in_heap<C: Cpu>(&self) -> bool {
        self.is_at_work::<C>() && self.at.get() == At::Heap
    }

    /// Does an operation, which is recorded if that is on, unless it is part of one that is.
    #[inline(always)]
    pub(crate) fn recorded<C: Cpu, R>(
        recording: Option<&Self>,
        call: Call,
        at: At,
        returned: impl FnOnce(&R) -> Option<u64>,
        operation: impl FnOnce() -> R,
    ) -> R {
        let begun = recording.and_then(|recording| Some((recording, recording.begin::<C>(call, at)?)));
        let result = operation();
        if let Some((recording, before)) = begun {
            recording.end::<C>(before, returned(&result));
        }
        result
    }

    /// Begins an operation when no other is at work but one that it is within; `None` if it is part of that. Interrupts are masked until
    /// it has [ended](Self::end).
    #[inline(always)]
    fn begin<C: Cpu>(&self, call: Call, at: At) -> Option<Before> {
        let were_enabled = C::mask_interrupts();
        let own = C::current();
        let before = self.take_turn::<C>(own);
        if before >= at {
            C::restore_interrupts(were_enabled);
            return None;
        }
        if before == At::Nothing {
            self.may_wait.set(were_enabled);
        }
        self.at.set(at);
        self.put_begin::<C>(own, call);
        Some((before, were_enabled))
    }

    /// Ends the operation that this CPU has begun last: it has returned this, as a number; `None` if it was refused.
    #[inline(always)]
    fn end<C: Cpu>(&self, (before, were_enabled): Before, returned: Option<u64>) {
        self.put_end(returned);
        self.at.set(before);
        if before == At::Nothing {
            self.end_turn::<C>();
        }
        C::restore_interrupts(were_enabled);
    }

    /// Does an operation that nothing is within, if it is at nobody else's turn, and records what it returns, as a number. `None` if it was not
    /// done, and nothing else then.
    #[inline(always)]
    pub(crate) fn at_once<C: Cpu>(&self, call: Call, operation: impl FnOnce(usize) -> Option<u64>) -> Option<u64> {
        let _masked = Masked::<C>::new();
        let own = C::current();
        self.turn.compare_exchange(NOBODY, turn_of(own), Acquire, Relaxed).ok()?;
        C::acquire(&self.lock(), sync::Acquire::Try);
        let returned = self.put::<C>(own, call, || operation(own));
        self.end_turn::<C>();
        returned
    }

    /// Does an operation within the one that this CPU is at.
    #[cold]
    #[inline(never)]
    pub(crate) fn within<C: Cpu, R>(
        &self,
        call: Call,
        at: At,
        returned: impl FnOnce(&R) -> Option<u64>,
        operation: impl FnOnce() -> R,
    ) -> R {
        let were_enabled = C::mask_interrupts();
        let before = self.at.replace(at);
        self.put_begin::<C>(C::current(), call);
        let result = operation();
        self.end::<C>((before, were_enabled), returned(&result));
        result
    }

    /// Waits until no operation is at work, and is at one from then on. What this CPU is at already, in its turn: nothing, if it had to be
    /// taken.
    #[inline(always)]
    fn take_turn<C: Cpu>(&self, own: usize) -> At {
        if self.turn.compare_exchange(NOBODY, turn_of(own), Acquire, Relaxed).is_ok() {
            C::acquire(&self.lock(), sync::Acquire::Wait);
            return At::Nothing;
        }
        self.await_turn::<C>(own)
    }

    #[cold]
    #[inline(never)]
    fn await_turn<C: Cpu>(&self, own: usize) -> At {
        if self.turn.load(Relaxed) == turn_of(own) {
            return self.at.get();
        }
        C::acquire(&self.lock(), sync::Acquire::Wait);
        while self.turn.compare_exchange(NOBODY, turn_of(own), Acquire, Relaxed).is_err() {
            C::relax();
        }
        At::Nothing
    }

    #[inline(always)]
    fn end_turn<C: Cpu>(&self) {
        self.turn.store(NOBODY, Release);
        C::release(&self.lock());
    }

    /// What the turn is to hooks that look on: a lock, though not a [`Mutex`](crate::sync::Mutex), since its CPU may take it again.
    #[inline(always)]
    fn lock(&self) -> Lock {
        Lock { name: "recording", address: core::ptr::from_ref(&self.turn).addr() }
    }

    /// Gives up this CPU's turn while something is done, which may wait if the operation may. Behind it the turn is this CPU's again, once
    /// all operations have ended that have given up theirs since.
    pub(super) fn give_up_turn<C: Cpu, R>(&self, what: impl FnOnce() -> R) -> R {
        let (own, at, may_wait) = (C::current(), self.at.replace(At::Nothing), self.may_wait.get());
        let depth = self.given_up.get() + 1;
        self.given_up.set(depth);
        self.end_turn::<C>();
        C::restore_interrupts(may_wait);
        let result = what();
        C::mask_interrupts();
        loop {
            self.take_turn::<C>(own);
            if self.given_up.get() == depth {
                break;
            }
            self.end_turn::<C>();
            C::relax();
        }
        self.given_up.set(depth - 1);
        self.at.set(at);
        self.may_wait.set(may_wait);
        result
    }

    /// Shows each operation that is not forgotten and has ended, the oldest first, with what it has returned, while no other is at work.
    pub(crate) fn for_each_ended<C: Cpu>(&self, visit: impl FnMut(&Event, Option<u64>)) {
        self.undisturbed::<C, _>(|| self.for_each_told(visit));
    }

    /// Waits until no operation is at work, unless this is part of one, and does something that is not to be recorded.
    #[cold]
    pub(crate) fn undisturbed<C: Cpu, R>(&self, what: impl FnOnce() -> R) -> R {
        C::without_interrupts(|| {
            let is_turn_due = !self.is_at_work::<C>();
            if is_turn_due {
                self.take_turn::<C>(C::current());
                self.may_wait.set(false);
                self.at.set(At::Others);
            }
            let result = what();
            if is_turn_due {
                self.at.set(At::Nothing);
                self.end_turn::<C>();
            }
            result
        })
    }
}

impl fmt::Debug for Recording<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recording").field("turn", &self.turn).finish_non_exhaustive()
    }
}
