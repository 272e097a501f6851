//! A CPU that stops allocating gives its slabs to all.

use super::Heap;
use super::slow::Found;
use crate::allocator::HeapCall;
use crate::cpu::Cpu;
use crate::slab::per_cpu::PerCpu;
use crate::slab::source::PageSource;

impl<S: PageSource, C: Cpu, const CPUS: usize> Heap<S, C, CPUS> {
    /// This CPU stops allocating, for a while or for ever: its slabs go to the arena that all CPUs share. It may allocate
    /// again at any time. To be called by a thread that ends, and by a CPU before it idles for long.
    pub fn retire_cpu(&self) {
        self.recorded(HeapCall::Retire, |()| Some(0), || self.give_arena());
    }

    fn give_arena(&self) {
        loop {
            let retired = self.in_own(|arena| {
                let _guard = self.shared_lock.lock();
                let is_done = arena.move_to(&self.shared);
                // What has come is passed on.
                (self.collect(arena), is_done)
            });
            match retired {
                Some((Found::Nothing, true)) => return,
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
