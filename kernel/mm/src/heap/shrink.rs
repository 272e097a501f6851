//! Giving back what the heap holds but does not use.

use crate::sync::atomic::Ordering::Relaxed;
use core::ptr::NonNull;

use super::slow::Found;
use super::{Heap, Stopped};
use crate::allocator::{HeapCall, Shrinker};
use crate::cpu::Cpu;
use crate::frame::Order;
use crate::slab::arena::{Arena, CpuArena, Emptied};
use crate::slab::page_map::PageMap;
use crate::slab::shared::SharedArena;
use crate::slab::source::PageSource;

impl<C: Cpu> Stopped<'_, C> {
    /// Takes an empty slab out of its arena.
    fn pop_empty(&self) -> Option<Emptied> {
        self.arenas().find_map(Arena::pop_any_empty)
    }

    /// Takes an arena without a slab from its CPU or from all, and returns its block.
    fn pop_arena(&mut self) -> Option<(NonNull<u8>, Order)> {
        let own = self.per_cpu.iter().find_map(|place| {
            // SAFETY: all arenas stand still; a CPU is only given another one under the shared arena's lock, which is
            // held, and what is taken is vacant.
            let arena = unsafe {
                place.arena().filter(|arena| arena.is_vacant())?;
                place.set_arena(core::ptr::null_mut())
            };
            NonNull::new(arena.cast())
        });
        let shared = || self.shared.pop_vacant().map(|arena| (arena, SharedArena::ORDER));
        own.map(|arena| (arena, CpuArena::ORDER)).or_else(shared)
    }
}

/// Something that the heap holds and does not use, taken out at a standstill.
enum Unused {
    /// What others have freed was taken over, and that was found.
    Found(Found),
    Slab(Emptied),
    /// An arena's, or a page of descriptors.
    Block(NonNull<u8>, Order),
    /// Descriptors that rested.
    Rest,
    Nothing,
}

impl<S: PageSource, C: Cpu, const CPUS: usize> Heap<S, C, CPUS> {
    /// Gives every empty slab back to the page source, and every arena, page of descriptors and table of the page map that
    /// is not needed any more. Returns the number of frames. With no live object, the heap has no frame afterwards; unless a CPU
    /// that has an arena does not pass a barrier now (see [`Cpu::try_synchronize`]), of which nothing is demanded.
    ///
    /// The heap stands still for a table or a slab at a time, never for all of it; and once, if there is nothing.
    pub fn shrink(&self) -> u64 {
        if let Some(frames) = self.recorded(HeapCall::Shrink, |_| Some(0), || self.shrink()) {
            return frames;
        }
        // A CPU that does not answer now may be waiting for a lock that the caller holds.
        let Some(frames) = self.shrink_slabs() else { return 0 };
        let debugged = self.shrink_debugged();
        let closed = if debugged > 0 { self.shrink_slabs().unwrap_or(0) } else { 0 };
        let tables = if self.registry.has_closed.swap(false, Relaxed) { self.shrink_map() } else { 0 };
        frames + debugged + closed + tables
    }

    /// Gives back all but tables of the page map; `None` if a CPU does not answer at all.
    fn shrink_slabs(&self) -> Option<u64> {
        let mut frames = 0;
        let mut unused = self.try_stopped(|all| self.pop_unused(all))?;
        loop {
            frames += match unused {
                Unused::Found(found) => self.settle(found),
                Unused::Slab(emptied) => self.close(emptied),
                // SAFETY: the block came from the source with this order for what it was taken out of, and is nobody's now.
                Unused::Block(block, order) => unsafe { self.registry.give_back(block, order) },
                Unused::Rest => 0,
                Unused::Nothing => return Some(frames),
            };
            let Some(next) = self.try_stopped(|all| self.pop_unused(all)) else { return Some(frames) };
            unused = next;
        }
    }

    fn pop_unused(&self, all: &mut Stopped<'_, C>) -> Unused {
        match self.collect_all(all) {
            Found::Nothing => {}
            found => return Unused::Found(found),
        }
        if let Some(emptied) = all.pop_empty() {
            return Unused::Slab(emptied);
        }
        if let Some((arena, order)) = all.pop_arena() {
            return Unused::Block(arena, order);
        }
        if all.books.pool.has_resting() {
            self.rested(all);
            return Unused::Rest;
        }
        // SAFETY: the heap stands still, and no arena remembers a slab that is not its own (invariant *Remembered*).
        let page = unsafe { all.books.pool.remove_idle() };
        page.map_or(Unused::Nothing, |page| Unused::Block(page, Order::ZERO))
    }

    /// Gives back the tables of the page map that lead nowhere.
    fn shrink_map(&self) -> u64 {
        let mut frames = 0;
        // From the lowest level up: a table that lost its last table below goes with it.
        for level in 0..PageMap::MAX_MISSING as u32 {
            let mut cursor = Some(0);
            while let Some(address) = self.registry.next_idle_table(level, cursor) {
                cursor = PageMap::behind(level, address);
                // SAFETY: the heap stands still, so nobody is on the way through a table, and `all` has the registry's books.
                let page =
                    self.try_stopped(|all| unsafe { self.registry.remove_idle_table(&mut all.books, level, address) });
                if page.is_none() {
                    // A CPU does not answer: the next time.
                    self.registry.has_closed.store(true, Relaxed);
                }
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
