//! Lab 6: five mistakes are in this allocator.

use labs::{BadFree, Frame, Frames, MAX_ORDER, Memory, Refused, Request};

const ORDERS: usize = MAX_ORDER as usize + 1;
/// From this bit on, a word has the order of the allocated block that begins there, plus 1.
const OWNED: u32 = 16;

/// The allocator: in a frame's word, bit number `n` says that a free block of order `n` begins there.
pub struct Piece {
    memory: Memory,
    /// By order: how many blocks are free.
    counts: [u64; ORDERS],
    /// By order: there is no free block at any lower index.
    lowest: [usize; ORDERS],
}

impl Piece {
    /// The number of a frame's word; `None` if it is not memory.
    fn index_of(&self, frame: Frame) -> Option<usize> {
        let is_memory = self.memory.ranges.iter().any(|range| frame >= range.start && frame < range.end);
        is_memory.then(|| (frame - self.memory.first()) as usize)
    }

    fn word(&self, index: usize) -> u64 {
        self.memory.words.get(index).copied().unwrap_or(0)
    }

    /// Whether a free block of this order begins there.
    fn is_free(&self, index: usize, order: u8) -> bool {
        self.word(index) >> order & 1 == 1
    }

    /// The order of the allocated block that begins there.
    fn owned(&self, index: usize) -> Option<u8> {
        (self.word(index) >> OWNED).checked_sub(1).map(|order| order as u8)
    }

    fn put(&mut self, index: usize, order: u8) {
        self.memory.words[index] = 1 << order;
        self.counts[usize::from(order)] += 1;
        self.lowest[usize::from(order)] = index.min(self.lowest[usize::from(order)]);
    }

    fn take(&mut self, index: usize, order: u8) {
        self.memory.words[index] = 0;
        self.counts[usize::from(order)] -= 1;
    }

    /// The lowest free block of this order.
    fn find(&mut self, order: u8) -> Option<usize> {
        let lowest = self.lowest[usize::from(order)];
        if self.counts[usize::from(order)] == 0 {
            return None;
        }
        let found = (lowest..self.memory.words.len()).find(|index| self.is_free(*index, order))?;
        self.lowest[usize::from(order)] = found;
        Some(found)
    }

    /// Makes a block free, with whatever is free around it.
    fn release(&mut self, frame: Frame, order: u8) {
        let (mut frame, mut order) = (frame, order);
        while order < MAX_ORDER {
            let buddy = frame ^ 1 << order;
            match self.index_of(buddy) {
                Some(index) if self.is_free(index, order) => self.take(index, order),
                _ => break,
            }
            frame = frame.min(buddy);
            order += 1;
        }
        self.put((frame - self.memory.first()) as usize, order);
    }

    /// Whether a frame lies in a free block, wherever that begins.
    fn is_in_free_block(&self, frame: Frame) -> bool {
        (0..=MAX_ORDER).any(|order| {
            let start = frame >> order << order;
            self.index_of(start).is_some_and(|index| self.is_free(index, order))
        })
    }
}

impl Frames for Piece {
    fn new(memory: Memory) -> Self {
        memory.words.fill(0);
        let mut piece = Self { memory, counts: [0; ORDERS], lowest: [0; ORDERS] };
        for frame in piece.memory.ranges.iter().cloned().flatten() {
            piece.release(frame, 0);
        }
        piece
    }

    fn allocate(&mut self, request: Request) -> Result<Frame, Refused> {
        let order = request.order;
        if order > MAX_ORDER {
            return Err(Refused::TooLarge);
        }
        let found = (order..=MAX_ORDER).find_map(|of| Some((of, self.find(of)?)));
        let (of, index) = found.ok_or(Refused::OutOfMemory)?;
        self.take(index, of);
        for half in order..of {
            self.put(index + (1 << half), half);
        }
        self.memory.words[index] = u64::from(order + 1) << OWNED;
        Ok(self.memory.first() + index as u64)
    }

    fn free(&mut self, frame: Frame, order: u8) -> Result<(), BadFree> {
        let index = self.index_of(frame).ok_or(BadFree::NotMemory)?;
        match self.owned(index) {
            Some(actual) if actual != order => Err(BadFree::WrongOrder),
            Some(_) => {
                self.memory.words[index] = 0;
                self.release(frame, order);
                Ok(())
            }
            None if self.is_in_free_block(frame) => Err(BadFree::AlreadyFree),
            None => Err(BadFree::Inside),
        }
    }

    fn free_blocks(&self, order: u8) -> u64 {
        self.counts.get(usize::from(order)).copied().unwrap_or(0)
    }
}

/// The first test, of a piece that has 16 frames from a multiple of 16 on. It finds none of the mistakes.
pub fn first_test(mut piece: Piece) {
    let frame = piece.allocate(Request::of(2)).expect("there is memory");
    let other = piece.allocate(Request::of(2)).expect("there is more");
    assert_ne!(frame, other, "a block has one owner");
    assert_eq!(piece.free(frame + 1, 0), Err(BadFree::Inside));
    assert_eq!(piece.free(frame, 2), Ok(()));
    assert_eq!(piece.free(other, 2), Ok(()));
    assert!(piece.allocate(Request::of(4)).is_ok(), "all is one block again");
}
