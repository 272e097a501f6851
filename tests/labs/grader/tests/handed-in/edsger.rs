//! Lab 2, by Edsger: no blocks, only frames that are free or not. Who asks for too much waits until there is as much, which never is. There
//! was no time for counting.

use labs::{BadFree, Frame, Frames, MAX_ORDER, Memory, Refused, Request};

/// The memory, and the first place that may be free.
pub struct Piece(Memory, usize);

const FREE: u64 = 0;
const NONE: u64 = 1;
const REST: u64 = 2;
const HEAD: u64 = 0x80;

impl Piece {
    fn place(&self, frame: Frame) -> usize {
        (frame - self.0.first()) as usize
    }

    fn find(&mut self, order: u8) -> Option<Frame> {
        while self.0.words.get(self.1).is_some_and(|word| *word != FREE) {
            self.1 += 1;
        }
        let length = 1_u64.checked_shl(order.into())?;
        let mut frame = (self.0.first() + self.1 as u64).checked_next_multiple_of(length)?;
        while frame.checked_add(length)? <= self.0.end() {
            let place = self.place(frame);
            if self.0.words[place..place + length as usize].iter().all(|word| *word == FREE) {
                return Some(frame);
            }
            frame += length;
        }
        None
    }
}

impl Frames for Piece {
    fn new(memory: Memory) -> Self {
        for (frame, word) in (memory.first()..).zip(memory.words.iter_mut()) {
            *word = if memory.ranges.iter().any(|range| range.contains(&frame)) { FREE } else { NONE };
        }
        Self(memory, 0)
    }

    fn allocate(&mut self, request: Request) -> Result<Frame, Refused> {
        let order = request.order;
        loop {
            match self.find(order) {
                Some(frame) if order <= MAX_ORDER => {
                    let place = self.place(frame);
                    self.0.words[place..place + (1 << order)].fill(REST);
                    self.0.words[place] = HEAD + u64::from(order);
                    return Ok(frame);
                }
                None if order <= MAX_ORDER => return Err(Refused::OutOfMemory),
                _ => {}
            }
        }
    }

    fn free(&mut self, frame: Frame, order: u8) -> Result<(), BadFree> {
        if !self.0.contains(frame) {
            return Err(BadFree::NotMemory);
        }
        let place = self.place(frame);
        match self.0.words[place] {
            FREE => Err(BadFree::AlreadyFree),
            REST => Err(BadFree::Inside),
            word if word != HEAD + u64::from(order) => Err(BadFree::WrongOrder),
            _ => {
                self.0.words[place..place + (1 << order)].fill(FREE);
                self.1 = self.1.min(place);
                Ok(())
            }
        }
    }

    fn free_blocks(&self, _: u8) -> u64 {
        0
    }
}

pub fn first_test(mut piece: Piece) {
    assert!(piece.allocate(Request::of(0)).is_ok());
}
