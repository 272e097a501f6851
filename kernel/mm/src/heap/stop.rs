//! Bringing the heap to a standstill, so that one CPU can look at all of it at once; and waiting, which needs no such thing, until no CPU
//! is any more where it was.

use crate::sync::atomic::Ordering;

use super::slow::Found;
use super::{Heap, Large};
use crate::allocator::HeapCall;
use crate::cpu::Cpu;
use crate::slab::arena::{Arena, ArenaId};
use crate::slab::debug::Records;
use crate::slab::per_cpu::PerCpu;
use crate::slab::registry::Books;
use crate::slab::source::PageSource;
use crate::sync::{Gate, Guard};

/// The whole heap, standing still.
pub(super) struct Stopped<'a, C: Cpu> {
    pub(super) per_cpu: &'a [PerCpu],
    pub(super) shared: &'a Arena,
    _shared_lock: Guard<'a, (), C>,
    pub(super) large: Guard<'a, Large, C>,
    pub(super) books: Guard<'a, Books, C>,
    pub(super) records: Guard<'a, Records, C>,
}

impl<C: Cpu> Stopped<'_, C> {
    /// All arenas; the shared one comes last.
    pub(super) fn arenas(&self) -> impl Iterator<Item = &Arena> {
        // SAFETY: all arenas stand still as long as `self` is there.
        self.per_cpu.iter().filter_map(|place| unsafe { place.arena() }).chain([self.shared])
    }

    /// The arena of that number, if there is one.
    pub(super) fn arena(&self, id: ArenaId) -> Option<&Arena> {
        self.arenas().find(|arena| arena.id() == id)
    }
}

impl<S: PageSource, C: Cpu, const CPUS: usize> Heap<S, C, CPUS> {
    /// Runs `f` while nobody is in any arena and every lock of the heap is held. They are taken in one order, and a CPU that is
    /// inside an arena takes no lock but the shared arena's. Waits until each CPU that has an arena passes a barrier.
    pub(super) fn stopped<R>(&self, f: impl FnOnce(&mut Stopped<'_, C>) -> R) -> R {
        let mut f = Some(f);
        loop {
            if let Some(result) = self.stop_once(&mut f) {
                return result;
            }
            C::relax();
        }
    }

    /// [`stopped`](Self::stopped), unless a CPU that has an arena does not pass a barrier now: `None`, and `f` was not run.
    pub(super) fn try_stopped<R>(&self, f: impl FnOnce(&mut Stopped<'_, C>) -> R) -> Option<R> {
        self.stop_once(&mut Some(f))
    }

    /// Runs what is in `f`, unless a CPU is missed.
    fn stop_once<R, F: FnOnce(&mut Stopped<'_, C>) -> R>(&self, f: &mut Option<F>) -> Option<R> {
        match self.registry.recording.get() {
            // Nothing comes between the parts of an operation that is recorded.
            Some(recording) => recording.undisturbed::<C, _>(|| self.stop_alone(f)),
            None => self.stop_alone(f),
        }
    }

    fn stop_alone<R, F: FnOnce(&mut Stopped<'_, C>) -> R>(&self, f: &mut Option<F>) -> Option<R> {
        loop {
            // Interrupts are masked throughout: a handler that wants a standstill too must not come upon this one.
            let result = C::without_interrupts(|| {
                let is_mine = !self.stopped.swap(true, Ordering::Acquire);
                is_mine.then(|| self.stop(f))
            });
            match result {
                Some(result) => return result,
                None => C::relax(),
            }
        }
    }

    /// As [`stopped`](Self::stopped), once all arenas have taken over what others have freed in their slabs.
    pub(super) fn settled<R>(&self, f: impl FnOnce(&mut Stopped<'_, C>) -> R) -> R {
        let mut f = Some(f);
        let settle = || {
            loop {
                let found = self.stopped(|all| match self.collect_all(all) {
                    Found::Nothing => Ok(f.take().map(|f| f(all))),
                    found => Err(found),
                });
                match found {
                    Ok(Some(result)) => return result,
                    Ok(None) => unreachable!("`f` is run once"),
                    Err(found) => _ = self.settle(found),
                }
            }
        };
        self.recorded(HeapCall::Settle, |_| Some(0), settle)
    }

    /// Takes over in all arenas what others have freed, and closes the slabs that are too many then. Returns how many frames
    /// they had; `None` if a CPU does not answer.
    pub(super) fn settle_all(&self) -> Option<u64> {
        let mut frames = 0;
        loop {
            match self.try_stopped(|all| self.collect_all(all))? {
                Found::Nothing => return Some(frames),
                found => frames += self.settle(found),
            }
        }
    }

    /// Takes over in all arenas what others have freed, as long as nothing else is to be done.
    fn collect_all(&self, all: &Stopped<'_, C>) -> Found {
        for incoming in self.per_cpu.used().iter().chain([&self.per_cpu.without]).map(|place| &place.incoming.0) {
            let mut slabs = incoming.take();
            while let Some(slab) = slabs.next() {
                let found = all.arena(slab.arena()).map(|arena| self.take_over(arena, slab));
                if let Some(found @ (Found::Surplus(_) | Found::Twice(_))) = found {
                    slabs.for_each(|slab| incoming.push(slab));
                    return found;
                }
            }
        }
        Found::Nothing
    }

    /// Closes all gates, waits until nobody is behind one, and takes the shared arena's lock. `None`, and all gates are as they
    /// were, if a CPU that has an arena is missed.
    fn close_gates(&self) -> Option<Guard<'_, (), C>> {
        // Behind the gate of all others there never is an arena.
        let gates = || self.per_cpu.used().iter().map(PerCpu::gate_in_use);
        loop {
            let mut all = true;
            // A CPU without an arena has nothing that could be changed behind its back.
            if self.registry.recording.is_completed() {
                // Nobody is inside but in its turn, which is the caller's.
                gates().for_each(Gate::close);
            } else {
                Gate::close_each::<C>(gates().enumerate(), |missed| all &= !self.per_cpu(missed).has_arena());
            }
            if !all {
                self.per_cpu.used().iter().for_each(PerCpu::open);
                return None;
            }
            gates().for_each(Gate::await_owner::<C>);
            let shared_lock = self.shared_lock.lock();
            // A CPU that was about to get its arena had the lock, and its gate is open. From now on, nobody gets one.
            if gates().all(Gate::is_closed) {
                return Some(shared_lock);
            }
        }
    }

    /// Runs what is in `f`, at a standstill that is the caller's, which ends with that.
    fn stop<R, F: FnOnce(&mut Stopped<'_, C>) -> R>(&self, f: &mut Option<F>) -> Option<R> {
        let result = self.close_gates().and_then(|shared_lock| Some(self.stand_still(shared_lock, f.take()?)));
        self.stopped.store(false, Ordering::Release);
        result
    }

    /// Passes a grace period (Linux: `synchronize_rcu`): waits until each CPU has been outside of its arena, and of the heap's locks,
    /// once. So none is at a descriptor any more that was closed before, and those can be opened again (invariant *Metadata*). Nobody
    /// is stopped for it. False if no descriptor waits for that, or if a CPU that has an arena does not pass a barrier now.
    #[cold]
    pub(super) fn pass_grace_period(&self) -> bool {
        self.registry.is_grace_due.store(false, Ordering::Relaxed);
        match self.registry.recording.get() {
            Some(recording) => recording.undisturbed::<C, _>(|| self.pass_once(true)),
            None => self.pass_once(false),
        }
    }

    /// Passes a grace period, where nobody is in an arena if this `is_alone`.
    fn pass_once(&self, is_alone: bool) -> bool {
        let waiting = self.registry.books.with(|books| books.pool.closings());
        let passed = waiting.filter(|_| {
            // A CPU that has one of the locks after this, or gets an arena, sees the page map as it is now.
            self.shared_lock.with(|()| ());
            self.large.with(|_| ());
            self.debugging.records.with(|_| ());
            is_alone || self.await_each()
        });
        passed.inspect(|&closings| self.registry.books.with(|books| books.pool.pass(closings))).is_some()
    }

    /// Waits until each CPU that has an arena was outside of it once. False if one is missed.
    fn await_each(&self) -> bool {
        let mut all = true;
        C::try_synchronize(&mut |missed| all &= !self.per_cpu(missed).has_arena());
        if all {
            // A CPU that goes inside once more sees there what every CPU saw at the barrier.
            self.per_cpu.used().iter().for_each(PerCpu::await_outside::<C>);
        }
        all
    }

    fn stand_still<'a, R>(&'a self, shared_lock: Guard<'a, (), C>, f: impl FnOnce(&mut Stopped<'_, C>) -> R) -> R {
        let mut all = Stopped {
            per_cpu: self.per_cpu.used(),
            shared: &self.shared,
            _shared_lock: shared_lock,
            large: self.large.lock(),
            books: self.registry.books.lock(),
            records: self.debugging.records.lock(),
        };
        let result = f(&mut all);
        drop(all);
        self.per_cpu.used().iter().for_each(PerCpu::open);
        result
    }
}
