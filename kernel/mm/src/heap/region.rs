//! A heap inside memory that is there already, for programs with no kernel under them.
//!
//! A host program that must not ask for more memory than it was given, or an embedded one that has nothing but a static
//! array, has the whole of this crate in that array: a page allocator for the frames of the region, and the heap on top of
//! it, by the same code as in a kernel. Nothing lies outside of the region, and nothing of it is kept back: there are no
//! watermarks, and what the heap does not use it gives up before it refuses a request.
//!
//! ```text
//!   region  | heap and page allocator | their metadata | frames ...                               | rest |
//!           ^ aligned to 4 KiB                         ^ aligned to 4 KiB
//! ```
//!
//! The metadata goes to where the alignment leaves a gap, if one is large enough.
//!
//! ```
//! use bifolio::heap::Heap;
//!
//! let mut region = vec![0u8; 256 << 10];
//! let heap = Heap::in_region(&mut region)?;
//! let object = heap.malloc(1000)?;
//! // SAFETY: the object is ours, and not used afterwards.
//! unsafe {
//!     object.write_bytes(1, 1000);
//!     let object = heap.realloc(object.as_ptr(), 16 << 10)?;
//!     assert_eq!(object.add(999).read(), 1);
//!     heap.free_sized(object.as_ptr(), 16 << 10)?;
//!     assert!(heap.free(object.as_ptr()).is_err(), "twice");
//! }
//! # Ok::<(), Box<dyn core::error::Error>>(())
//! ```

use core::marker::PhantomData;
use core::ptr::NonNull;

use super::{Heap, Malloc, PageSource};
use crate::allocator::{PageAllocator, Plan, SetupError, View};
use crate::cpu::{Cpu, Hooks};
use crate::error::{FreeError, table::errors};
use crate::frame::{FRAME_SIZE, Gfp, Order, Pfn, PfnRange, ZoneKind};
use crate::memory_map::{MemoryMap, Region, RegionKind};

const FRAME: usize = FRAME_SIZE as usize;

errors! {
    /// Why there can be no heap in a region.
    pub enum RegionError {
        /// The region is too small for the heap and one object.
        TooSmall {
            /// How many bytes there are.
            bytes: usize,
            /// How many there would have to be, from the same address on.
            needed: usize,
        } => "a region of {bytes} bytes is too small for a heap: here it needs {needed}",
        /// The page allocator cannot manage so much.
        Setup(error: SetupError) => from,
    }
}

/// The only CPU of a program that has one thread, and no interrupts that allocate.
///
/// It is neither `Send` nor `Sync`, and so nothing is that leans on it: the heap stays on its thread.
#[derive(Debug)]
pub struct SingleCpu(PhantomData<*const ()>);

// SAFETY: it is not `Sync`, so there is one CPU; nothing interrupts it.
unsafe impl Cpu for SingleCpu {
    fn current() -> usize {
        0
    }

    fn synchronize() {}

    fn mask_interrupts() -> bool {
        false
    }

    fn restore_interrupts(_: bool) {}
}

impl Hooks for SingleCpu {}

/// The frames of a region, as the heap in front of them asks for them.
pub struct RegionPages<'r, C> {
    frames: PageAllocator<'r, C>,
    /// The region's first frame, and its number: other than its address's, but aligned alike.
    start: NonNull<u8>,
    first: Pfn,
}

// SAFETY: the pointer is to memory of no particular thread, and only tells where a block is that somebody was given. The
// page allocator is what threads share, and where it must not be shared this is not either.
unsafe impl<'r, C> Sync for RegionPages<'r, C> where PageAllocator<'r, C>: Sync {}
// SAFETY: likewise.
unsafe impl<'r, C> Send for RegionPages<'r, C> where PageAllocator<'r, C>: Send {}

/// Below so many frames every one counts: 1 MiB.
const SCARCE_FRAMES: u64 = 256;

/// All of it: no watermark keeps the last frames from the only one who asks for any. And of the mobility that pageblocks have
/// at first, since nothing that never mixes has to be kept apart.
const GFP: Gfp = Gfp::MEMALLOC.union(Gfp::MOVABLE).union(Gfp::NOWARN);

impl<'r, C: Cpu> RegionPages<'r, C> {
    /// The page allocator behind it, for its counts and reports. The region's first frame is
    /// [`first`](Self::first) there.
    pub fn frames(&self) -> &View<'r, C> {
        &self.frames
    }

    /// The number of the region's first frame.
    pub fn first(&self) -> Pfn {
        self.first
    }

    fn address_of(&self, pfn: Pfn) -> NonNull<u8> {
        // SAFETY: the page allocator has no other frames than those behind `start`.
        unsafe { self.start.add((pfn.number() - self.first.number()) as usize * FRAME) }
    }

    fn range_of(&self, run: NonNull<u8>, frames: u64) -> PfnRange {
        let distance = run.as_ptr().addr() - self.start.as_ptr().addr();
        let pfn = self.first.offset((distance / FRAME) as u64);
        PfnRange::new(pfn, pfn.offset(frames))
    }
}

// SAFETY: the page allocator gives each frame of the region to one user at a time; the region is borrowed for as long as
// this lives, and blocks are as aligned as their numbers are.
unsafe impl<C: Cpu> PageSource for RegionPages<'_, C> {
    fn allocate(&self, order: Order) -> Option<NonNull<u8>> {
        Some(self.address_of(self.frames.allocate(order, GFP).ok()?.into_raw().0))
    }

    unsafe fn release(&self, block: NonNull<u8>, order: Order) -> Result<(), FreeError> {
        // SAFETY: the block is the caller's, who gives it back.
        unsafe { self.frames.free_raw(self.range_of(block, 1).start, order) }
    }

    fn is_scarce(&self) -> bool {
        self.frames.zone(ZoneKind::Normal).managed < SCARCE_FRAMES
    }

    fn run_frames(frames: u64, _: Order) -> Option<u64> {
        Some(frames)
    }

    fn allocate_run(&self, frames: u64, align: Order) -> Option<NonNull<u8>> {
        // What no block is left for may still lie between two.
        let exact = self.frames.allocate_exact_aligned(frames, align, GFP);
        let run = exact.ok().or_else(|| self.frames.allocate_contiguous(frames, GFP).ok())?;
        if !run.range().start.is_aligned(align) {
            self.frames.free_range(run).ok()?;
            return None;
        }
        Some(self.address_of(run.into_raw().start))
    }

    unsafe fn release_run(&self, run: NonNull<u8>, frames: u64, _: Order) -> Result<(), FreeError> {
        // SAFETY: the run is the caller's, who gives it back.
        unsafe { self.frames.free_range_raw(self.range_of(run, frames)) }
    }

    unsafe fn resize_run(&self, run: NonNull<u8>, from: u64, to: u64, _: Order) -> bool {
        // SAFETY: the run is the caller's, who does not use what is behind its new end.
        unsafe { self.frames.resize_raw(self.range_of(run, from), to, GFP) }.is_ok()
    }
}

/// A heap in a region, with C's functions; its [`heap`](Malloc::heap) is there for those who know their layouts.
pub type RegionHeap<'r, C = SingleCpu, const CPUS: usize = 1> = Malloc<'r, RegionPages<'r, C>, C, CPUS>;

impl<'r> Heap<RegionPages<'r, SingleCpu>, SingleCpu, 1> {
    /// Makes a heap of a region, for one thread. It takes nothing but the region, whatever that holds; when the last one
    /// who knows of the heap is gone, the region is its owner's again, with unspecified contents.
    ///
    /// # Errors
    /// [`RegionError::TooSmall`], saying how large it must be.
    pub fn in_region(region: &'r mut [u8]) -> Result<RegionHeap<'r>, RegionError> {
        Self::in_shared_region(region)
    }
}

impl<'r, C: Cpu, const CPUS: usize> Heap<RegionPages<'r, C>, C, CPUS> {
    /// Frames that the heap needs for itself before its first object, and that object's.
    const LEAST_FRAMES: usize = 5;

    /// [`in_region`](Heap::in_region), for as many threads as `C` can tell apart, of which the first `CPUS` can have slabs of
    /// their own.
    ///
    /// # Errors
    /// As there.
    pub fn in_shared_region(region: &'r mut [u8]) -> Result<RegionHeap<'r, C, CPUS>, RegionError> {
        let (bytes, base) = (region.len(), NonNull::from_mut(region).cast::<u8>());
        let (start, address) = (base.as_ptr().addr(), |offset: usize| base.as_ptr().addr() + offset);
        let up = |offset: usize, align: usize| address(offset).next_multiple_of(align) - start;
        let heap = up(0, align_of::<Self>());
        let behind = heap + size_of::<Self>();

        // No fewer frames than there will be, so no fewer words.
        let all = up(0, FRAME);
        let most = bytes.saturating_sub(all) / FRAME;
        let words = words_for(numbers(address(all), most.max(1)))?;
        let end = all + most * FRAME;
        let (metadata, first) = if up(0, align_of::<u64>()) + words * size_of::<u64>() <= heap {
            (up(0, align_of::<u64>()), up(behind, FRAME))
        } else if end + words * size_of::<u64>() <= bytes {
            (end, up(behind, FRAME))
        } else {
            (behind, up(behind + words * size_of::<u64>(), FRAME))
        };
        let needed = first + Self::LEAST_FRAMES * FRAME;
        if bytes < needed {
            return Err(RegionError::TooSmall { bytes, needed });
        }

        let range = numbers(address(first), (bytes - first) / FRAME);
        let mut map = map_of(range);
        let plan = Plan::apart(MemoryMap::sanitise(&mut map).expect("one range of zone Normal is a map"))?;
        // SAFETY: the metadata lies inside the region, aligned, and apart from the heap and the frames, and is no longer
        // than was reckoned with more frames. The region is ours for `'r`, and holds bytes, of which any eight are a word.
        let metadata = unsafe {
            let metadata = base.add(metadata).cast::<u64>();
            core::slice::from_raw_parts_mut::<'r, u64>(metadata.as_ptr(), plan.metadata_words())
        };
        debug_assert!(metadata.len() <= words);
        // SAFETY: the frames are those of the region, which is ours for `'r`, behind heap and metadata. Nobody but `pages` gives
        // this allocator any: to others it is a view.
        let frames = unsafe { PageAllocator::new(&plan, metadata, &[]) }?;
        // SAFETY: `first` lies inside the region.
        let pages = RegionPages { frames, start: unsafe { base.add(first) }, first: range.start };
        // SAFETY: the heap's place lies inside the region, aligned, and apart from metadata and frames; from here on it is
        // shared, for as long as the region is borrowed.
        let heap: &'r Self = unsafe {
            let heap = base.add(heap).cast::<Self>();
            heap.write(Self::new(pages));
            heap.as_ref()
        };
        Ok(Malloc::new(heap))
    }
}

/// The numbers of `frames` frames from an address on. Not what the address says, but in one zone, wherever the region is,
/// and in front of blocks of the same orders.
fn numbers(address: usize, frames: usize) -> PfnRange {
    let first = Pfn::containing(address as u64).number() % Order::MAX.frames();
    let first = ZoneKind::Normal.range().start.offset(first);
    PfnRange::new(first, first.offset(frames as u64))
}

fn map_of(range: PfnRange) -> [Region; 1] {
    [Region { start: range.start.address(), end: range.end.address(), kind: RegionKind::Usable }]
}

/// Words of metadata that these frames need.
fn words_for(range: PfnRange) -> Result<usize, SetupError> {
    let mut map = map_of(range);
    let map = MemoryMap::sanitise(&mut map).expect("one range of zone Normal is a map");
    Ok(Plan::apart(map)?.metadata_words())
}
