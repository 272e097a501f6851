//! A few frames in a row, which a heap has all its memory from.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::cell::Cell;
use std::ptr::NonNull;
use std::slice;

use bifolio::error::FreeError;
use bifolio::frame::{FRAME_SIZE, Order, Pfn};
use bifolio::heap::PageSource;

const FRAME: usize = FRAME_SIZE as usize;
const WORD: usize = size_of::<u64>();
/// Bytes at the head of a page of descriptors.
const HEAD: usize = 64;

/// Memory of so many frames, which does not move. Nothing crosses a table of the page map, so that these are always as many.
pub(super) struct Memory {
    base: NonNull<u8>,
    layout: Layout,
}

impl Memory {
    pub(super) fn new(frames: usize) -> Self {
        assert!(frames <= 64, "a frame is a bit of a word");
        let layout = Layout::from_size_align(frames * FRAME, 2 << 20).expect("it is little");
        // SAFETY: the layout is not of size 0, since no shape is without frames.
        let Some(base) = NonNull::new(unsafe { alloc_zeroed(layout) }) else { handle_alloc_error(layout) };
        Self { base, layout }
    }

    /// All of it as a source that has given out nothing.
    pub(super) fn source(&self, is_scarce: bool) -> Source {
        let frames = self.layout.size() / FRAME;
        Source { base: self.base, frames, used: Cell::new(0), others: Cell::new(0), singles: Cell::new(0), is_scarce }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: it was allocated with this layout, and what it is made of has nothing to drop.
        unsafe { dealloc(self.base.as_ptr(), self.layout) };
    }
}

/// The source: blocks from the lowest address that there is.
pub(super) struct Source {
    base: NonNull<u8>,
    frames: usize,
    /// Which frames are out, a bit for each, and which of them are no slab's: they hold the heap's books, or a large object.
    used: Cell<u64>,
    others: Cell<u64>,
    /// Those that were taken one by one.
    singles: Cell<u64>,
    is_scarce: bool,
}

/// So many ones.
fn ones(order: Order) -> u64 {
    (1 << order.frames()) - 1
}

impl Source {
    /// Where the frames begin.
    pub(super) fn frames(&self) -> impl Iterator<Item = NonNull<u8>> {
        let base = self.base;
        // SAFETY: the memory has so many frames.
        (0..self.frames).map(move |frame| unsafe { base.add(frame * FRAME) })
    }

    /// How many frames are out.
    pub(super) fn count(&self) -> u32 {
        self.used.get().count_ones()
    }

    /// Whether so many bytes lie in frames that are out.
    pub(super) fn has_given(&self, start: usize, bytes: usize) -> bool {
        let offset = start.wrapping_sub(self.base.addr().get());
        let frames = offset / FRAME..(offset + bytes).div_ceil(FRAME);
        frames.end <= self.frames && frames.into_iter().all(|frame| self.used.get() >> frame & 1 == 1)
    }

    /// Whether there are so many free frames, in such a block.
    pub(super) fn has_room(&self, order: Order, frames: u32) -> bool {
        self.place(order).is_some() && self.frames as u32 - self.count() >= frames
    }

    fn place(&self, order: Order) -> Option<usize> {
        let frames = order.frames() as usize;
        let mut places = (0..=self.frames.checked_sub(frames)?).step_by(frames);
        places.find(|place| self.used.get() >> place & ones(order) == 0)
    }

    fn take(&self, order: Order, is_other: bool) -> Option<NonNull<u8>> {
        let place = self.place(order)?;
        self.used.set(self.used.get() | ones(order) << place);
        if is_other {
            self.others.set(self.others.get() | ones(order) << place);
        }
        self.singles.set(self.singles.get() | u64::from(order == Order::ZERO) << place);
        // SAFETY: the block lies in the memory, and nobody has it. Zeros, so that what is padding is the same in the same state.
        unsafe {
            let block = self.base.add(place * FRAME);
            block.write_bytes(0, if is_other { order.bytes() as usize } else { 0 });
            Some(block)
        }
    }

    fn give(&self, block: NonNull<u8>, order: Order) -> Result<(), FreeError> {
        let frame = (block.addr().get() - self.base.addr().get()) / FRAME;
        let block = ones(order) << frame;
        if self.used.get() & block != block {
            return Err(FreeError::AlreadyFree(Pfn::new(frame as u64)));
        }
        self.used.set(self.used.get() & !block);
        self.others.set(self.others.get() & !block);
        self.singles.set(self.singles.get() & !block);
        Ok(())
    }

    /// A hash of which frames are out, and of what the heap's books say.
    pub(super) fn hash(&self) -> u64 {
        let mix = |hash: u64, word: u64| (hash.rotate_left(7) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let books = self.frames().enumerate().filter(|(frame, _)| self.others.get() >> frame & 1 == 1);
        books.fold(mix(self.used.get(), self.others.get()), |hash, (frame, start)| {
            // SAFETY: the frame was zeroed before the heap wrote to it, is aligned, and nobody writes to it meanwhile.
            let words = unsafe { slice::from_raw_parts(start.cast::<u64>().as_ptr(), FRAME / WORD) };
            // A table has a pointer in each word. What else is a single frame holds descriptors, which say what they described until
            // they describe something else: behind the head, which says which of them are vacant, that is no part of the state.
            let is_single = self.singles.get() >> frame & 1 == 1;
            let has_descriptors = is_single && words.contains(&0);
            words[..if has_descriptors { HEAD / WORD } else { words.len() }].iter().copied().fold(hash, mix)
        })
    }
}

// SAFETY: blocks lie in the memory, which stays as long as the source is used, are aligned as that is, and are given out once until they
// come back.
unsafe impl PageSource for Source {
    fn allocate(&self, order: Order) -> Option<NonNull<u8>> {
        self.take(order, true)
    }

    unsafe fn release(&self, block: NonNull<u8>, order: Order) -> Result<(), FreeError> {
        self.give(block, order)
    }

    fn allocate_slab(&self, order: Order) -> Option<NonNull<u8>> {
        self.take(order, false)
    }

    unsafe fn release_slab(&self, block: NonNull<u8>, order: Order) -> Result<(), FreeError> {
        self.give(block, order)
    }

    fn is_scarce(&self) -> bool {
        self.is_scarce
    }
}
