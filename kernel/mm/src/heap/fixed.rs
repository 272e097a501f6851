//! A heap in a region, as the global allocator of a program that has nothing else.

use core::alloc::{GlobalAlloc, Layout};
use core::fmt;
use core::ptr::{self, NonNull};

use spin::Once;

use super::{Heap, HeapError, InRegion, Objects, RegionError, RegionHeap};
use crate::cpu::Cpu;

/// [`Heap::in_region`] for a static: what a kernel that has mapped a heap, or a microcontroller with a static array, writes, on CPUs of
/// kind `C`. 4 KiB are enough.
///
/// Until [`init`](Self::init) there is no memory, and so every allocation is refused.
///
/// ```no_run
/// use bifolio::heap::StaticHeap;
/// use bifolio::kernel::{NoInterrupts, Uniprocessor};
///
/// #[global_allocator]
/// static HEAP: StaticHeap<Uniprocessor<NoInterrupts>> = StaticHeap::new(); // or `X86`, `Riscv64`, `Aarch64`
///
/// # fn main() -> Result<(), bifolio::heap::RegionError> {
/// const START: *mut u8 = 0x2000_4000 as *mut u8;
/// // SAFETY: there is RAM, which is for this alone; there is one CPU, whose interrupt handlers neither allocate nor free.
/// unsafe { HEAP.init(START, 64 << 10) }
/// # }
/// ```
pub struct StaticHeap<C: 'static, const CPUS: usize = 1>(Once<RegionHeap<'static, C, CPUS>>);

// SAFETY: the contract of `init` says that the machine's CPUs are those that `C` says they are, so no two share what one has of its
// own. Until then there is no heap.
unsafe impl<C: Cpu + 'static, const CPUS: usize> Sync for StaticHeap<C, CPUS> {}

impl<C: Cpu + 'static, const CPUS: usize> StaticHeap<C, CPUS> {
    /// No memory yet.
    pub const fn new() -> Self {
        Self(Once::new())
    }

    /// Gives the heap its memory, whatever that holds.
    ///
    /// # Errors
    /// [`RegionError`], with nothing changed: the region is too small, or there was one before.
    ///
    /// # Safety
    /// - So many bytes from `start` on are readable and writable for as long as the program runs, and nobody else's.
    /// - The CPUs that use this are those that `C` says they are: for [`Uniprocessor`](crate::kernel::Uniprocessor), one; with
    ///   [`NoInterrupts`](crate::kernel::NoInterrupts), no handler of an interrupt does.
    pub unsafe fn init(&self, start: *mut u8, bytes: usize) -> Result<(), RegionError> {
        if self.0.is_completed() {
            return Err(RegionError::Twice);
        }
        // SAFETY: by this function's contract the bytes are there for good, and this is their only user.
        let region = unsafe { core::slice::from_raw_parts_mut(start, bytes) };
        let heap = Heap::in_shared_region(region)?;
        self.0.call_once(|| heap);
        Ok(())
    }

    /// The heap, for whatever else it has to offer.
    pub fn heap(&self) -> Option<InRegion<'static, C, CPUS>> {
        Some(self.0.get()?.heap())
    }
}

impl<C: Cpu + 'static, const CPUS: usize> Default for StaticHeap<C, CPUS> {
    fn default() -> Self {
        Self::new()
    }
}

impl<C: 'static, const CPUS: usize> fmt::Debug for StaticHeap<C, CPUS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StaticHeap").finish_non_exhaustive()
    }
}

// SAFETY: objects are as long and as aligned as their layouts say, and apart from each other (`Objects`). What was allocated can be
// freed, since a heap that is there stays. Nothing here unwinds but the error hook, for which `set_error_hook` says what it owes.
unsafe impl<C: Cpu + 'static, const CPUS: usize> GlobalAlloc for StaticHeap<C, CPUS> {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.heap().and_then(|heap| heap.allocate(layout)).map_or(ptr::null_mut(), NonNull::as_ptr)
    }

    #[inline]
    unsafe fn dealloc(&self, object: *mut u8, layout: Layout) {
        let Some(heap) = self.heap() else { return };
        // SAFETY: by the trait's contract the object is the caller's, and used no more.
        let freed = of(object).and_then(|object| unsafe { heap.free(object, Some(layout)) });
        freed.unwrap_or_else(|error| heap.report(&error));
    }

    unsafe fn realloc(&self, object: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let (Some(heap), Ok(wanted)) = (self.heap(), Layout::from_size_align(size, layout.align())) else {
            return ptr::null_mut();
        };
        // SAFETY: by the trait's contract the object is the caller's, and is used no more but as what is returned.
        let moved = of(object).and_then(|object| unsafe { heap.reallocate(object, Some(layout), wanted) });
        let moved = moved.unwrap_or_else(|error| {
            heap.report(&error);
            None
        });
        moved.map_or(ptr::null_mut(), NonNull::as_ptr)
    }
}

/// What is to be an object: null is none.
fn of(object: *mut u8) -> Result<NonNull<u8>, HeapError> {
    NonNull::new(object).ok_or(HeapError::Foreign { address: 0 })
}
