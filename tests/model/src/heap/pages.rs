//! Where the heap of a round has its memory from: page frames that are really there, from the crate's own allocator.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::cell::{Cell, RefCell};
use std::ptr::NonNull;

use bifolio::allocator::{PageAllocator, PerCpuPages, Plan};
use bifolio::error::FreeError;
use bifolio::frame::{FRAME_SIZE, Gfp, Order, Pfn};
use bifolio::heap::PageSource;
use bifolio::memory_map::{MemoryMap, Region, RegionKind};
use kit::Raw;

use super::oracle::Blocks;
use crate::machine::Turns;

/// What frames hold when they go back to where they came from: an object that is still in them is seen to be lost.
const GIVEN_BACK: u8 = 0xaa;

/// Memory of the host's, aligned to the largest block.
pub struct Memory {
    start: NonNull<u8>,
    layout: Layout,
}

impl Memory {
    /// So many bytes.
    pub fn new(bytes: usize) -> Self {
        let layout = Layout::from_size_align(bytes, Order::MAX.bytes() as usize).expect("a round's memory is small");
        // SAFETY: the layout is not empty.
        let start = NonNull::new(unsafe { alloc(layout) }).unwrap_or_else(|| handle_alloc_error(layout));
        Self { start, layout }
    }

    /// The address of the first byte.
    pub fn address(&self) -> usize {
        self.start.as_ptr().addr()
    }

    /// Has `work` do its work with all of it as free frames, of which each CPU has an arena.
    pub fn with_pages<R>(&mut self, cpus: usize, work: impl FnOnce(Pages<'_>) -> R) -> R {
        let (start, bytes) = (self.address() as u64, self.bytes() as u64);
        let mut map = [Region { start, end: start + bytes, kind: RegionKind::Usable }];
        let plan = Plan::new(MemoryMap::sanitise(&mut map).expect("the host's memory can be addressed"));
        let plan = plan.expect("the metadata has room in the memory");
        let mut metadata = vec![0; plan.metadata_words()];
        let arenas: Vec<PerCpuPages> = (0..cpus).map(|_| PerCpuPages::new()).collect();
        // SAFETY: the frames are this memory, which is borrowed mutably for as long as they are used.
        let frames = unsafe { PageAllocator::new(&plan, &mut metadata, &arenas) };
        work(Pages {
            frames: frames.expect("the metadata has the planned size"),
            memory: self,
            blocks: RefCell::new(Blocks::new(self.address(), self.bytes())),
            until_refusal: Cell::new(None),
            refusals: Cell::new(0),
            requests: Cell::new(0),
        })
    }

    /// How many there are.
    pub fn bytes(&self) -> usize {
        self.layout.size()
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: it came from `alloc` with this layout, and whoever used it is gone: it was borrowed from here.
        unsafe { dealloc(self.start.as_ptr(), self.layout) };
    }
}

/// A page source that tells the oracle of every block that goes out or comes back.
pub struct Pages<'m> {
    frames: PageAllocator<'m, Turns>,
    memory: &'m Memory,
    /// The blocks that the heap has.
    pub blocks: RefCell<Blocks>,
    /// How many more requests are served before one is refused; `None` without such an end.
    pub until_refusal: Cell<Option<u64>>,
    /// Requests that were refused.
    pub refusals: Cell<u64>,
    /// All requests.
    pub requests: Cell<u64>,
}

impl Pages<'_> {
    fn is_refused(&self) -> bool {
        match self.until_refusal.get() {
            None => false,
            Some(0) => true,
            Some(left) => {
                self.until_refusal.set(Some(left - 1));
                false
            }
        }
    }

    /// Checks that the page allocator has every frame back.
    pub fn check_all_free(&self) {
        self.frames.drain();
        assert_eq!(self.frames.validate(), Ok(()));
        let stats = self.frames.stats();
        for zone in stats.zones {
            assert_eq!((zone.free, zone.allocated), (zone.managed, zone.freed), "{zone:?}");
        }
        assert_eq!(self.blocks.borrow().count(), 0);
    }
}

// SAFETY: blocks are the page allocator's, which gives each frame to one user at a time, in memory that is borrowed for
// longer than this lives.
unsafe impl PageSource for Pages<'_> {
    fn allocate(&self, order: Order) -> Option<NonNull<u8>> {
        self.requests.set(self.requests.get() + 1);
        let pfn = if self.is_refused() { None } else { self.frames.take(order, Gfp::MEMALLOC | Gfp::NOWARN).ok() };
        let Some(pfn) = pfn else {
            self.refusals.set(self.refusals.get() + 1);
            return None;
        };
        let address = pfn.address() as usize;
        self.blocks.borrow_mut().open(address, order);
        // SAFETY: the allocator manages this memory alone.
        Some(unsafe { self.memory.start.add(address - self.memory.address()) })
    }

    unsafe fn release(&self, block: NonNull<u8>, order: Order) -> Result<(), FreeError> {
        self.blocks.borrow_mut().close(block.as_ptr().addr(), order);
        // SAFETY: the block is ours again, and this long.
        unsafe { block.write_bytes(GIVEN_BACK, order.bytes() as usize) };
        self.frames.give(Pfn::new(block.as_ptr().addr() as u64 / FRAME_SIZE), order)
    }
}
