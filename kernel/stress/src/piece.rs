//! A piece of memory that stress has, of any of the kinds that can be had, and how it comes and goes.

use crate::contents::{Id, fill, find_other};
use crate::failure::Failure;
use crate::machine::Machine;
use crate::owners::Owners;
use bifolio::frame::{Block, Blocks, FRAME_SIZE, Order, Pfn, PfnRange};
use bifolio::heap::Cache;
use core::alloc::Layout;
use core::marker::PhantomData;
use core::ptr::NonNull;

/// What has a cache of its own: of a size that no size class has.
#[repr(align(8))]
#[derive(Debug)]
pub struct Record {
    _words: [u64; 13],
}

/// The cache of records.
pub type Records<M> = Cache<'static, Record, <M as Machine>::Pages, <M as Machine>::Cpu>;

/// Memory, by how it was had.
#[derive(Clone, Copy, Debug)]
pub enum Memory {
    /// A block of frames.
    Block(Pfn, Order),
    /// Frames in a row.
    Range(PfnRange),
    /// An object of the heap.
    Object(NonNull<u8>, Layout),
    /// An object of a cache of its own.
    Record(NonNull<Record>),
    /// Pages mapped to frames that lie anywhere.
    Mapping(NonNull<u8>, u64),
}

/// A piece of memory, every word of which holds its mark.
#[derive(Clone, Copy, Debug)]
pub struct Piece<M> {
    pub(super) memory: Memory,
    pub(super) id: Id,
    machine: PhantomData<M>,
}

// SAFETY: memory is bound to no CPU, and a piece is in one place at a time.
unsafe impl<M> Send for Piece<M> {}

impl From<Block> for Memory {
    fn from(block: Block) -> Self {
        let (pfn, order) = block.into_raw();
        Self::Block(pfn, order)
    }
}

impl From<Blocks> for Memory {
    fn from(blocks: Blocks) -> Self {
        Self::Range(blocks.into_raw())
    }
}

impl Memory {
    /// Its first word, and how many words there are.
    pub fn words<M: Machine>(&self) -> (*mut u64, usize) {
        let start = match *self {
            Self::Block(pfn, _) => M::address_of(pfn),
            Self::Range(range) => M::address_of(range.start),
            Self::Object(object, _) => object.as_ptr().cast(),
            Self::Record(record) => record.as_ptr().cast(),
            Self::Mapping(start, _) => start.as_ptr().cast(),
        };
        (start, self.bytes() / size_of::<u64>())
    }

    /// How much it is.
    pub fn bytes(&self) -> usize {
        match *self {
            Self::Block(_, order) => order.bytes() as usize,
            Self::Range(range) => (range.frames() * FRAME_SIZE) as usize,
            Self::Object(_, layout) => layout.size(),
            Self::Record(_) => size_of::<Record>(),
            Self::Mapping(_, pages) => (pages * FRAME_SIZE) as usize,
        }
    }

    /// The frames, if it was had as such.
    fn frames(&self) -> Option<PfnRange> {
        match *self {
            Self::Block(pfn, order) => Some(PfnRange::new(pfn, pfn.offset(order.frames()))),
            Self::Range(range) => Some(range),
            _ => None,
        }
    }
}

impl<M: Machine> Piece<M> {
    /// The memory, as it is by now.
    pub fn memory(&self) -> Memory {
        self.memory
    }

    /// Makes what has just been allocated a piece: nobody else has it, and every word of it is marked.
    ///
    /// # Errors
    /// Somebody else does have it.
    ///
    /// # Safety
    /// It was allocated as what it says to be, and goes only with the piece, which is freed once.
    pub unsafe fn mark(memory: Memory, id: Id, owners: &Owners) -> Result<Self, Failure> {
        let (start, words) = memory.words::<M>();
        if let Some(range) = memory.frames() {
            owners.take(range).map_err(|pfn| Failure::FrameTaken { pfn, id })?;
        }
        for place in [0, words - 1] {
            // SAFETY: the memory was just allocated, so it is ours, though perhaps not ours alone: whether it is, is what is asked.
            let word = unsafe { start.add(place).read_volatile() };
            if let Some(other) = Id::of_live(word) {
                return Err(Failure::Shared { address: start.addr() + place * size_of::<u64>(), id, other });
            }
        }
        // SAFETY: the memory is ours.
        unsafe { fill(start, words, id.live()) };
        Ok(Self { memory, id, machine: PhantomData })
    }

    /// Checks that what was allocated as zeros is.
    ///
    /// # Errors
    /// It is not.
    ///
    /// # Safety
    /// It was allocated as what it says to be, and nobody writes to it.
    pub unsafe fn check_zeroed(memory: &Memory) -> Result<(), Failure> {
        let (start, words) = memory.words::<M>();
        // SAFETY: by this function's contract the memory is there, and it says to be initialised.
        match unsafe { find_other(start, words, 0) } {
            Some((place, found)) => Err(Failure::NotZero { address: start.addr() + place * size_of::<u64>(), found }),
            None => Ok(()),
        }
    }

    /// Checks that every word is as it was left, and marks all as freed.
    ///
    /// # Errors
    /// A word is not.
    pub fn unmark(&self, owners: &Owners) -> Result<(), Failure> {
        let (start, words) = self.memory.words::<M>();
        self.expect(start, words, self.id.live())?;
        // SAFETY: the memory is this piece's.
        unsafe { fill(start, words, self.id.dead()) };
        if let Some(range) = self.memory.frames() {
            owners.give_back(range);
        }
        Ok(())
    }

    fn expect(&self, start: *const u64, words: usize, word: u64) -> Result<(), Failure> {
        // SAFETY: the memory is this piece's, and every word of it was written.
        match unsafe { find_other(start, words, word) } {
            Some((place, found)) => {
                Err(Failure::Contents { address: start.addr() + place * size_of::<u64>(), id: self.id, found })
            }
            None => Ok(()),
        }
    }

    /// Gives memory back that has been [unmarked](Self::unmark).
    ///
    /// # Errors
    /// The allocator does not take it.
    pub fn free(&self, records: &Records<M>) -> Result<(), Failure> {
        // SAFETY: the memory is this piece's, which is had as it was allocated and is not used any more.
        unsafe {
            match self.memory {
                Memory::Block(pfn, order) => M::frames().free_raw(pfn, order)?,
                Memory::Range(range) => M::frames().free_range_raw(range)?,
                Memory::Object(object, layout) => M::heap().free(object, layout)?,
                Memory::Record(record) => records.free(record)?,
                Memory::Mapping(start, pages) => M::unmap(start, pages)?,
            }
        }
        Ok(())
    }

    /// Resizes an object, with `call` around the resizing itself, and sees that it keeps its contents. Whether there was
    /// memory for that; what is no object is not resized.
    ///
    /// # Errors
    /// Its contents are not what they were, or the heap does not take it for an object.
    pub fn resize<R>(&mut self, size: usize, call: impl FnOnce(&mut dyn FnMut()) -> R) -> Result<bool, Failure> {
        let Memory::Object(object, layout) = self.memory else { return Ok(true) };
        let (start, words) = self.memory.words::<M>();
        self.expect(start, words, self.id.live())?;
        // What it may leave behind must not look like memory in use.
        // SAFETY: the object is this piece's.
        unsafe { fill(start, words, self.id.moving()) };
        let mut resized = Ok(None);
        // SAFETY: the object is this piece's, which goes on with what is returned.
        call(&mut || resized = unsafe { M::heap().reallocate(object, layout, size) });
        let is_done = match resized? {
            Some(object) => {
                let layout = Layout::from_size_align(size, layout.align()).map_err(|_| Failure::NoMemory)?;
                self.memory = Memory::Object(object, layout);
                true
            }
            None => false,
        };
        let (start, now) = self.memory.words::<M>();
        self.expect(start, words.min(now), self.id.moving())?;
        // SAFETY: the words are those of the memory, which is this piece's alone.
        unsafe { fill(start, now, self.id.live()) };
        Ok(is_done)
    }
}
