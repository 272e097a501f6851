//! Lab 2, by Grace. No lists: each search looks at all frames from the first that may be free on. The buddy is looked for above, wherever the block lies.

use labs::{BadFree, Frame, Frames, MAX_ORDER, Memory, Refused, Request};

pub struct Piece(Memory, usize);

/// In a word: the block that begins there is free, or somebody's; the order is above that.
const FREE: u64 = 1;
const USED: u64 = 2;

impl Piece {
    fn word(&mut self, frame: Frame) -> &mut u64 {
        let place = frame - self.0.first();
        &mut self.0.words[place as usize]
    }

    /// The smallest free block that is large enough.
    fn find(&mut self, order: u8) -> Option<(u8, Frame)> {
        let mut found = None;
        while self.0.words.get(self.1).is_some_and(|word| word & FREE == 0) {
            self.1 += 1;
        }
        for (place, word) in self.0.words.iter().enumerate().skip(self.1).filter(|(_, word)| **word & FREE != 0) {
            let of = (word >> 8) as u8;
            if of >= order && found.is_none_or(|(best, _)| of < best) {
                found = Some((of, self.0.first() + place as u64));
            }
            if of == order {
                break;
            }
        }
        found
    }

    fn give(&mut self, frame: Frame, mut order: u8) {
        let buddy = |order: u8| frame + (1 << order);
        while order < MAX_ORDER && frame % (2 << order) == 0 && self.0.contains(buddy(order)) {
            if *self.word(buddy(order)) != FREE | u64::from(order) << 8 {
                break;
            }
            *self.word(buddy(order)) = 0;
            order += 1;
        }
        self.1 = self.1.min((frame - self.0.first()) as usize);
        *self.word(frame) = FREE | u64::from(order) << 8;
    }
}

impl Frames for Piece {
    fn new(memory: Memory) -> Self {
        memory.words.fill(0);
        let ranges = memory.ranges;
        let mut piece = Self(memory, 0);
        for range in ranges {
            let mut frame = range.start;
            while frame < range.end {
                let fits = |order: &u8| frame % (1 << *order) == 0 && frame + (1 << *order) <= range.end;
                let order = (0..=MAX_ORDER).rev().find(fits).unwrap_or(0);
                *piece.word(frame) = FREE | u64::from(order) << 8;
                frame += 1 << order;
            }
        }
        piece
    }

    fn allocate(&mut self, request: Request) -> Result<Frame, Refused> {
        let order = request.order;
        if order > MAX_ORDER {
            return Err(Refused::TooLarge);
        }
        let (mut found, frame) = self.find(order).ok_or(Refused::OutOfMemory)?;
        while found > order {
            found -= 1;
            *self.word(frame + (1 << found)) = FREE | u64::from(found) << 8;
        }
        *self.word(frame) = USED | u64::from(order) << 8;
        Ok(frame)
    }

    fn free(&mut self, frame: Frame, order: u8) -> Result<(), BadFree> {
        if !self.0.contains(frame) {
            return Err(BadFree::NotMemory);
        }
        // What begins last, at or before the frame, is what it lies in.
        let place = (frame - self.0.first()) as usize;
        let start = (0..=place).rev().find(|place| self.0.words[*place] != 0).unwrap_or(place);
        match self.0.words[start] {
            word if word & FREE != 0 => Err(BadFree::AlreadyFree),
            _ if start != place => Err(BadFree::Inside),
            word if word >> 8 != u64::from(order) => Err(BadFree::WrongOrder),
            _ => {
                self.give(frame, order);
                Ok(())
            }
        }
    }

    fn free_blocks(&self, order: u8) -> u64 {
        self.0.words.iter().filter(|word| **word == FREE | u64::from(order) << 8).count() as u64
    }
}

pub fn first_test(mut piece: Piece) {
    assert!(piece.allocate(Request::of(0)).is_ok());
}
