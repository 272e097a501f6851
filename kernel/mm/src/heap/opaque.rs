//! What `{:?}` shows of heaps: that they are there, since all else is behind locks that may be held.

use core::fmt;

use super::{Cache, CacheOptions, Heap, InRegion, Malloc, PageSource, RegionPages, SmallHeap};
use crate::cpu::Cpu;

impl<S, C, const CPUS: usize> fmt::Debug for Heap<S, C, CPUS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Heap").finish_non_exhaustive()
    }
}

impl<H> fmt::Debug for Malloc<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Malloc").finish_non_exhaustive()
    }
}

impl<C> fmt::Debug for SmallHeap<'_, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SmallHeap").finish_non_exhaustive()
    }
}

impl<C, const CPUS: usize> fmt::Debug for InRegion<'_, C, CPUS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Small(heap) => heap.fmt(f),
            Self::Slabs(heap) => heap.fmt(f),
        }
    }
}

impl<C> fmt::Debug for RegionPages<'_, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegionPages").finish_non_exhaustive()
    }
}

impl<T, S: PageSource, C: Cpu, const CPUS: usize> fmt::Debug for Cache<'_, T, S, C, CPUS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache").finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for CacheOptions<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheOptions").finish_non_exhaustive()
    }
}
