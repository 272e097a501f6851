//! Lab 1: a frame allocator as a free list. `make lab N=1` builds this file, tries it and says what it is worth.
//!
//! You are given some memory: ranges of frames of 4 KiB, all free. Hand them out one by one, and take them back.
//!
//! The rules:
//! - A frame has one owner at a time, and only frames of the ranges are handed out. Every one of them can be had.
//! - There is only order 0, a single frame. Other orders are `Refused::TooLarge`.
//! - A free that is wrong changes nothing, and says what is wrong with it: `NotMemory` (the frame is in none of the ranges),
//!   `AlreadyFree`, or `WrongOrder` (somebody has the frame, but it is freed as a block of another order than 0).
//! - `memory.words` has a word of 64 bits for each frame, holes included: that of `frame` has the number
//!   `frame - memory.first()`. Keep there what you like; a free list has in each free frame's word the number of the next. What
//!   the words hold at first is rubbish.
//! - An operation takes the same time however much memory there is. (`new` may take longer.)
//!
//! This file is compiled without `std` and without `unsafe`, for the host and for the kernel.
//! `Memory`, `Request` and the rest of `labs`, with their types and fields, are in `tests/labs/src/piece.rs`.

use labs::{BadFree, Frame, Frames, Memory, Refused, Request};

/// Your allocator. Put into it what it has to remember.
pub struct Piece {
    memory: Memory,
}

impl Frames for Piece {
    fn new(memory: Memory) -> Self {
        // All frames of `memory.ranges` are free now. How will you find one?
        Self { memory }
    }

    fn allocate(&mut self, request: Request) -> Result<Frame, Refused> {
        todo!("a frame that nobody has, for a request of order {}", request.order)
    }

    fn free(&mut self, frame: Frame, order: u8) -> Result<(), BadFree> {
        todo!("take frame {frame:#x} back, as a block of order {order}, if it is somebody's")
    }

    fn free_blocks(&self, order: u8) -> u64 {
        todo!("how many free blocks of order {order} there are: of order 0 as many as free frames, of others none")
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
