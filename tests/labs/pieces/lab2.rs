//! Lab 2: buddies. `make lab N=2` builds this file, tries it and says what it is worth.
//!
//! You are given some memory: ranges of frames of 4 KiB, all free. Hand out blocks of any order from 0 to `MAX_ORDER`: 2 to the
//! power of the order frames, from a frame on whose number is a multiple of that. Split a larger block where there is none of
//! the order that is asked for, and merge what is freed with its buddy, `frame ^ 1 << order`, for as long as that is free.
//!
//! The rules:
//! - A frame has one owner at a time, and only frames of the ranges are handed out. A request is refused as `OutOfMemory` only if
//!   no free block is large enough: so whatever can be merged has to be, up to order `MAX_ORDER` and no further.
//! - Take the smallest block that is large enough, so that large ones stay whole.
//! - Orders above `MAX_ORDER` are `Refused::TooLarge`.
//! - A free that is wrong changes nothing, and says what is wrong with it: `NotMemory` (the frame is in none of the ranges),
//!   `AlreadyFree` (it lies in a free block, wherever in that), `Inside` (it lies in an allocated block, behind the first
//!   frame), `WrongOrder` (an allocated block begins there, of another order).
//! - `memory.words` has a word of 64 bits for each frame, holes included: that of `frame` has the number
//!   `frame - memory.first()`. Keep there what you like. What the words hold at first is rubbish.
//! - The ranges begin and end anywhere: their first and last blocks are small ones.
//! - An operation takes a time that depends on the number of orders, and not on how much memory there is.
//!
//! This file is compiled without `std` and without `unsafe`, for the host and for the kernel.
//! `Memory`, `Request` and the rest of `labs`, with their types and fields, are in `tests/labs/src/piece.rs`.

use labs::{BadFree, Frame, Frames, MAX_ORDER, Memory, Refused, Request};

/// Your allocator. Put into it what it has to remember.
pub struct Piece {
    memory: Memory,
}

impl Frames for Piece {
    fn new(memory: Memory) -> Self {
        // All frames of `memory.ranges` are free now. Which blocks do they make? (Freeing them one by one would find out.)
        Self { memory }
    }

    fn allocate(&mut self, request: Request) -> Result<Frame, Refused> {
        todo!("the smallest free block that is large enough, split down to order {}", request.order)
    }

    fn free(&mut self, frame: Frame, order: u8) -> Result<(), BadFree> {
        todo!("take the block of order {order} at {frame:#x} back, and merge it up to order {MAX_ORDER}")
    }

    fn free_blocks(&self, order: u8) -> u64 {
        todo!("how many blocks of order {order} are free, each as large as it can be")
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
