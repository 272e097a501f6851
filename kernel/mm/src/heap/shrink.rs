//! Giving back what the heap holds but does not use.

use core::ptr::NonNull;

use super::{Heap, Stopped};
use crate::allocator::{HeapCall, Shrinker};
use crate::cpu::Cpu;
use crate::frame::Order;
use crate::slab::arena::{Arena, CpuArena, Emptied};
use crate::slab::page_map::PageMap;
use crate::slab::source::PageSource;

impl<C: Cpu> Stopped<'_, C> {
    /// Takes an empty slab out of its arena.
    fn pop_empty(&self) -> Option<Emptied> {
        self.arenas().find_map(Arena::pop_any_empty)
    }

    /// Takes an arena without a slab from its CPU, and returns its block.
    fn pop_arena(&self) -> Option<NonNull<u8>> {
        self.per_cpu.iter().find_map(|place| {
            // SAFETY: all arenas stand still; a CPU is only given another one under the shared arena's lock, which is
            // held, and what is taken is vacant.
            let arena = unsafe {
                place.arena().filter(|arena| arena.is_vacant())?;
                place.set_arena(core::ptr::null_mut())
            };
            NonNull::new(arena.cast())
        })
    }
}

impl<S: PageSource, C: Cpu, const CPUS: usize> Heap<S, C, CPUS> {
    /// Gives every empty slab back to the page source, and every arena, page of descriptors and table of the page map that
    /// is not needed any more. Returns the number of frames. With no live object, the heap has no frame afterwards; unless a CPU
    /// that has an arena does not pass a barrier now (see [`Cpu::try_synchronize`]), of which nothing is demanded.
    ///
    /// The heap stands still for a table or a slab at a time, never for all of it.
    pub fn shrink(&self) -> u64 {
        self.recorded(HeapCall::Shrink, |_| Some(0), || self.shrink_all())
    }

    fn shrink_all(&self) -> u64 {
        // A CPU that does not answer now may be waiting for a lock that the caller holds.
        let Some(mut frames) = self.settle_all() else { return 0 };
        frames += self.shrink_debugged();
        while let Some(emptied) = self.try_stopped(|all| all.pop_empty()).flatten() {
            frames += self.close(emptied);
        }
        while let Some(arena) = self.try_stopped(|all| all.pop_arena()).flatten() {
            // SAFETY: the block was an arena's, from the source, and is nobody's now.
            frames += unsafe { self.registry.give_back(arena, CpuArena::ORDER) };
        }
        self.pass_grace_period();
        while self.registry.books.with(|books| books.pool.vacate_some()) {}
        while let Some(page) = self.registry.books.with(|books| books.pool.remove_idle()) {
            // SAFETY: the page was the pool's, from the source, and is nobody's now.
            frames += unsafe { self.registry.give_back(page, Order::ZERO) };
        }
        frames + self.shrink_tables()
    }

    /// Gives the tables of the page map that lead to nothing back, and returns their number.
    fn shrink_tables(&self) -> u64 {
        let mut frames = 0;
        // From the lowest level up: a table that lost its last table below goes with it.
        for level in 0..PageMap::MAX_MISSING as u32 {
            let mut cursor = Some(0);
            while let Some(address) = self.registry.next_idle_table(level, cursor) {
                cursor = PageMap::behind(level, address);
                // SAFETY: the heap stands still, so nobody is on the way through a table, and `stopped` has the registry's books.
                let page =
                    self.try_stopped(|all| unsafe { self.registry.remove_idle_table(&mut all.books, level, address) });
                if let Some(page) = page.flatten() {
                    // SAFETY: the page was the map's, from the source, and is nobody's now.
                    frames += unsafe { self.registry.give_back(page, Order::ZERO) };
                }
            }
        }
        frames
    }
}

/// What the heap holds and does not use is for any request that would be refused otherwise. It gives all of it, since it
/// cannot know which of it is the cheapest.
impl<S: PageSource, C: Cpu, const CPUS: usize> Shrinker for Heap<S, C, CPUS>
where
    Self: Sync,
{
    fn shrink(&self, _: u64) -> u64 {
        Heap::shrink(self)
    }
}
