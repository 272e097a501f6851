//! Lab 2, by Barbara, who was not done in time.

use labs::{BadFree, Frame, Frames, Memory, Refused, Request};

pub struct Piece {
    memory: Memory,
    next: Frame,
}

impl Frames for Piece {
    fn new(memory: Memory) -> Self {
        Self { next: memory.first(), memory }
    }

    fn allocate(&mut self, request: Request) -> Result<Frame, Refused> {
        let frame = self.next.next_multiple_of(1 << request.order);
        self.next = frame + request.order;
        Ok(frame)
    }

    fn free(&mut self, _: Frame, _: u8) -> Result<(), BadFree> {
        Ok(())
    }
}

pub fn first_test(_: Piece) {}
