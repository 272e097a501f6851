//! Lab 4: bitmap slabs. `make lab N=4` builds this file, tries it and says what it is worth.
//!
//! You are given frames of 4096 bytes. Make slabs of them, and hand out objects of 1 to 2048 bytes. A slab is one frame, cut into
//! slots of one class, one behind the other; which of them are free, a bitmap says.
//!
//! The rules:
//! - An object is of the smallest of the `CLASSES` that is large enough and a multiple of its alignment: then all slots of the
//!   slab are so aligned. Where there is no such class it is `Refused::TooLarge`.
//! - In a slab, slot `n` begins at `n` times the class, and there are as many as fit, `SLAB / class`. What is left behind the last
//!   one is nobody's.
//! - `frames.take()` gives you a frame to make a slab of, and only if no slab of the class has a free slot you take one. Where
//!   there is none left either, a request is refused as `OutOfMemory`.
//! - A slab in which nothing is live any more goes back at once, `frames.give_back(frame)`: others want frames too.
//! - A free that is wrong changes nothing, and says what is wrong with it: `NotMemory` (the address is in no slab of yours, or
//!   behind the last slot of one), `AlreadyFree` (it lies in a free slot, wherever in that), `Inside` (it lies in a slot that is in use,
//!   behind the start), `WrongSize` (an object begins there, but the layout is one of another class).
//! - `frames.words(frame)` is what you have written down of a frame: eight words of 64 bits, rubbish at first. `None` says that the
//!   frame is none of yours. Nothing can be written into the slots: they belong to whoever has them.
//! - An operation takes a time that does not depend on how many slabs there are. `Sets` is given for that: sets of frames, one for
//!   each class, say, with `insert`, `remove` and `first`.
//!
//! This file is compiled without `std` and without `unsafe`, for the host and for the kernel.
//! What is used of `labs` here is in `tests/labs/src/objects/mod.rs`, and `Sets` in `tests/labs/src/given.rs`.

use core::alloc::Layout;

use labs::given::Sets;
use labs::objects::{Address, CLASSES, Frames, Objects, SLAB, WORDS};
use labs::{BadFree, Frame, Refused};

/// Your heap. Put into it what it has to remember.
pub struct Piece {
    frames: Frames,
}

impl Objects for Piece {
    fn new(frames: Frames) -> Self {
        // No frame is a slab yet. How will you tell those that are? (`frames.all()` has them all.)
        Self { frames }
    }

    fn allocate(&mut self, layout: Layout) -> Result<Address, Refused> {
        todo!("a free slot for {} bytes, at a multiple of {}", layout.size(), layout.align())
    }

    fn free(&mut self, address: Address, layout: Layout) -> Result<(), BadFree> {
        todo!("take the {} bytes at {address:#x} back", layout.size())
    }
}

/// The first test, of a piece that has two frames. `make lab N=4` runs it, and has more.
pub fn first_test(mut piece: Piece) {
    let layout = |size| Layout::from_size_align(size, 8).expect("8 is a power of two");
    let one = piece.allocate(layout(100)).expect("there is memory");
    let two = piece.allocate(layout(128)).expect("there is more");
    assert_eq!(one ^ two, 128, "both lie in the first two slots of 128 bytes");
    assert_eq!(piece.free(one + 8, layout(100)), Err(BadFree::Inside));
    assert_eq!(piece.free(one, layout(200)), Err(BadFree::WrongSize));
    assert_eq!(piece.free(one, layout(100)), Ok(()));
    assert_eq!(piece.free(one, layout(100)), Err(BadFree::AlreadyFree));
    assert_eq!(piece.free(two, layout(128)), Ok(()));
    assert_eq!(piece.free(two, layout(128)), Err(BadFree::NotMemory), "its slab was given back");
}
