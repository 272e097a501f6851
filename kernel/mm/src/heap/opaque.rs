//! What `{:?}` shows of heaps: that they are there, since all else is behind locks that may be held.

use core::fmt;

use super::{Cache, CacheOptions, Heap, Malloc, PageSource, RegionPages};
use crate::cpu::Cpu;

impl<S, C, const CPUS: usize> fmt::Debug for Heap<S, C, CPUS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Heap").finish_non_exhaustive()
    }
}

impl<S, C, const CPUS: usize> fmt::Debug for Malloc<'_, S, C, CPUS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Malloc").finish_non_exhaustive()
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
