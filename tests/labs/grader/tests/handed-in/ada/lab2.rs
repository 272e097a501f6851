//! Lab 2, by Ada. A word has what a frame is in its lowest byte, the next block of its order above that, and the one before on top.

use labs::{BadFree, Frame, Frames, MAX_ORDER, Memory, Refused, Request};

const ORDERS: usize = MAX_ORDER as usize + 1;
const USED: u64 = 0x80;

pub struct Piece {
    memory: Memory,
    base: Frame,
    first: [u64; ORDERS],
    count: [u64; ORDERS],
}

impl Piece {
    fn kind(&self, frame: Frame) -> u64 {
        if self.memory.contains(frame) { self.memory.words[(frame - self.base) as usize] & 0xff } else { 0 }
    }

    fn put(&mut self, frame: Frame, order: usize) {
        let (place, next) = (frame - self.base, self.first[order]);
        self.memory.words[place as usize] = next << 8 | order as u64 + 1;
        if next != 0 {
            self.memory.words[next as usize - 1] |= (place + 1) << 36;
        }
        self.first[order] = place + 1;
        self.count[order] += 1;
    }

    fn cut(&mut self, frame: Frame, order: usize) {
        let word = core::mem::take(&mut self.memory.words[(frame - self.base) as usize]);
        let (next, before) = (word >> 8 & 0xfff_ffff, word >> 36);
        if next != 0 {
            let word = &mut self.memory.words[next as usize - 1];
            *word = *word & 0xf_ffff_ffff | before << 36;
        }
        if before == 0 {
            self.first[order] = next;
        } else {
            let word = &mut self.memory.words[before as usize - 1];
            *word = *word & !(0xfff_ffff << 8) | next << 8;
        }
        self.count[order] -= 1;
    }

    fn merge(&mut self, mut frame: Frame, mut order: usize) {
        self.memory.words[(frame - self.base) as usize] = 0;
        while order + 1 < ORDERS && self.kind(frame ^ 1 << order) == order as u64 + 1 {
            self.cut(frame ^ 1 << order, order);
            frame &= !(1 << order);
            order += 1;
        }
        self.put(frame, order);
    }
}

impl Frames for Piece {
    fn new(memory: Memory) -> Self {
        memory.words.fill(0);
        let (base, ranges) = (memory.first(), memory.ranges);
        let mut piece = Self { memory, base, first: [0; ORDERS], count: [0; ORDERS] };
        ranges.iter().cloned().flatten().for_each(|frame| piece.merge(frame, 0));
        piece
    }

    fn allocate(&mut self, request: Request) -> Result<Frame, Refused> {
        let order = usize::from(request.order);
        if order >= ORDERS {
            return Err(Refused::TooLarge);
        }
        let found = (order..ORDERS).find(|order| self.count[*order] > 0).ok_or(Refused::OutOfMemory)?;
        let frame = self.base + self.first[found] - 1;
        self.cut(frame, found);
        for half in (order..found).rev() {
            self.put(frame + (1 << half), half);
        }
        self.memory.words[(frame - self.base) as usize] = USED + order as u64;
        Ok(frame)
    }

    fn free(&mut self, frame: Frame, order: u8) -> Result<(), BadFree> {
        if !self.memory.contains(frame) {
            return Err(BadFree::NotMemory);
        }
        match self.kind(frame) {
            0 => {
                let heads = (1..ORDERS).map(|order| frame & !((1 << order) - 1));
                let kind = heads.map(|head| self.kind(head)).find(|kind| *kind != 0);
                Err(if kind.is_some_and(|kind| kind < USED) { BadFree::AlreadyFree } else { BadFree::Inside })
            }
            kind if kind == USED + u64::from(order) => {
                self.merge(frame, usize::from(order));
                Ok(())
            }
            USED.. => Err(BadFree::WrongOrder),
            _ => Err(BadFree::AlreadyFree),
        }
    }

    fn free_blocks(&self, order: u8) -> u64 {
        self.count.get(usize::from(order)).copied().unwrap_or(0)
    }
}

pub fn first_test(mut piece: Piece) {
    let frame = piece.allocate(Request::of(1)).expect("there is memory");
    assert_eq!(piece.free(frame, 1), Ok(()));
}
