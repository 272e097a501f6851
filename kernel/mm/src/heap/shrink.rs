//! Giving back what the heap holds but does not use.

use super::Heap;
use crate::allocator::{Cpu, Shrinker};
use crate::frame::Order;
use crate::slab::cache::Cache;
use crate::slab::page_map::PageMap;
use crate::slab::source::PageSource;

impl<S: PageSource, C: Cpu> Heap<S, C> {
    /// Gives every empty slab back to the page source, and every page of descriptors and table of the page map that is
    /// not needed any more. Returns the number of frames. With no live object, the heap has no frame afterwards.
    ///
    /// Interrupts are masked for a table or a slab at a time, never for all of it.
    pub fn shrink(&self) -> u64 {
        let mut frames = 0;
        for cache in &self.caches {
            while let Some(slab) = cache.with::<C, _>(Cache::pop_empty) {
                frames += self.registry.close::<C>(slab);
            }
        }
        // SAFETY: `stopped` holds every lock.
        while let Some(page) = self.stopped(|all| unsafe { all.books.pool.remove_idle() }) {
            // SAFETY: the page was the pool's, from the source, and is nobody's now.
            frames += unsafe { self.registry.give_back::<C>(page, Order::ZERO) };
        }
        // From the lowest level up: a table that lost its last table below goes with it.
        for level in 0..PageMap::MAX_MISSING as u32 {
            let mut cursor = 0;
            while let Some(address) = self.registry.next_idle_table::<C>(level, cursor) {
                cursor = address + PageMap::table_span(level);
                // SAFETY: `stopped` holds every lock, and has the registry's books.
                let page =
                    self.stopped(|all| unsafe { self.registry.remove_idle_table(&mut all.books, level, address) });
                if let Some(page) = page {
                    // SAFETY: the page was the map's, from the source, and is nobody's now.
                    frames += unsafe { self.registry.give_back::<C>(page, Order::ZERO) };
                }
            }
        }
        frames
    }
}

/// What the heap holds and does not use is for any request that would be refused otherwise. It gives all of it, since it
/// cannot know which of it is the cheapest.
impl<S: PageSource, C: Cpu> Shrinker for Heap<S, C>
where
    Self: Sync,
{
    fn shrink(&self, _: u64) -> u64 {
        Heap::shrink(self)
    }
}
