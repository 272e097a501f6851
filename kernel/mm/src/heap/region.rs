//! A heap inside memory that is there already, for programs with no kernel under them.
//!
//! A host program that must not ask for more memory than it was given, or an embedded one that has nothing but a static
//! array, has the whole of this crate in that array: a page allocator for the frames of the region, and the heap on top of
//! it, by the same code as in a kernel. Nothing lies outside of the region, and nothing of it is kept back: there are no
//! watermarks, and what the heap does not use it gives up before it refuses a request.
//!
//! ```text
//!   region  | heap and page allocator | their metadata | granules ...                             | rest |
//!   or      | small heap | two bits for each 8 bytes | objects ...                                | rest |
//! ```
//!
//! In a region of less than 4 MiB half-empty slabs of so many classes would be much of it, or most: there each object is as long as it
//! was asked for, in a [`SmallHeap`], and 4 KiB are a heap. For what needs caches, debugging, recording or speed there are slabs, too:
//! [`Heap::with_slabs_in`].
//!
//! What the page allocator calls a frame is a granule here, of 256 bytes, or 1 KiB where its metadata counts for more: it never
//! touches what it manages, so it is all the same to it. A slab is a block of several, and a large object takes as many as it
//! needs and not whole pages.
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

use core::alloc::Layout;
use core::marker::PhantomData;
use core::ptr::NonNull;

use super::grains::Word;
use super::{Heap, HeapError, Malloc, Objects, PageSource, SmallHeap};
use crate::allocator::{PageAllocator, Plan, SetupError, View};
use crate::cpu::{Cpu, Hooks};
use crate::error::{FreeError, table::errors};
use crate::frame::{FRAME_SIZE, Gfp, Order, Pfn, PfnRange, ZoneKind};
use crate::memory_map::{MemoryMap, Region, RegionKind};

const FRAME: usize = FRAME_SIZE as usize;
/// Large objects are whole multiples of so many bytes.
const STEP: usize = 256;

/// A region of so many bytes has slabs: a few half-empty ones of each class are little beside it.
const LEAST_WITH_SLABS: usize = 4 << 20;
/// There is no heap without room for as many bytes of objects.
const LEAST_FOR_OBJECTS: usize = 256;

/// Bytes in what the page allocator takes for a frame, in a region of so many bytes. In small ones its metadata would be a page
/// more otherwise.
const fn granule_for(bytes: usize) -> usize {
    if bytes < 2 << 20 { 4 * STEP } else { STEP }
}

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
        /// The heap was given a region before.
        Twice => "the heap was given a region before",
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

/// The memory of a region, as the heap in front of it asks for it.
pub struct RegionPages<'r, C> {
    granules: PageAllocator<'r, C>,
    /// Bytes in a granule.
    granule: usize,
    /// The region's first granule, and its number: other than its address's, but aligned alike.
    start: NonNull<u8>,
    first: Pfn,
}

// SAFETY: the pointer is to memory of no particular thread, and only tells where a block is that somebody was given. The
// page allocator is what threads share, and where it must not be shared this is not either.
unsafe impl<'r, C> Sync for RegionPages<'r, C> where PageAllocator<'r, C>: Sync {}
// SAFETY: likewise.
unsafe impl<'r, C> Send for RegionPages<'r, C> where PageAllocator<'r, C>: Send {}

/// Below so many bytes every one counts: 12 MiB.
const SCARCE: u64 = 12 << 20;

/// All of it: no watermark keeps the last granules from the only one who asks for any. And of the mobility that pageblocks have
/// at first, since nothing that never mixes has to be kept apart.
const GFP: Gfp = Gfp::MEMALLOC.union(Gfp::MOVABLE).union(Gfp::NOWARN);

impl<'r, C: Cpu> RegionPages<'r, C> {
    /// The page allocator behind it, for its counts and reports. What it calls frames are
    /// [granules](Self::granule), and the region's first one is [`first`](Self::first) there.
    pub fn frames(&self) -> &View<'r, C> {
        &self.granules
    }

    /// Bytes in what the page allocator calls a frame: 256, or 1,024 in regions of less than 2 MiB.
    pub fn granule(&self) -> usize {
        self.granule
    }

    /// The number of the region's first granule.
    pub fn first(&self) -> Pfn {
        self.first
    }

    fn granules_in(&self, bytes: usize) -> u64 {
        bytes.div_ceil(self.granule) as u64
    }

    /// The granules of what begins here and is so long.
    fn range_of(&self, start: NonNull<u8>, bytes: usize) -> PfnRange {
        let distance = start.as_ptr().addr() - self.start.as_ptr().addr();
        let pfn = self.first.offset((distance / self.granule) as u64);
        PfnRange::new(pfn, pfn.offset(self.granules_in(bytes)))
    }

    fn take(&self, bytes: usize, align: usize) -> Option<NonNull<u8>> {
        let (granules, align) = (self.granules_in(bytes), self.granules_in(align));
        let run = self.granules.allocate_contiguous_aligned(granules, align, GFP).ok()?;
        let distance = run.into_raw().start.number() - self.first.number();
        // SAFETY: the page allocator has no other granules than those behind `start`.
        Some(unsafe { self.start.add(distance as usize * self.granule) })
    }
}

// SAFETY: the page allocator gives each granule of the region to one user at a time; the region is borrowed for as long as
// this lives, and blocks and runs are as aligned as their numbers are. A run is at least as long as a frame.
unsafe impl<C: Cpu> PageSource for RegionPages<'_, C> {
    fn allocate(&self, order: Order) -> Option<NonNull<u8>> {
        self.take(order.bytes() as usize, order.bytes() as usize)
    }

    unsafe fn release(&self, block: NonNull<u8>, order: Order) -> Result<(), FreeError> {
        // SAFETY: the block is the caller's, who gives it back.
        unsafe { self.granules.free_range_raw(self.range_of(block, order.bytes() as usize)) }
    }

    fn is_scarce(&self) -> bool {
        self.granules.zone(ZoneKind::Normal).managed < SCARCE / self.granule as u64
    }

    fn run_for(object: Layout) -> Option<Layout> {
        let bytes = object.size().max(FRAME).checked_next_multiple_of(STEP)?;
        Layout::from_size_align(bytes, object.align()).ok()
    }

    fn allocate_run(&self, run: Layout) -> Option<NonNull<u8>> {
        self.take(run.size(), run.align())
    }

    unsafe fn release_run(&self, start: NonNull<u8>, run: Layout) -> Result<(), FreeError> {
        // SAFETY: the run is the caller's, who gives it back.
        unsafe { self.granules.free_range_raw(self.range_of(start, run.size())) }
    }

    unsafe fn resize_run(&self, start: NonNull<u8>, run: Layout, bytes: usize) -> bool {
        let (range, granules) = (self.range_of(start, run.size()), self.granules_in(bytes));
        // SAFETY: the run is the caller's, who does not use what is behind its new end.
        unsafe { self.granules.resize_raw(range, granules, GFP) }.is_ok()
    }
}

/// A heap in a region, with C's functions; its [`heap`](Malloc::heap) is there for those who know their layouts.
pub type RegionHeap<'r, C = SingleCpu, const CPUS: usize = 1> = Malloc<InRegion<'r, C, CPUS>>;

/// What a region is made of.
#[non_exhaustive]
pub enum InRegion<'r, C, const CPUS: usize> {
    /// One of less than 4 MiB.
    Small(&'r SmallHeap<'r, C>),
    /// Any other.
    Slabs(&'r Heap<RegionPages<'r, C>, C, CPUS>),
}

impl<C, const CPUS: usize> Clone for InRegion<'_, C, CPUS> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<C, const CPUS: usize> Copy for InRegion<'_, C, CPUS> {}

impl<'r, C, const CPUS: usize> InRegion<'r, C, CPUS> {
    /// The heap with slabs, for its caches, reports and whatever else it has to offer; `None` in a small region.
    pub const fn slabs(self) -> Option<&'r Heap<RegionPages<'r, C>, C, CPUS>> {
        match self {
            Self::Small(_) => None,
            Self::Slabs(heap) => Some(heap),
        }
    }

    /// The heap without slabs; `None` in a region that is not small.
    pub const fn small(self) -> Option<&'r SmallHeap<'r, C>> {
        match self {
            Self::Small(heap) => Some(heap),
            Self::Slabs(_) => None,
        }
    }
}

// SAFETY: each of them gives such memory.
unsafe impl<C: Cpu, const CPUS: usize> Objects for InRegion<'_, C, CPUS> {
    #[inline]
    fn allocate(self, layout: Layout) -> Option<NonNull<u8>> {
        match self {
            Self::Small(heap) => heap.allocate(layout),
            Self::Slabs(heap) => Objects::allocate(heap, layout),
        }
    }

    #[inline]
    unsafe fn free(self, object: NonNull<u8>, layout: Option<Layout>) -> Result<(), HeapError> {
        // SAFETY: by the trait's contract the object, if it is live, is the caller's to give up, which is what either asks for.
        unsafe {
            match self {
                Self::Small(heap) => heap.free(object, layout),
                Self::Slabs(heap) => Objects::free(heap, object, layout),
            }
        }
    }

    unsafe fn reallocate(
        self,
        object: NonNull<u8>,
        layout: Option<Layout>,
        wanted: Layout,
    ) -> Result<Option<NonNull<u8>>, HeapError> {
        // SAFETY: by the trait's contract the object, if it is live, is the caller's to give up, which is what either asks for.
        unsafe {
            match self {
                Self::Small(heap) => heap.reallocate(object, layout, wanted),
                Self::Slabs(heap) => Objects::reallocate(heap, object, layout, wanted),
            }
        }
    }

    fn object_size(self, object: NonNull<u8>) -> Result<usize, HeapError> {
        match self {
            Self::Small(heap) => heap.object_size(object),
            Self::Slabs(heap) => Objects::object_size(heap, object),
        }
    }

    fn report(self, error: &HeapError) {
        match self {
            Self::Small(heap) => heap.report(error),
            Self::Slabs(heap) => Objects::report(heap, error),
        }
    }
}

impl<'r> Heap<RegionPages<'r, SingleCpu>, SingleCpu, 1> {
    /// Makes a heap of a region, for one thread. It takes nothing but the region, whatever that holds; when the last
    /// copy of the heap's handle is gone, the region is its owner's again, with unspecified contents.
    ///
    /// # Errors
    /// [`RegionError::TooSmall`], saying how large it must be.
    pub fn in_region(region: &'r mut [u8]) -> Result<RegionHeap<'r>, RegionError> {
        Self::in_shared_region(region)
    }
}

impl<'r, C: Cpu, const CPUS: usize> Heap<RegionPages<'r, C>, C, CPUS> {
    /// [`in_region`](Heap::in_region), for as many threads as `C` can tell apart, of which the first `CPUS` can have slabs of
    /// their own.
    ///
    /// # Errors
    /// As there.
    pub fn in_shared_region(region: &'r mut [u8]) -> Result<RegionHeap<'r, C, CPUS>, RegionError> {
        Ok(Malloc::new(if region.len() < LEAST_WITH_SLABS {
            InRegion::Small(small(Space::new(region))?)
        } else {
            InRegion::Slabs(Self::with_slabs_in(region)?)
        }))
    }

    /// Frames that the heap needs for itself before its first object, and that object's.
    const LEAST_FRAMES: usize = 5;

    /// [`in_shared_region`](Self::in_shared_region), with slabs however small the region is: for what needs caches, debugging,
    /// recording or speed more than memory.
    ///
    /// # Errors
    /// As there.
    pub fn with_slabs_in(region: &'r mut [u8]) -> Result<&'r Self, RegionError> {
        let mut space = Space::new(region);
        let heap = space.take(size_of::<Self>(), align_of::<Self>());
        let granule = granule_for(space.bytes);
        // No fewer granules than there will be, so no fewer words.
        let all = space.aligned(0, granule);
        let words = words_for(space.numbers(all, space.bytes.saturating_sub(all).max(granule), granule));
        let metadata = space.take(words * size_of::<u64>(), align_of::<u64>());
        let first = space.take(0, granule);
        space.need(space.aligned(first, FRAME) + Self::LEAST_FRAMES * FRAME)?;
        let range = space.numbers(first, space.bytes - first, granule);
        let mut map = map_of(range);
        let plan = Plan::apart(MemoryMap::sanitise(&mut map).expect("one range of zone Normal is a map"));
        debug_assert!(plan.metadata_words() <= words);
        // SAFETY: the metadata lies inside the region, aligned, and apart from the heap and the granules, and is no longer
        // than was reckoned with more granules. The region is ours for `'r`, and holds bytes, of which any eight are a word. Nobody but
        // `pages` gives this allocator any granule: to others it is a view.
        let granules = unsafe {
            let metadata = space.at(metadata).cast::<u64>();
            let metadata = core::slice::from_raw_parts_mut::<'r>(metadata.as_ptr(), plan.metadata_words());
            PageAllocator::new(&plan, metadata, &[])?
        };
        let pages = RegionPages { granules, granule, start: space.at(first), first: range.start };
        // SAFETY: the heap's place lies inside the region, aligned, and apart from metadata and frames; from here on it is
        // shared, for as long as the region is borrowed.
        Ok(unsafe { space.put(heap, Self::new(pages)) })
    }
}

/// Makes a heap without slabs of a region.
fn small<'r, C: Cpu>(mut space: Space) -> Result<&'r SmallHeap<'r, C>, RegionError> {
    let heap = space.take(size_of::<SmallHeap<'r, C>>(), align_of::<SmallHeap<'r, C>>());
    // So that the first object is as aligned as C wants it.
    let start = space.take(0, size_of::<Word>());
    let rest = space.bytes.saturating_sub(start);
    space.need(start + LEAST_FOR_OBJECTS + SmallHeap::<C>::metadata(rest.max(2 * LEAST_FOR_OBJECTS)))?;
    // SAFETY: what is left of the region is ours for `'r`, aligned, and longer than its metadata; the heap's place lies before it, aligned,
    // and from here on the heap is shared, for as long as the region is borrowed.
    Ok(unsafe { space.put(heap, SmallHeap::new(space.at(start), rest)) })
}

/// A region that is laid out from its start on.
struct Space {
    base: NonNull<u8>,
    bytes: usize,
    /// So many bytes have their use, or would have if there were as many.
    used: usize,
}

impl Space {
    fn new(region: &mut [u8]) -> Self {
        Self { bytes: region.len(), base: NonNull::from(region).cast(), used: 0 }
    }

    /// Whether there are as many bytes.
    fn need(&self, needed: usize) -> Result<(), RegionError> {
        let bytes = self.bytes;
        if bytes < needed { Err(RegionError::TooSmall { bytes, needed }) } else { Ok(()) }
    }

    /// Has the next bytes that are aligned used; where they begin.
    fn take(&mut self, bytes: usize, align: usize) -> usize {
        let offset = self.aligned(self.used, align);
        self.used = offset + bytes;
        offset
    }

    /// The first place from this one on with an aligned address.
    fn aligned(&self, offset: usize, align: usize) -> usize {
        let start = self.base.as_ptr().addr();
        (start + offset).next_multiple_of(align) - start
    }

    /// A place in the region.
    fn at(&self, offset: usize) -> NonNull<u8> {
        debug_assert!(offset <= self.bytes);
        // SAFETY: what is laid out lies inside the region.
        unsafe { self.base.add(offset) }
    }

    /// Puts a value into the region.
    ///
    /// # Safety
    /// It was [laid out](Self::take) there, is nobody else's for `'r`, and the region has as many bytes.
    unsafe fn put<'r, T>(&self, offset: usize, value: T) -> &'r T {
        let place = self.at(offset).cast::<T>();
        // SAFETY: by this function's contract the place is inside the region, aligned, and the value's alone.
        unsafe {
            place.write(value);
            place.as_ref()
        }
    }

    /// The numbers of the granules in so many bytes from a place on: aligned as their addresses are, up to 64 TiB, and all in one zone.
    fn numbers(&self, offset: usize, bytes: usize, granule: usize) -> PfnRange {
        const ALIKE: u64 = 1 << 46;
        let address = self.base.as_ptr().addr() + offset;
        let first = Pfn::new((ALIKE + address as u64 % ALIKE) / granule as u64);
        PfnRange::new(first, first.offset((bytes / granule) as u64))
    }
}

fn map_of(range: PfnRange) -> [Region; 1] {
    [Region { start: range.start.address(), end: range.end.address(), kind: RegionKind::Usable }]
}

/// Words of metadata that these granules need.
fn words_for(range: PfnRange) -> usize {
    let mut map = map_of(range);
    let map = MemoryMap::sanitise(&mut map).expect("one range of zone Normal is a map");
    Plan::apart(map).metadata_words()
}
