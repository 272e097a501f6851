//! Lab 4: objects in slabs. The seam, what tries it, and its sequences.

mod exam;
mod sequence;

use alloc::boxed::Box;
use alloc::vec;
use core::alloc::Layout;

pub(crate) use exam::{CELL, perform};
pub use exam::{Slabs, states};
pub(crate) use sequence::Sizes;

use crate::source::Source;
use crate::{BadFree, Frame, Refused};

/// An address in memory: a frame's number times [`SLAB`], and what comes on top of that.
pub type Address = u64;

/// Bytes of a slab, which is a frame.
pub const SLAB: usize = 4096;

/// What the slots of a slab may be large, in bytes.
pub const CLASSES: [usize; 12] = [16, 32, 48, 64, 96, 128, 192, 256, 384, 512, 1024, 2048];

/// Words for each frame: with 64 bits each, four of them have a bit for each slot of the smallest class.
pub const WORDS: usize = 8;

/// The frames that a piece may have, and what it may write down of each.
#[derive(Debug)]
pub struct Frames {
    source: &'static Source,
    words: &'static mut [[u64; WORDS]],
}

impl Frames {
    /// Over some frames. The words are not zero, and leaked: a piece is tried in a process or a boot that is over soon.
    pub fn new(source: &'static Source) -> Self {
        let words = vec![[0xdead_beef_dead_beef; WORDS]; source.count()];
        Self { source, words: Box::leak(words.into_boxed_slice()) }
    }

    /// A frame to make a slab of. `None` if there is none left.
    pub fn take(&mut self) -> Option<Frame> {
        self.source.take(0).map(|run| self.source.start(run))
    }

    /// Gives a frame back, which somebody else may have then.
    ///
    /// # Panics
    /// It was not taken.
    pub fn give_back(&mut self, frame: Frame) {
        self.source.give_back(self.source.run_of(frame).expect("what is given back is one of these frames"));
    }

    /// What you have written down of a frame; rubbish at first. `None` if it is none of these.
    pub fn words(&mut self, frame: Frame) -> Option<&mut [u64; WORDS]> {
        self.source.run_of(frame).map(|run| &mut self.words[run])
    }

    /// All the frames there are, whether they are taken or not.
    pub fn all(&self) -> impl Iterator<Item = Frame> + use<> {
        let source = self.source;
        (0..source.count()).map(|run| source.start(run))
    }
}

/// A heap of small objects: what lab 4 has a learner write.
///
/// It is asked by one CPU at a time.
pub trait Objects {
    /// Begins with no object and no slab.
    fn new(frames: Frames) -> Self
    where
        Self: Sized;

    /// Hands out as many bytes as the layout says, so aligned as it says, that nobody has.
    ///
    /// # Errors
    /// There are none.
    fn allocate(&mut self, layout: Layout) -> Result<Address, Refused>;

    /// Takes back what was handed out there for such a layout.
    ///
    /// # Errors
    /// There is no such object. Then nothing changes.
    fn free(&mut self, address: Address, layout: Layout) -> Result<(), BadFree>;
}

/// The class that a layout is served from: the smallest that is large enough, and a multiple of its alignment.
pub fn class_of(layout: Layout) -> Option<usize> {
    CLASSES.iter().position(|size| *size >= layout.size() && size.is_multiple_of(layout.align()))
}
