//! Bringing the heap to a standstill: for who must see all of it at once.

use crate::sync::atomic::Ordering;

use super::slow::Twice;
use super::{Heap, Large};
use crate::cpu::Cpu;
use crate::slab::arena::{Arena, ArenaId, Door};
use crate::slab::debug::Records;
use crate::slab::registry::Books;
use crate::slab::source::PageSource;
use crate::sync::{Gate, Guard};

/// The whole heap, standing still.
pub(super) struct Stopped<'a, C: Cpu> {
    pub(super) doors: &'a [Door],
    pub(super) last_door: &'a Door,
    pub(super) shared: &'a Arena,
    _shared_lock: Guard<'a, (), C>,
    pub(super) large: Guard<'a, Large, C>,
    pub(super) books: Guard<'a, Books, C>,
    pub(super) records: Guard<'a, Records, C>,
    /// A slot that turned out to be freed twice.
    pub(super) twice: Option<Twice>,
}

impl<C: Cpu> Stopped<'_, C> {
    /// All arenas; the shared one comes last.
    pub(super) fn arenas(&self) -> impl Iterator<Item = &Arena> {
        // SAFETY: all arenas stand still as long as `self` is there.
        self.doors.iter().filter_map(|door| unsafe { door.arena() }).chain([self.shared])
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
        loop {
            // Interrupts are masked throughout: a handler that wants a standstill too must not come upon this one.
            let result = C::without_interrupts(|| {
                let is_mine = !self.stopped.swap(true, Ordering::Acquire);
                is_mine.then(|| self.stop(f))
            });
            match result {
                Some(result) => {
                    let (result, twice) = result?;
                    self.report_twice(twice);
                    return Some(result);
                }
                None => C::relax(),
            }
        }
    }

    /// Closes all doors, waits until nobody is behind one, and takes the shared arena's lock. `None`, and all doors are as they
    /// were, if a CPU that has an arena is missed.
    fn close_doors(&self) -> Option<Guard<'_, (), C>> {
        // The last door is for any number of CPUs, and leads nowhere.
        let gates = || self.doors.iter().map(|door| &door.gate);
        loop {
            let mut all = true;
            // A CPU without an arena has nothing that could be changed behind its back.
            Gate::close_each::<C>(gates().enumerate(), |missed| all &= !self.door(missed).has_arena());
            if !all {
                self.doors.iter().for_each(Door::open);
                return None;
            }
            gates().for_each(Gate::await_owner::<C>);
            let shared_lock = self.shared_lock.lock();
            // A CPU that was about to get its arena had the lock, and is behind an open door. From now on, nobody gets one.
            if gates().all(Gate::is_closed) {
                return Some(shared_lock);
            }
        }
    }

    /// Runs what is in `f`, at a standstill that is the caller's, which ends with that.
    fn stop<R, F: FnOnce(&mut Stopped<'_, C>) -> R>(&self, f: &mut Option<F>) -> Option<(R, Option<Twice>)> {
        let result = self.close_doors().and_then(|shared_lock| Some(self.stand_still(shared_lock, f.take()?)));
        self.stopped.store(false, Ordering::Release);
        result
    }

    fn stand_still<'a, R>(
        &'a self,
        shared_lock: Guard<'a, (), C>,
        f: impl FnOnce(&mut Stopped<'_, C>) -> R,
    ) -> (R, Option<Twice>) {
        let mut all = Stopped {
            doors: &self.doors,
            last_door: &self.last_door,
            shared: &self.shared,
            _shared_lock: shared_lock,
            large: self.large.lock(),
            books: self.registry.books.lock(),
            records: self.debugging.records.lock(),
            twice: None,
        };
        let result = f(&mut all);
        let twice = all.twice.take();
        drop(all);
        self.doors.iter().for_each(Door::open);
        (result, twice)
    }
}
