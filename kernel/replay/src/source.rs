//! Where a world's heap has its memory from: the blocks of slabs are the machine's frames, which are numbers; what it keeps of
//! itself is memory of the world.
//!
//! How much of that there is depends on the machine that the world is on, as on the length of its pointers. So what the trace says
//! of frames for it is done with the frames alone.

use alloc::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::cell::Cell;
use core::ptr::{self, NonNull};

use bifolio::error::FreeError;
use bifolio::frame::{FRAME_SIZE, Order, Pfn};
use bifolio::heap::PageSource;

use crate::script::Script;

const PAGE: usize = FRAME_SIZE as usize;
/// Bytes that are fetched at once for what the heap keeps of itself.
pub(crate) const CHUNK: usize = 64 * PAGE;
/// In place of a frame's number: that is not known.
const UNKNOWN: u64 = 0;
/// The largest block that the heap asks for to keep something in.
const LARGEST: Order = Order::new(3).unwrap();

/// The source of a world's heap. What it has given out is part of the state; the chunks that it is in are the script's.
#[derive(Debug)]
pub struct Source {
    script: *const Script,
    /// Blocks that were given back, by order: each leads to the next.
    free: [Cell<*mut u8>; LARGEST.index() + 1],
    /// Chunks that were begun, and pages that were used of the last.
    chunks: Cell<usize>,
    used: Cell<usize>,
}

/// Memory for what the heap keeps of itself, at an address that is a multiple of its size. The first page has the numbers of the frames that
/// the others stand for.
#[derive(Debug)]
pub(crate) struct Chunk(NonNull<u8>);

const LAYOUT: Layout = match Layout::from_size_align(CHUNK, CHUNK) {
    Ok(layout) => layout,
    Err(_) => panic!("a chunk is larger than memory"),
};

impl Chunk {
    fn new() -> Self {
        // SAFETY: the layout is not of size 0.
        let Some(base) = NonNull::new(unsafe { alloc_zeroed(LAYOUT) }) else { handle_alloc_error(LAYOUT) };
        Self(base)
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        // SAFETY: it was allocated with this layout, and the heap that used it is no more.
        unsafe { dealloc(self.0.as_ptr(), LAYOUT) };
    }
}

/// The number of the frame that a page of a chunk stands for.
fn frame_of(page: NonNull<u8>) -> *mut u64 {
    let index = page.as_ptr().addr() % CHUNK / PAGE;
    page.as_ptr().map_addr(|address| address & !(CHUNK - 1)).cast::<u64>().wrapping_add(index)
}

impl Source {
    /// One that has given out nothing.
    pub(crate) fn new(script: &Script) -> Self {
        let free = [const { Cell::new(ptr::null_mut()) }; LARGEST.index() + 1];
        Self { script, free, chunks: Cell::new(0), used: Cell::new(CHUNK / PAGE) }
    }

    fn script(&self) -> &Script {
        // SAFETY: the script is in a box of the world's, which outlives the heap that has this.
        unsafe { &*self.script }
    }

    /// Where the chunks are, of which maybe not all are used.
    pub(crate) fn chunks(&self) -> Vec<NonNull<u8>> {
        self.script().with_chunks(|chunks| chunks.iter().map(|chunk| chunk.0).collect())
    }

    /// Takes a block of memory for the heap to keep something in.
    fn take(&self, order: Order) -> Option<NonNull<u8>> {
        let free = self.free.get(order.index())?;
        if let Some(block) = NonNull::new(free.get()) {
            // SAFETY: a block that was given back leads to the next.
            free.set(unsafe { block.cast::<*mut u8>().read() });
            return Some(block);
        }
        let pages = order.frames() as usize;
        let mut first = self.used.get().next_multiple_of(pages);
        if first + pages > CHUNK / PAGE {
            self.chunks.set(self.chunks.get() + 1);
            first = 1_usize.next_multiple_of(pages);
        }
        self.used.set(first + pages);
        let chunk = self.script().with_chunks(|chunks| {
            if chunks.len() < self.chunks.get() {
                chunks.push(Chunk::new());
            }
            chunks[self.chunks.get() - 1].0
        });
        // SAFETY: the page lies inside the chunk.
        Some(unsafe { chunk.add(first * PAGE) })
    }
}

// SAFETY: what is given out for the heap to keep something in is memory of the world, aligned to its size, and is given out once until it
// is given back. Of slabs and runs, whose addresses stand for nothing, the heap touches nothing: no cache of a world has a constructor or
// is debugged. Addresses are below 2^47, and there are as many as pieces of memory that are spoken of.
unsafe impl PageSource for Source {
    fn allocate(&self, order: Order) -> Option<NonNull<u8>> {
        let frame = self.script().ask_for_frames(order)?;
        let block = self.take(order)?;
        // SAFETY: the first page of the chunk has a place for the number of each.
        unsafe { frame_of(block).write(frame.unwrap_or(UNKNOWN)) };
        Some(block)
    }

    unsafe fn release(&self, block: NonNull<u8>, order: Order) -> Result<(), FreeError> {
        // SAFETY: `allocate` has written it there.
        let frame = unsafe { frame_of(block).read() };
        if frame != UNKNOWN {
            self.script().give_back_frames(Pfn::new(frame), order);
        }
        let free = &self.free[order.index()];
        // SAFETY: the block is this one's again, and nobody uses it.
        unsafe { block.cast::<*mut u8>().write(free.get()) };
        free.set(block.as_ptr());
        Ok(())
    }

    fn allocate_slab(&self, order: Order) -> Option<NonNull<u8>> {
        self.script().pointer_to(self.script().ask_for_slab(order)?)
    }

    unsafe fn release_slab(&self, block: NonNull<u8>, order: Order) -> Result<(), FreeError> {
        let number = self.number_of(block.as_ptr().addr());
        self.script().give_back_frames(Pfn::containing(number), order);
        Ok(())
    }

    fn number_of(&self, address: usize) -> u64 {
        self.script().with_addresses(|addresses| addresses.number_of(address))
    }

    fn run_for(object: Layout) -> Option<Layout> {
        Layout::from_size_align(object.size().max(1).checked_next_multiple_of(PAGE)?, object.align()).ok()
    }

    fn allocate_run(&self, _: Layout) -> Option<NonNull<u8>> {
        self.script().pointer_to(self.script().run()?)
    }

    unsafe fn release_run(&self, _: NonNull<u8>, _: Layout) -> Result<(), FreeError> {
        // An operation of its own.
        Ok(())
    }
}

/// Addresses that stand for those of the machine, which may be more than there are here: in pieces that keep their alignment.
#[derive(Debug, Default)]
pub(crate) struct Addresses {
    /// The number of each piece of the machine's memory that was spoken of, and which piece of the addresses here stands for it.
    known: BTreeMap<u64, usize>,
    /// The other way round.
    numbers: Vec<u64>,
}

/// Bytes in a piece: the largest block.
const PIECE_SHIFT: u32 = 22;

impl Addresses {
    /// The address here that stands for a number; `None` if there are no more.
    pub(crate) fn pointer_to(&mut self, number: u64) -> Option<NonNull<u8>> {
        let piece = match self.known.get(&(number >> PIECE_SHIFT)) {
            Some(piece) => *piece,
            None => {
                self.numbers.push(number >> PIECE_SHIFT);
                self.known.insert(number >> PIECE_SHIFT, self.numbers.len());
                self.numbers.len()
            }
        };
        let limit = usize::try_from(1_u64 << 47).unwrap_or(usize::MAX) >> PIECE_SHIFT;
        let address = (piece < limit).then_some(piece << PIECE_SHIFT | number as usize & ((1 << PIECE_SHIFT) - 1));
        NonNull::new(ptr::without_provenance_mut(address?))
    }

    /// The address here that stands for a number already.
    pub(crate) fn find(&self, number: u64) -> Option<usize> {
        let piece = self.known.get(&(number >> PIECE_SHIFT))?;
        Some(piece << PIECE_SHIFT | number as usize & ((1 << PIECE_SHIFT) - 1))
    }

    /// The number that an address here stands for; itself if it stands for none.
    fn number_of(&self, address: usize) -> u64 {
        let piece = (address >> PIECE_SHIFT).checked_sub(1).and_then(|piece| self.numbers.get(piece));
        piece.map_or(address as u64, |piece| piece << PIECE_SHIFT | (address & ((1 << PIECE_SHIFT) - 1)) as u64)
    }
}
