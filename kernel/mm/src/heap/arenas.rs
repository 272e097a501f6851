//! How arenas come into being, and what becomes of them when their CPU has no more use for them.

use crate::sync::atomic::Ordering;

use super::Heap;
use super::slow::Found;
use crate::allocator::HeapCall;
use crate::cpu::Cpu;
use crate::slab::arena::{Arena, ArenaId, CpuArena};
use crate::slab::place::PerCpu;
use crate::slab::shared::SharedArena;
use crate::slab::source::PageSource;

impl<S: PageSource, C: Cpu, const CPUS: usize> Heap<S, C, CPUS> {
    /// Gives this CPU an arena of its own now, instead of when it first finds no free slot: for kernels, before a CPU that comes
    /// up is to be quick. Whether it has one: not if there is no memory for it, or if memory is [scarce](PageSource::is_scarce),
    /// or if the CPU has no place among those of the heap.
    pub fn prepare_cpu(&self) -> bool {
        let cpu = C::without_interrupts(C::current);
        match self.per_cpu.get(cpu) {
            None => return false,
            Some(place) if place.has_arena() => return true,
            _ if self.registry.source.is_scarce() => return false,
            _ => {}
        }
        let prepared = |&is_prepared: &bool| Some(is_prepared.into());
        if let Some(is_prepared) = self.recorded(HeapCall::Prepare, prepared, || self.prepare_cpu()) {
            return is_prepared;
        }
        let Some(block) = self.registry.source.allocate(CpuArena::ORDER) else {
            return false;
        };
        let taken = self.in_shared(|_| {
            let cpu = C::current();
            let (id, place) = (ArenaId::of(cpu)?, self.per_cpu.get(cpu)?);
            // A CPU that stops all arenas says so before it takes the lock that we hold; an arena that came into being now would
            // not be stopped.
            if self.stopped.load(Ordering::Relaxed) || place.has_arena() {
                return None;
            }
            // SAFETY: the block is ours, of the right order, and becomes the arena's; the lock is held.
            unsafe { place.set_arena(CpuArena::new_in(block, id).as_ptr()) };
            place.open();
            Some(())
        });
        if taken.is_none() {
            // SAFETY: the block came from the source a moment ago, and nothing was made of it.
            unsafe { self.registry.give_back(block, CpuArena::ORDER) };
        }
        taken.is_some()
    }

    /// Has the arena be there that all share. Whether it is: not if there is no memory for it.
    pub(super) fn prepare_shared(&self) -> bool {
        if self.in_shared(Arena::is_there) {
            return true;
        }
        let Some(block) = self.registry.source.allocate(SharedArena::ORDER) else { return false };
        // SAFETY: the block is ours, of the right order, and becomes the arena's, or else is nobody's.
        unsafe {
            let spare = self.shared.with(|shared| shared.make_in(block));
            spare.into_iter().for_each(|block| _ = self.registry.give_back(block, SharedArena::ORDER));
        }
        true
    }

    /// This CPU stops allocating, for a while or for ever: its slabs go to the arena that all CPUs share. It may allocate
    /// again at any time. To be called by a thread that ends, and by a CPU before it idles for long.
    pub fn retire_cpu(&self) {
        if self.recorded(HeapCall::Retire, |()| Some(0), || self.retire_cpu()).is_some() {
            return;
        }
        loop {
            let retired = self.in_own(|arena| {
                let shared = self.shared.lock();
                let is_done = arena.is_vacant() || shared.is_there() && arena.move_to(&shared);
                // What has come is passed on.
                (self.collect(arena), is_done)
            });
            match retired {
                Some((Found::Nothing, true)) => return,
                Some((Found::Nothing, false)) if !self.prepare_shared() => return,
                Some((found, _)) => _ = self.settle(found),
                // Another CPU has stopped it for a moment. One that does not come back must not leave it so.
                None if self.has_arena() => C::relax(),
                None => return,
            }
        }
    }

    /// Whether this CPU has an arena, stopped or not.
    fn has_arena(&self) -> bool {
        let cpu = C::without_interrupts(C::current);
        self.per_cpu.get(cpu).is_some_and(PerCpu::has_arena)
    }
}
