//! Lab 2: buddies, split and merged.

use labs::{BadFree, Frame, Frames, MAX_ORDER, Memory, Refused, Request};

const ORDERS: usize = MAX_ORDER as usize + 1;
/// In place of a neighbour in a list: there is none.
const NONE: u64 = (1 << 28) - 1;

/// What a frame's word says of it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Not memory.
    Hole,
    /// Inside a block, or of no interest.
    Inside,
    /// The first of a free block of this order, with its neighbours in that order's list.
    Free { order: u8, previous: u64, next: u64 },
    /// The first of an allocated block of this order.
    Used { order: u8 },
}

/// The allocator: for each order a list of the free blocks, whose links lie in the words of their first frames.
pub struct Piece {
    memory: Memory,
    /// By order: the first frame's index in the list, or [`NONE`].
    heads: [u64; ORDERS],
    counts: [u64; ORDERS],
}

impl Piece {
    fn index(&self, frame: Frame) -> Option<u64> {
        self.memory.contains(frame).then(|| frame - self.memory.first())
    }

    /// The state at an index. A word has two bits for the kind, six for the order, 28 for each neighbour.
    fn state(&self, index: u64) -> State {
        let word = self.memory.words[index as usize];
        let order = (word >> 2 & 0x3f) as u8;
        match word & 3 {
            0 => State::Hole,
            1 => State::Inside,
            2 => State::Free { order, previous: word >> 8 & NONE, next: word >> 36 },
            _ => State::Used { order },
        }
    }

    fn set(&mut self, index: u64, state: State) {
        self.memory.words[index as usize] = match state {
            State::Hole => 0,
            State::Inside => 1,
            State::Free { order, previous, next } => 2 | u64::from(order) << 2 | previous << 8 | next << 36,
            State::Used { order } => 3 | u64::from(order) << 2,
        };
    }

    /// Puts a free block at the head of its order's list.
    fn push(&mut self, index: u64, order: u8) {
        let next = self.heads[usize::from(order)];
        self.set(index, State::Free { order, previous: NONE, next });
        if let Some(State::Free { order, next: after, .. }) = self.linked(next) {
            self.set(next, State::Free { order, previous: index, next: after });
        }
        self.heads[usize::from(order)] = index;
        self.counts[usize::from(order)] += 1;
    }

    /// Takes a free block out of its order's list.
    fn unlink(&mut self, index: u64) {
        let State::Free { order, previous, next } = self.state(index) else { return };
        match self.linked(previous) {
            Some(State::Free { order, previous: before, .. }) => self.set(previous, State::Free { order, previous: before, next }),
            _ => self.heads[usize::from(order)] = next,
        }
        if let Some(State::Free { order, next: after, .. }) = self.linked(next) {
            self.set(next, State::Free { order, previous, next: after });
        }
        self.set(index, State::Inside);
        self.counts[usize::from(order)] -= 1;
    }

    fn linked(&self, index: u64) -> Option<State> {
        (index != NONE).then(|| self.state(index))
    }

    /// Makes a block free, merged with its buddy as often as that is free as a whole.
    fn release(&mut self, frame: Frame, order: u8) {
        let (mut frame, mut order) = (frame, order);
        while order < MAX_ORDER {
            let buddy = frame ^ 1 << order;
            let Some(index) = self.index(buddy) else { break };
            if !matches!(self.state(index), State::Free { order: of, .. } if of == order) {
                break;
            }
            self.unlink(index);
            frame = frame.min(buddy);
            order += 1;
        }
        self.push(frame - self.memory.first(), order);
    }
}

impl Frames for Piece {
    fn new(memory: Memory) -> Self {
        memory.words.fill(0);
        let mut piece = Self { memory, heads: [NONE; ORDERS], counts: [0; ORDERS] };
        for range in piece.memory.ranges {
            for frame in range.clone() {
                piece.set(frame - piece.memory.first(), State::Inside);
            }
            for frame in range.clone() {
                piece.release(frame, 0);
            }
        }
        piece
    }

    fn allocate(&mut self, request: Request) -> Result<Frame, Refused> {
        let order = request.order;
        if order > MAX_ORDER {
            return Err(Refused::TooLarge);
        }
        let found = (order..=MAX_ORDER).find(|order| self.heads[usize::from(*order)] != NONE);
        let found = found.ok_or(Refused::OutOfMemory)?;
        let index = self.heads[usize::from(found)];
        self.unlink(index);
        for half in (order..found).rev() {
            self.push(index + (1 << half), half);
        }
        self.set(index, State::Used { order });
        Ok(self.memory.first() + index)
    }

    fn free(&mut self, frame: Frame, order: u8) -> Result<(), BadFree> {
        let index = self.index(frame).ok_or(BadFree::NotMemory)?;
        match self.state(index) {
            State::Hole => Err(BadFree::NotMemory),
            State::Free { .. } => Err(BadFree::AlreadyFree),
            State::Inside if self.is_inside_free(frame) => Err(BadFree::AlreadyFree),
            State::Inside => Err(BadFree::Inside),
            State::Used { order: actual } if actual != order => Err(BadFree::WrongOrder),
            State::Used { .. } => {
                self.set(index, State::Inside);
                self.release(frame, order);
                Ok(())
            }
        }
    }

    fn free_blocks(&self, order: u8) -> u64 {
        self.counts.get(usize::from(order)).copied().unwrap_or(0)
    }
}

impl Piece {
    /// Whether a frame that begins no block lies in a free one: the block is the first one that begins below, at a multiple of
    /// its length, and reaches so far.
    fn is_inside_free(&self, frame: Frame) -> bool {
        (1..=MAX_ORDER).any(|order| {
            let start = frame & !((1 << order) - 1);
            self.index(start).is_some_and(|index| matches!(self.state(index), State::Free { order: of, .. } if of == order))
        })
    }
}

/// The first test, of a piece that has 16 frames from a multiple of 16 on. `make lab N=2` runs it, and has more.
pub fn first_test(mut piece: Piece) {
    let counts = |piece: &Piece| [0, 1, 2, 3, 4].map(|order| piece.free_blocks(order));
    assert_eq!(counts(&piece), [0, 0, 0, 0, 1], "all is one block at first");
    let frame = piece.allocate(Request::of(1)).expect("there is memory");
    assert_eq!(counts(&piece), [0, 1, 1, 1, 0], "it was split three times");
    assert_eq!(piece.free(frame + 1, 0), Err(BadFree::Inside));
    assert_eq!(piece.free(frame, 0), Err(BadFree::WrongOrder));
    assert_eq!(piece.free(frame, 1), Ok(()));
    assert_eq!(piece.free(frame, 1), Err(BadFree::AlreadyFree));
    assert_eq!(counts(&piece), [0, 0, 0, 0, 1], "it was merged three times");
}
