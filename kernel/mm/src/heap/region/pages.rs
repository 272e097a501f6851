//! The memory of a region, as the heap in front of it asks for it.

use core::alloc::Layout;
use core::ptr::NonNull;

use super::grains::{GRAIN, Piece};
use super::pieces::Pieces;
use super::{FRAME, STEP};
use crate::allocator::{PageAllocator, View};
use crate::cpu::Cpu;
use crate::error::FreeError;
use crate::frame::{Gfp, Order, Pfn, PfnRange, ZoneKind};
use crate::heap::{PageSource, SizeClass};
use crate::sync::Mutex;

/// The memory of a region, as the heap in front of it asks for it.
pub struct RegionPages<'r, C> {
    /// All of it, but in a small region.
    granules: Option<Granules<'r, C>>,
    /// All of a small region; where memory is scarce some of it, as long as there are objects in it.
    pieces: Mutex<Option<Pieces<'r>>, C>,
}

/// A page allocator whose frames are granules.
pub(super) struct Granules<'r, C> {
    pub(super) pages: &'r PageAllocator<'r, C>,
    /// Bytes in a granule.
    pub(super) bytes: usize,
    /// The first one, and its number: other than its address's, but aligned alike.
    pub(super) start: NonNull<u8>,
    pub(super) first: Pfn,
}

// SAFETY: the pointer is to memory of no particular thread, and only tells where a block is that somebody was given. The
// page allocator and the lock are what threads share, and where a page allocator must not be shared this is not either.
unsafe impl<'r, C> Sync for RegionPages<'r, C> where PageAllocator<'r, C>: Sync {}
// SAFETY: likewise.
unsafe impl<'r, C> Send for RegionPages<'r, C> where PageAllocator<'r, C>: Send + Sync {}

/// Below so many bytes every one counts: 12 MiB.
const SCARCE: u64 = 12 << 20;
/// Which part of a region is for pieces, where they do.
const PIECES: usize = 16;

/// All of it: no watermark keeps the last granules from the only one who asks for any. And of the mobility that pageblocks have
/// at first, since nothing that never mixes has to be kept apart.
const GFP: Gfp = Gfp::MEMALLOC.union(Gfp::MOVABLE).union(Gfp::NOWARN);

impl<'r, C: Cpu> RegionPages<'r, C> {
    pub(super) fn of_pieces(pieces: Pieces<'r>) -> Self {
        Self { granules: None, pieces: Mutex::new("heap: region", Some(pieces)) }
    }

    pub(super) fn of_granules(granules: Granules<'r, C>) -> Self {
        Self { granules: Some(granules), pieces: Mutex::new("heap: region", None) }
    }

    /// The page allocator behind it, for its counts and reports. What it calls frames are [granules](Self::granule), and the
    /// region's first one is [`first`](Self::first) there. `None` in a region of less than 512 KiB, which has none.
    pub fn frames(&self) -> Option<&View<'r, C>> {
        self.granules.as_ref().map(|granules| &**granules.pages)
    }

    /// Bytes in what pieces of memory are made of: 256, or 1,024 in regions of less than 2 MiB, or 8 in those of less than
    /// 512 KiB.
    pub fn granule(&self) -> usize {
        self.granules.as_ref().map_or(GRAIN, |granules| granules.bytes)
    }

    /// The number of the region's first granule, if there is a page allocator.
    pub fn first(&self) -> Option<Pfn> {
        self.granules.as_ref().map(|granules| granules.first)
    }

    fn take_piece(&self, bytes: usize, align: usize, piece: Piece) -> Option<NonNull<u8>> {
        self.pieces.with(|pieces| {
            if pieces.is_none() {
                *pieces = Some(self.granules.as_ref()?.pieces()?);
            }
            pieces.as_mut()?.take(bytes, align, piece)
        })
    }

    /// Gives a piece back. `None` if there is none like it.
    fn give_piece(&self, start: NonNull<u8>, bytes: usize, piece: Piece) -> Option<()> {
        self.pieces.with(|pieces| {
            let given = pieces.as_mut()?.give(start.as_ptr().addr(), bytes, piece);
            let idle =
                self.granules.as_ref().zip(pieces.take_if(|pieces| self.granules.is_some() && pieces.is_vacant()));
            if let Some((granules, idle)) = idle {
                let (start, bytes) = idle.whole();
                // SAFETY: the memory came from the page allocator for the pieces, of which nobody has any.
                let freed = unsafe { granules.give(start, bytes) };
                debug_assert!(freed.is_ok(), "it was allocated so");
            }
            given.then_some(())
        })
    }
}

/// No piece begins there.
fn no_piece(start: NonNull<u8>) -> FreeError {
    FreeError::NotManaged(Pfn::containing(start.as_ptr().addr() as u64))
}

impl<'r, C: Cpu> Granules<'r, C> {
    fn count(&self, bytes: usize) -> u64 {
        bytes.div_ceil(self.bytes) as u64
    }

    fn managed(&self) -> u64 {
        self.pages.zone(ZoneKind::Normal).managed * self.bytes as u64
    }

    /// Memory for pieces.
    fn pieces(&self) -> Option<Pieces<'r>> {
        let bytes = (self.managed() as usize / PIECES).next_multiple_of(FRAME);
        // SAFETY: it was just allocated for this.
        Some(unsafe { Pieces::new(self.take(bytes, FRAME)?, bytes) })
    }

    fn range(&self, start: NonNull<u8>, bytes: usize) -> PfnRange {
        let offset = start.as_ptr().addr() - self.start.as_ptr().addr();
        let pfn = self.first.offset((offset / self.bytes) as u64);
        PfnRange::new(pfn, pfn.offset(self.count(bytes)))
    }

    fn take(&self, bytes: usize, align: usize) -> Option<NonNull<u8>> {
        let run = self.pages.allocate_contiguous_aligned(self.count(bytes), self.count(align), GFP).ok()?;
        let offset = (run.into_raw().start.number() - self.first.number()) as usize * self.bytes;
        // SAFETY: the page allocator has no other granules than those behind `start`.
        Some(unsafe { self.start.add(offset) })
    }

    /// # Safety
    /// It was [taken](Self::take) so, and nobody uses it any more.
    unsafe fn give(&self, start: NonNull<u8>, bytes: usize) -> Result<(), FreeError> {
        // SAFETY: the caller gives it back.
        unsafe { self.pages.free_range_raw(self.range(start, bytes)) }
    }
}

// SAFETY: the page allocator, or the bits of the grains, give each byte of the region to one user at a time; the region is
// borrowed for as long as this lives, and blocks and runs are as aligned as their numbers are. A run is at least as long as a
// frame, where the heap has a record of it.
unsafe impl<C: Cpu> PageSource for RegionPages<'_, C> {
    fn allocate(&self, order: Order) -> Option<NonNull<u8>> {
        let bytes = order.bytes() as usize;
        match &self.granules {
            Some(granules) => granules.take(bytes, bytes),
            None => self.take_piece(bytes, bytes, Piece::Block),
        }
    }

    unsafe fn release(&self, block: NonNull<u8>, order: Order) -> Result<(), FreeError> {
        let bytes = order.bytes() as usize;
        match &self.granules {
            // SAFETY: the block is the caller's, who gives it back.
            Some(granules) => unsafe { granules.give(block, bytes) },
            None => self.give_piece(block, bytes, Piece::Block).ok_or_else(|| no_piece(block)),
        }
    }

    fn is_scarce(&self) -> bool {
        self.granules.as_ref().is_none_or(|granules| granules.managed() < SCARCE)
    }

    fn allocate_object(&self, object: Layout) -> Option<NonNull<u8>> {
        let is_piece = self.granules.is_none() || object.size() <= SizeClass::MAX_SIZE && self.is_scarce();
        if is_piece { self.take_piece(object.size(), object.align(), Piece::Object) } else { None }
    }

    fn object_around(&self, address: usize) -> Option<(usize, usize)> {
        self.pieces.with(|pieces| pieces.as_ref()?.object_around(address))
    }

    fn freed_at(&self, address: usize) -> Option<usize> {
        self.pieces.with(|pieces| pieces.as_ref()?.freed_at(address))
    }

    fn for_each_object(&self, visit: &mut dyn FnMut(usize, usize)) {
        self.pieces.with(|pieces| pieces.iter().for_each(|pieces| pieces.for_each_object(visit)));
    }

    unsafe fn resize_object(&self, object: NonNull<u8>, bytes: usize) -> bool {
        self.pieces.with(|pieces| pieces.as_mut().is_some_and(|pieces| pieces.resize(object.as_ptr().addr(), bytes)))
    }

    unsafe fn release_object(&self, object: NonNull<u8>, bytes: usize) -> bool {
        self.give_piece(object, bytes, Piece::Object).is_some()
    }

    fn run_for(object: Layout) -> Option<Layout> {
        let bytes = object.size().max(FRAME).checked_next_multiple_of(STEP)?;
        Layout::from_size_align(bytes, object.align()).ok()
    }

    fn allocate_run(&self, run: Layout) -> Option<NonNull<u8>> {
        self.granules.as_ref()?.take(run.size(), run.align())
    }

    unsafe fn release_run(&self, start: NonNull<u8>, run: Layout) -> Result<(), FreeError> {
        let granules = self.granules.as_ref().ok_or_else(|| no_piece(start))?;
        // SAFETY: the run is the caller's, who gives it back.
        unsafe { granules.give(start, run.size()) }
    }

    unsafe fn resize_run(&self, start: NonNull<u8>, run: Layout, bytes: usize) -> bool {
        self.granules.as_ref().is_some_and(|granules| {
            let range = granules.range(start, run.size());
            // SAFETY: the run is the caller's, who does not use what is behind its new end.
            unsafe { granules.pages.resize_raw(range, granules.count(bytes), GFP) }.is_ok()
        })
    }
}
