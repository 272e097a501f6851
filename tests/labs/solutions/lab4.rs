//! Lab 4: bitmap slabs.

use core::alloc::Layout;

use labs::given::Sets;
use labs::objects::{Address, CLASSES, Frames, Objects, SLAB, WORDS};
use labs::{BadFree, Frame, Refused};

/// A frame's first words: a bit for each slot, set if it is free.
const BITS: usize = 4;
/// The word behind them: the class of the slab plus 1, or 0 if the frame is no slab.
const CLASS: usize = 4;

/// The heap: slabs, and which of them have a free slot.
pub struct Piece {
    frames: Frames,
    /// By class: the slabs with a free slot.
    partial: Sets,
}

/// The class that an object is of.
fn class_of(layout: Layout) -> Option<usize> {
    CLASSES.iter().position(|size| *size >= layout.size() && size.is_multiple_of(layout.align()))
}

/// How many slots a slab of a class has.
fn slots(class: usize) -> usize {
    SLAB / CLASSES[class]
}

/// How many slots are free.
fn free_slots(words: &[u64; WORDS]) -> usize {
    words[..BITS].iter().map(|word| word.count_ones() as usize).sum()
}

impl Piece {
    fn words(&mut self, frame: Frame) -> &mut [u64; WORDS] {
        self.frames.words(frame).expect("it is one of ours")
    }

    /// Makes a slab of a frame, with all slots free.
    fn add_slab(&mut self, class: usize) -> Option<Frame> {
        let frame = self.frames.take()?;
        let words = self.words(frame);
        for (number, word) in words[..BITS].iter_mut().enumerate() {
            let slots = slots(class).saturating_sub(64 * number);
            *word = if slots >= 64 { u64::MAX } else { (1 << slots) - 1 };
        }
        words[CLASS] = class as u64 + 1;
        self.partial.insert(class, frame);
        Some(frame)
    }
}

impl Objects for Piece {
    fn new(mut frames: Frames) -> Self {
        for frame in frames.all() {
            if let Some(words) = frames.words(frame) {
                *words = [0; WORDS];
            }
        }
        Self { frames, partial: Sets::new(CLASSES.len()) }
    }

    fn allocate(&mut self, layout: Layout) -> Result<Address, Refused> {
        let class = class_of(layout).ok_or(Refused::TooLarge)?;
        let frame = self.partial.first(class).or_else(|| self.add_slab(class)).ok_or(Refused::OutOfMemory)?;
        let words = self.words(frame);
        let number = words[..BITS].iter().position(|word| *word != 0).expect("it has a free slot");
        let slot = 64 * number + words[number].trailing_zeros() as usize;
        words[number] &= words[number] - 1;
        if free_slots(words) == 0 {
            self.partial.remove(class, frame);
        }
        Ok(frame * SLAB as u64 + (slot * CLASSES[class]) as u64)
    }

    fn free(&mut self, address: Address, layout: Layout) -> Result<(), BadFree> {
        let (frame, offset) = (address / SLAB as u64, address as usize % SLAB);
        let words = self.frames.words(frame).ok_or(BadFree::NotMemory)?;
        let class = words[CLASS].checked_sub(1).ok_or(BadFree::NotMemory)? as usize;
        let slot = offset / CLASSES[class];
        if slot >= slots(class) {
            return Err(BadFree::NotMemory);
        }
        let (number, bit) = (slot / 64, 1 << (slot % 64));
        if words[number] & bit != 0 {
            return Err(BadFree::AlreadyFree);
        }
        if !offset.is_multiple_of(CLASSES[class]) {
            return Err(BadFree::Inside);
        }
        if class_of(layout) != Some(class) {
            return Err(BadFree::WrongSize);
        }
        words[number] |= bit;
        if free_slots(words) < slots(class) {
            self.partial.insert(class, frame);
        } else {
            words[CLASS] = 0;
            self.partial.remove(class, frame);
            self.frames.give_back(frame);
        }
        Ok(())
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
