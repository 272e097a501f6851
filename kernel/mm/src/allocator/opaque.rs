//! What `{:?}` shows of the allocator: what can be read without a lock, since it may be held.

use core::fmt;

use super::{PageAllocator, PerCpuPages, View};

impl<C> fmt::Debug for PageAllocator<'_, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PageAllocator").finish_non_exhaustive()
    }
}

impl<C> fmt::Debug for View<'_, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("View").finish_non_exhaustive()
    }
}

impl fmt::Debug for PerCpuPages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PerCpuPages").field("refills", &self.refills()).finish_non_exhaustive()
    }
}
