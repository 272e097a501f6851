//! Page frames for the heap, where a window onto physical memory shows them; and what a kernel maps beside.

use core::alloc::Layout;
use core::fmt;
use core::ptr::{self, NonNull};
use core::slice;

use spin::Once;

use crate::allocator::{PageAllocator, Plan};
use crate::cpu::Cpu;
use crate::error::FreeError;
use crate::frame::{FRAME_SIZE, Gfp, Order, Pfn, PfnRange};
use crate::hardening::Hardening;
use crate::heap::{PageSource, Sampler};
use crate::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Bytes in a page.
const PAGE: usize = FRAME_SIZE as usize;

/// What a kernel's heap has beside frames that the window shows in a row. By default nothing: an object that is larger than the largest
/// block, 4 MiB, or for which there is no such row, is refused.
///
/// # Safety
/// What [`map`](Self::map) returns is what [`PageSource::allocate_run`] promises. [`is_mapped`](Self::is_mapped) is true of it, until it
/// is given back, and of nothing that the window shows.
pub unsafe trait Mappings: Sync {
    /// The flags of requests for frames by code that says none: the heap, and page tables of the crate `x86_64`. By default those of code
    /// that must not wait, and whose refusals are not reported: nothing says here what code that is.
    fn gfp(&self) -> Gfp {
        Gfp::ATOMIC | Gfp::NOWARN
    }

    /// Memory in a row of addresses, out of frames that lie anywhere, for a run of whole pages; `None` if there is none. Asked for where
    /// frames in a row were not to be had.
    fn map(&self, run: Layout) -> Option<NonNull<u8>> {
        let _ = run;
        None
    }

    /// Whether this is the first address of something that was mapped.
    fn is_mapped(&self, start: NonNull<u8>) -> bool {
        let _ = start;
        false
    }

    /// Takes back what was mapped.
    ///
    /// # Errors
    /// Whatever there is against it; it then stays mapped for ever.
    ///
    /// # Safety
    /// As for [`PageSource::release_run`].
    unsafe fn unmap(&self, start: NonNull<u8>, run: Layout) -> Result<(), FreeError> {
        let _ = (start, run);
        Ok(())
    }

    /// Makes what was mapped one of `bytes` bytes, whole pages, where it is. `false`, and nothing changed, if that cannot be.
    ///
    /// # Safety
    /// As for [`PageSource::resize_run`].
    unsafe fn resize(&self, start: NonNull<u8>, run: Layout, bytes: usize) -> bool {
        let _ = (start, run, bytes);
        false
    }

    /// What has memory for [samples](crate::heap::Heap::sample), if anything has: always the same. By default nothing.
    fn sampler(&self) -> Option<&'static dyn Sampler> {
        None
    }

    /// The number of an address for a [recorder](crate::allocator::Recorder); by default `None`, and it is the physical address.
    fn number_of(&self, address: usize) -> Option<u64> {
        let _ = address;
        None
    }
}

/// Frames in a row, and nothing beside.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_structs, reason = "it has no state")]
pub struct NoMappings;

// SAFETY: nothing is mapped.
unsafe impl Mappings for NoMappings {}

/// Where the heap of a [`Kernel`](super::Kernel) has its frames from.
pub struct Window<C> {
    pub(super) ready: Once<Ready<C>>,
    /// [`Ready::offset`] once more, where it is found without a look whether it is set up; zero before that.
    offset: AtomicU64,
}

impl<C> fmt::Debug for Window<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Window").finish_non_exhaustive()
    }
}

pub(super) struct Ready<C> {
    pub frames: PageAllocator<'static, C>,
    /// What is added to a physical address for the one at which it is seen.
    pub offset: u64,
    pub mappings: &'static dyn Mappings,
}

impl<C: Cpu> Ready<C> {
    /// Where a frame is seen.
    fn place_of(&self, pfn: Pfn) -> Option<NonNull<u8>> {
        let address = pfn.address().wrapping_add(self.offset);
        NonNull::new(ptr::with_exposed_provenance_mut(address as usize))
    }

    /// The frame that is seen at an address.
    fn frame_at(&self, place: NonNull<u8>) -> Pfn {
        Pfn::containing((place.as_ptr().expose_provenance() as u64).wrapping_sub(self.offset))
    }

    /// A block of frames, by a request with these flags beside the usual ones.
    fn block(&self, order: Order, flags: Gfp) -> Option<NonNull<u8>> {
        let block = self.frames.allocate(order, self.mappings.gfp() | flags).ok()?;
        self.place_of(block.into_raw().0)
    }

    /// Frames in a row.
    fn row(&self, run: Layout) -> Option<NonNull<u8>> {
        let (pages, align) = (pages_of(run), (run.align() as u64).div_ceil(FRAME_SIZE));
        // What is aligned to more than any block is, need not be aligned so where the window shows it.
        if Order::covering(pages).is_none() || self.offset % run.align() as u64 != 0 {
            return None;
        }
        let gfp = self.mappings.gfp() | Gfp::NOWARN;
        let exact = Order::covering(align).and_then(|align| self.frames.allocate_exact_aligned(pages, align, gfp).ok());
        let row = exact.or_else(|| self.frames.allocate_run(pages, align, gfp).ok())?;
        self.place_of(row.into_raw().start)
    }

    /// The frames of a run that is a row of them.
    fn frames_of(&self, start: NonNull<u8>, run: Layout) -> PfnRange {
        let first = self.frame_at(start);
        PfnRange::new(first, first.offset(pages_of(run)))
    }
}

impl Plan<'_> {
    /// The place for the metadata, where a window onto physical memory shows it: `offset` bytes behind its physical address.
    ///
    /// # Panics
    /// If the plan has the metadata [apart](Self::apart) from the map's RAM.
    ///
    /// # Safety
    /// The [frames](Self::metadata) are seen there, readable and writable, for as long as what is returned is used, and nobody else
    /// uses them. That is not at address 0, and `offset` is a multiple of 8.
    pub unsafe fn metadata_in_window<'m>(&self, offset: u64) -> &'m mut [u64] {
        assert!(!self.metadata().is_empty(), "no frames were planned for metadata");
        let start = self.metadata().start.address().wrapping_add(offset);
        // SAFETY: by this function's contract so many words are there, aligned, and nobody else's; any bits are valid ones.
        unsafe { slice::from_raw_parts_mut(ptr::with_exposed_provenance_mut(start as usize), self.metadata_words()) }
    }
}

/// The pages of a run.
fn pages_of(run: Layout) -> u64 {
    (run.size() / PAGE) as u64
}

impl<C: Cpu> Window<C> {
    /// One that is not set up.
    pub(super) const fn new() -> Self {
        Self { ready: Once::new(), offset: AtomicU64::new(0) }
    }

    /// Sets it up.
    pub(super) fn open(&self, ready: Ready<C>) -> &Ready<C> {
        self.offset.store(ready.offset, Relaxed);
        self.ready.call_once(|| ready)
    }

    /// What has given out memory, and so is there.
    fn ready(&self) -> &Ready<C> {
        self.ready.get().expect("set up, since it gave out memory")
    }
}

// SAFETY: the allocator gives frames to one owner at a time, blocks aligned to their size, and the window shows all of them, by the
// contract of `Kernel::start`, which has seen that they are aligned there too; `row` looks at what is aligned to more. What is mapped is
// as it has to be by the contract of `Mappings`.
unsafe impl<C: Cpu> PageSource for Window<C> {
    fn allocate(&self, order: Order) -> Option<NonNull<u8>> {
        self.ready.get()?.block(order, Gfp::empty())
    }

    fn allocate_slab(&self, order: Order) -> Option<NonNull<u8>> {
        // Where there is none of this order the heap asks for a smaller one. As in Linux's SLUB, that is nothing to warn of.
        let quiet = if order > Order::ZERO { Gfp::NOWARN } else { Gfp::empty() };
        self.ready.get()?.block(order, quiet)
    }

    unsafe fn release(&self, block: NonNull<u8>, order: Order) -> Result<(), FreeError> {
        let ready = self.ready();
        // SAFETY: by this function's contract the block was allocated above, and is the caller's to free.
        unsafe { ready.frames.free_raw(ready.frame_at(block), order) }
    }

    fn hardening(&self) -> Hardening {
        self.ready.get().map_or(Hardening::empty(), |ready| ready.frames.hardening())
    }

    fn sampler(&self) -> Option<&'static dyn Sampler> {
        self.ready.get()?.mappings.sampler()
    }

    fn number_of(&self, address: usize) -> u64 {
        let Some(ready) = self.ready.get() else { return address as u64 };
        ready.mappings.number_of(address).unwrap_or_else(|| (address as u64).wrapping_sub(ready.offset))
    }

    #[inline(always)]
    fn number_in_slab(&self, address: usize) -> u64 {
        (address as u64).wrapping_sub(self.offset.load(Relaxed))
    }

    fn run_for(object: Layout) -> Option<Layout> {
        Layout::from_size_align(object.size().max(1).checked_next_multiple_of(PAGE)?, object.align()).ok()
    }

    fn allocate_run(&self, run: Layout) -> Option<NonNull<u8>> {
        let ready = self.ready.get()?;
        ready.row(run).or_else(|| ready.mappings.map(run))
    }

    unsafe fn release_run(&self, start: NonNull<u8>, run: Layout) -> Result<(), FreeError> {
        let ready = self.ready();
        if ready.mappings.is_mapped(start) {
            // SAFETY: by this function's contract it was mapped as such a run, and nobody uses it.
            return unsafe { ready.mappings.unmap(start, run) };
        }
        // SAFETY: as for a block.
        unsafe { ready.frames.free_range_raw(ready.frames_of(start, run)) }
    }

    unsafe fn resize_run(&self, start: NonNull<u8>, run: Layout, bytes: usize) -> bool {
        let ready = self.ready();
        if ready.mappings.is_mapped(start) {
            // SAFETY: by this function's contract it was mapped as such a run, and nobody uses what is behind its new end.
            return unsafe { ready.mappings.resize(start, run, bytes) };
        }
        let gfp = ready.mappings.gfp();
        // SAFETY: by this function's contract the run is the caller's, and what is behind its new end is not used.
        unsafe { ready.frames.resize_raw(ready.frames_of(start, run), (bytes / PAGE) as u64, gfp) }.is_ok()
    }
}
