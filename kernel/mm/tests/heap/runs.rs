//! A page source as a kernel has one: exact runs from the page allocator, and mappings for what is longer or finds none.

use std::alloc::{Layout, alloc, dealloc};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::ptr::NonNull;
use std::sync::Mutex;

use bifolio::allocator::{BlockState, PageAllocator, PerCpuPages, Plan};
use bifolio::error::FreeError;
use bifolio::frame::{FRAME_SIZE, Gfp, Order, Pfn, PfnRange, ZoneKind};
use bifolio::heap::PageSource;
use bifolio::memory_map::{MemoryMap, Region, RegionKind};
use kit::Raw;
use kit::machine::metadata;

use crate::source::Thread;

const FRAME: usize = FRAME_SIZE as usize;
/// Bytes of memory.
const BYTES: usize = 64 << 20;
/// What mappings are aligned to at least, and how far each could grow at most: addresses are not scarce.
const ROOM: usize = 256 << 20;

/// A block: where, how large, in which state.
pub type Block = (Pfn, Order, BlockState);

/// A machine's memory, shown at some place in the host's, the page allocator over it, and mappings.
///
/// On the host a mapping's memory is the host's own; the frames that it would be mapped to are allocated and not used.
pub struct Runs {
    memory: NonNull<u8>,
    pub frames: PageAllocator<'static, Thread>,
    mappings: Mutex<BTreeMap<usize, Mapping>>,
    /// Runs that were asked for, and resized.
    pub requests: Cell<usize>,
    /// Runs of more frames than this are mapped.
    pub most_in_a_row: Cell<u64>,
    /// Mappings cannot grow further than this.
    pub room: Cell<usize>,
    /// What it says that it keeps.
    pub kept: Cell<u64>,
}

struct Mapping {
    memory: NonNull<u8>,
    frames: Vec<Pfn>,
}

const fn layout(bytes: usize) -> Layout {
    match Layout::from_size_align(bytes, Order::MAX.bytes() as usize) {
        Ok(layout) => layout,
        Err(_) => panic!(),
    }
}

impl Runs {
    pub fn new() -> Self {
        Self::with_pages(&[])
    }

    /// With pages of their own for CPUs.
    pub fn with_pages(pages: &'static [PerCpuPages]) -> Self {
        Thread::become_first();
        // Above what is kept for devices, so that zones do not matter.
        let start = 4 << 30;
        let mut firmware = [Region { start, end: start + BYTES as u64, kind: RegionKind::Usable }];
        let plan = Plan::new(MemoryMap::sanitise(&mut firmware).unwrap()).unwrap();
        let metadata = metadata(plan.metadata_words());
        // SAFETY: the layout is not empty.
        let memory = NonNull::new(unsafe { alloc(layout(BYTES)) }).unwrap();
        // SAFETY: the frames are this machine's alone, and `memory` shows them.
        let frames = unsafe { PageAllocator::new(&plan, metadata, pages) }.unwrap();
        Self {
            memory,
            frames,
            mappings: Mutex::default(),
            requests: Cell::new(0),
            most_in_a_row: Cell::new(u64::MAX),
            room: Cell::new(ROOM),
            kept: Cell::new(0),
        }
    }

    fn offset(&self, address: NonNull<u8>) -> usize {
        address.as_ptr().addr() - self.memory.as_ptr().addr()
    }

    /// The first frame of what is not mapped.
    pub fn frame_at(&self, address: NonNull<u8>) -> Pfn {
        Pfn::containing((4 << 30) + self.offset(address) as u64)
    }

    fn show(&self, pfn: Pfn) -> NonNull<u8> {
        // SAFETY: the frame's address is below the end of the memory.
        unsafe { self.memory.add((pfn.address() - (4 << 30)) as usize) }
    }

    pub fn is_mapped(&self, run: NonNull<u8>) -> bool {
        run < self.memory || self.offset(run) >= BYTES
    }

    /// Every block there is.
    pub fn blocks(&self) -> Vec<Block> {
        let mut blocks = Vec::new();
        self.frames.for_each_block(ZoneKind::Normal, |block| blocks.push((block.pfn, block.order, block.state)));
        blocks
    }

    pub fn used(&self) -> u64 {
        let zone = self.frames.zone(ZoneKind::Normal);
        zone.managed - zone.free
    }

    /// Frames for a mapping, or as many more; `false` if there are too few.
    fn fetch(&self, frames: &mut Vec<Pfn>, length: u64) -> bool {
        let had = frames.len();
        while (frames.len() as u64) < length {
            match self.frames.take(Order::ZERO, Gfp::KERNEL) {
                Ok(pfn) => frames.push(pfn),
                Err(_) => {
                    self.give_back(frames, had);
                    return false;
                }
            }
        }
        true
    }

    fn give_back(&self, frames: &mut Vec<Pfn>, length: usize) {
        frames.drain(length..).for_each(|pfn| self.frames.give(pfn, Order::ZERO).unwrap());
    }
}

// SAFETY: the allocator gives a frame to one owner at a time; the memory shows them in their place, aligned as far as
// the largest block is. A mapping's memory is the host's, as long and as aligned as any may become.
unsafe impl PageSource for Runs {
    fn allocate(&self, order: Order) -> Option<NonNull<u8>> {
        Some(self.show(self.frames.take(order, Gfp::KERNEL).ok()?))
    }

    unsafe fn release(&self, block: NonNull<u8>, order: Order) -> Result<(), FreeError> {
        self.frames.give(self.frame_at(block), order)
    }

    fn kept(&self) -> u64 {
        self.kept.get()
    }

    fn run_for(object: Layout) -> Option<Layout> {
        Layout::from_size_align(object.size().max(1).checked_next_multiple_of(FRAME)?, object.align()).ok()
    }

    fn allocate_run(&self, run: Layout) -> Option<NonNull<u8>> {
        self.requests.set(self.requests.get() + 1);
        let (frames, align) = ((run.size() / FRAME) as u64, run.align().div_ceil(FRAME) as u64);
        let exact = |align| self.frames.take_exact_aligned(frames, align, Gfp::KERNEL).ok();
        if let Some(range) = Order::covering(align).filter(|_| frames <= self.most_in_a_row.get()).and_then(exact) {
            return Some(self.show(range.start));
        }
        let mut mapping = Mapping { memory: NonNull::dangling(), frames: Vec::new() };
        let too_much = run.size() > self.room.get() || run.align() > Order::MAX.bytes() as usize;
        if too_much || !self.fetch(&mut mapping.frames, frames) {
            return None;
        }
        // SAFETY: the layout is not empty.
        mapping.memory = NonNull::new(unsafe { alloc(layout(ROOM)) })?;
        let start = mapping.memory;
        self.mappings.lock().unwrap().insert(start.as_ptr().addr(), mapping);
        Some(start)
    }

    unsafe fn release_run(&self, start: NonNull<u8>, run: Layout) -> Result<(), FreeError> {
        let frames = (run.size() / FRAME) as u64;
        if !self.is_mapped(start) {
            let start = self.frame_at(start);
            return self.frames.give_range(PfnRange::new(start, start.offset(frames)));
        }
        let mut mapping = self.mappings.lock().unwrap().remove(&start.as_ptr().addr()).expect("a mapping starts here");
        assert_eq!(mapping.frames.len() as u64, frames);
        self.give_back(&mut mapping.frames, 0);
        // SAFETY: allocated with this layout, and by this function's contract nobody uses it.
        unsafe { dealloc(mapping.memory.as_ptr(), layout(ROOM)) };
        Ok(())
    }

    unsafe fn resize_run(&self, start: NonNull<u8>, run: Layout, bytes: usize) -> bool {
        self.requests.set(self.requests.get() + 1);
        let (from, to) = ((run.size() / FRAME) as u64, (bytes / FRAME) as u64);
        if !self.is_mapped(start) {
            let start = self.frame_at(start);
            return self.frames.regrow(PfnRange::new(start, start.offset(from)), to, Gfp::KERNEL).is_ok();
        }
        let mut mappings = self.mappings.lock().unwrap();
        let mapping = mappings.get_mut(&start.as_ptr().addr()).expect("a mapping starts here");
        assert_eq!(mapping.frames.len() as u64, from);
        if to < from {
            self.give_back(&mut mapping.frames, to as usize);
            return true;
        }
        bytes <= self.room.get() && self.fetch(&mut mapping.frames, to)
    }
}

impl Drop for Runs {
    fn drop(&mut self) {
        assert!(self.mappings.get_mut().unwrap().is_empty(), "every mapping was given back");
        // SAFETY: allocated with this layout; the heap that used it is gone.
        unsafe { dealloc(self.memory.as_ptr(), layout(BYTES)) };
    }
}
