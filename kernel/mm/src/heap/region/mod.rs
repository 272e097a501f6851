//! A heap inside memory that is there already, for programs with no kernel under them.
//!
//! A host program that must not ask for more memory than it was given, or an embedded one that has nothing but a static
//! array, has the whole of this crate in that array: a page allocator for the frames of the region, and the heap on top of
//! it, by the same code as in a kernel. Nothing lies outside of the region, and nothing of it is kept back: there are no
//! watermarks, and what the heap does not use it gives up before it refuses a request.
//!
//! ```text
//!   region  | page allocator | heap | the page allocator's metadata | granules ...                     | rest |
//!   or      | heap | three bits for each grain | grains ...                                              | rest |
//! ```
//!
//! What the page allocator calls a frame is a granule here, of 256 bytes, or 1 KiB where its metadata counts for more: it never
//! touches what it manages, so it is all the same to it. A slab is a block of several, and a large object takes as many as it
//! needs and not whole pages.
//!
//! In a region of less than 512 KiB half-empty slabs of so many classes would be most of it. There is no page allocator there,
//! and every object is a piece of its own, of as many grains of 8 bytes as it needs: 64 KiB hold as much as a list of holes
//! would, and 4 KiB are a heap. An operation looks at the bits of the region, so it takes longer the larger that is. In regions of
//! up to 12 MiB a sixteenth can be of such grains, for small objects of which there are not enough for a slab.
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

mod grains;
mod pages;
mod pieces;

use core::marker::PhantomData;
use core::ptr::NonNull;

use super::{Heap, Malloc};
use crate::allocator::{PageAllocator, Plan, SetupError};
use crate::cpu::{Cpu, Hooks};
use crate::error::table::errors;
use crate::frame::{FRAME_SIZE, Pfn, PfnRange};
use crate::memory_map::{MemoryMap, Region, RegionKind};
use grains::Word;

use pages::Granules;
pub use pages::RegionPages;
use pieces::Pieces;

const FRAME: usize = FRAME_SIZE as usize;
/// Large objects are whole multiples of so many bytes.
const STEP: usize = 256;
/// A region of so many bytes has slabs; in a smaller one each object is a piece of its own.
const LEAST_WITH_SLABS: usize = 512 << 10;

/// There is no heap without room for as many bytes of objects.
const LEAST_OBJECT: usize = 256;

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
    /// [`in_region`](Heap::in_region), for as many threads as `C` can tell apart, of which the first `CPUS` can have slabs of
    /// their own.
    ///
    /// # Errors
    /// As there.
    pub fn in_shared_region(region: &'r mut [u8]) -> Result<RegionHeap<'r, C, CPUS>, RegionError> {
        let mut space = Space { bytes: region.len(), base: NonNull::from(region).cast(), used: 0 };
        let heap = space.take(size_of::<Self>(), align_of::<Self>());
        let pages = if space.bytes < LEAST_WITH_SLABS { Self::grains(&mut space) } else { Self::granules(&mut space) }?;
        // SAFETY: the heap's place lies inside the region, aligned, and apart from all else there; from here on it is shared,
        // for as long as the region is borrowed.
        let heap: &'r Self = unsafe {
            let heap = space.at(heap).cast::<Self>();
            heap.write(Self::new(pages));
            heap.as_ref()
        };
        Ok(Malloc::new(heap))
    }

    /// The rest of a small region, as grains.
    fn grains(space: &mut Space) -> Result<RegionPages<'r, C>, RegionError> {
        let start = space.take(0, align_of::<Word>());
        let rest = space.bytes.saturating_sub(start);
        space.need(start + Pieces::bits(rest) + LEAST_OBJECT)?;
        // SAFETY: what is left of the region is ours for `'r`, and aligned.
        Ok(RegionPages::of_pieces(unsafe { Pieces::new(space.at(start), rest) }))
    }

    /// The rest of a region, as granules, and the page allocator that has them.
    fn granules(space: &mut Space) -> Result<RegionPages<'r, C>, RegionError> {
        let allocator = space.take(size_of::<PageAllocator<'r, C>>(), align_of::<PageAllocator<'r, C>>());
        let granule = granule_for(space.bytes);
        // No fewer granules than there will be, so no fewer words.
        let words = words_for(space.numbers(space.used.next_multiple_of(granule), granule))?;
        let metadata = space.take(words * size_of::<u64>(), align_of::<u64>());
        let first = space.take(0, granule);
        space.need(first + FRAME)?;
        let range = space.numbers(first, granule);
        let mut map = map_of(range);
        let plan = Plan::apart(MemoryMap::sanitise(&mut map).expect("one range of zone Normal is a map"))?;
        debug_assert!(plan.metadata_words() <= words);
        // SAFETY: metadata and page allocator lie inside the region, aligned, and apart from the heap and the granules, and the
        // former is no longer than was reckoned with more granules. The region is ours for `'r`, and holds bytes, of which
        // any eight are a word. Nobody but `RegionPages` gives this allocator any granule: to others it is a view.
        let allocator: &'r PageAllocator<'r, C> = unsafe {
            let metadata = space.at(metadata).cast::<u64>();
            let metadata = core::slice::from_raw_parts_mut::<'r>(metadata.as_ptr(), plan.metadata_words());
            let place = space.at(allocator).cast();
            place.write(PageAllocator::new(&plan, metadata, &[])?);
            place.as_ref()
        };
        let start = space.at(first);
        Ok(RegionPages::of_granules(Granules { pages: allocator, bytes: granule, start, first: range.start }))
    }
}

/// A region that is laid out from its start on.
struct Space {
    base: NonNull<u8>,
    bytes: usize,
    /// So many bytes have their use, or would have if there were as many.
    used: usize,
}

impl Space {
    /// Has the next bytes that are aligned used; where they begin.
    fn take(&mut self, bytes: usize, align: usize) -> usize {
        let start = self.base.as_ptr().addr();
        let offset = (start + self.used).next_multiple_of(align) - start;
        self.used = offset + bytes;
        offset
    }

    /// Whether there are as many bytes.
    fn need(&self, needed: usize) -> Result<(), RegionError> {
        let bytes = self.bytes;
        if bytes < needed { Err(RegionError::TooSmall { bytes, needed }) } else { Ok(()) }
    }

    /// A place in the region.
    fn at(&self, offset: usize) -> NonNull<u8> {
        debug_assert!(offset <= self.bytes);
        // SAFETY: what is laid out lies inside the region.
        unsafe { self.base.add(offset) }
    }

    /// The numbers of the granules from a place on: aligned as their addresses are, up to 64 TiB, and all in one zone.
    fn numbers(&self, offset: usize, granule: usize) -> PfnRange {
        const ALIKE: u64 = 1 << 46;
        let address = self.base.as_ptr().addr() + offset;
        let first = Pfn::new((ALIKE + address as u64 % ALIKE) / granule as u64);
        PfnRange::new(first, first.offset(((self.bytes - offset) / granule) as u64))
    }
}

fn map_of(range: PfnRange) -> [Region; 1] {
    [Region { start: range.start.address(), end: range.end.address(), kind: RegionKind::Usable }]
}

/// Words of metadata that these granules need.
fn words_for(range: PfnRange) -> Result<usize, SetupError> {
    let mut map = map_of(range);
    let map = MemoryMap::sanitise(&mut map).expect("one range of zone Normal is a map");
    Ok(Plan::apart(map)?.metadata_words())
}
