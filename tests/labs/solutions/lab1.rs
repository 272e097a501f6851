//! Lab 1: a frame allocator as a free list.

use labs::{BadFree, Frame, Frames, Memory, Refused, Request};

/// In the word of a frame that is free and the last of the list. (Others have the number of the next frame, plus 1.)
const LAST: u64 = 0;
/// In the word of a frame that is in use.
const IN_USE: u64 = u64::MAX;

/// The allocator: a list of the free frames, whose links lie in the words.
pub struct Piece {
    memory: Memory,
    /// The first free frame plus 1, or [`LAST`].
    head: u64,
    free: u64,
}

impl Piece {
    fn word(&mut self, frame: Frame) -> &mut u64 {
        let index = frame - self.memory.first();
        &mut self.memory.words[index as usize]
    }

    fn push(&mut self, frame: Frame) {
        let next = self.head;
        *self.word(frame) = next;
        self.head = frame + 1;
        self.free += 1;
    }
}

impl Frames for Piece {
    fn new(memory: Memory) -> Self {
        let mut piece = Self { memory, head: LAST, free: 0 };
        for range in piece.memory.ranges {
            for frame in range.clone().rev() {
                piece.push(frame);
            }
        }
        piece
    }

    fn allocate(&mut self, request: Request) -> Result<Frame, Refused> {
        if request.order > 0 {
            return Err(Refused::TooLarge);
        }
        let frame = self.head.checked_sub(1).ok_or(Refused::OutOfMemory)?;
        self.head = *self.word(frame);
        *self.word(frame) = IN_USE;
        self.free -= 1;
        Ok(frame)
    }

    fn free(&mut self, frame: Frame, order: u8) -> Result<(), BadFree> {
        if !self.memory.contains(frame) {
            return Err(BadFree::NotMemory);
        }
        if *self.word(frame) != IN_USE {
            return Err(BadFree::AlreadyFree);
        }
        if order != 0 {
            return Err(BadFree::WrongOrder);
        }
        self.push(frame);
        Ok(())
    }

    fn free_blocks(&self, order: u8) -> u64 {
        if order == 0 { self.free } else { 0 }
    }
}

/// The first test, of a piece that has 16 frames. `make lab N=1` runs it, and has more.
pub fn first_test(mut piece: Piece) {
    assert_eq!(piece.free_blocks(0), 16, "all is free at first");
    let one = piece.allocate(Request::of(0)).expect("there is memory");
    let two = piece.allocate(Request::of(0)).expect("there is more");
    assert_ne!(one, two, "a frame has one owner");
    assert_eq!(piece.free(one, 0), Ok(()), "its owner frees it");
    assert_eq!(piece.free(one, 0), Err(BadFree::AlreadyFree), "it is free, and nobody's");
    assert_eq!(piece.free_blocks(0), 15, "one is in use");
}
