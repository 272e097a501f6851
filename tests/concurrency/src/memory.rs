//! Page frames with something in them.

use std::cell::UnsafeCell;

use bifolio::frame::{Order, Pfn};

/// What frames hold, a word each: whose they are. Plain memory, so that ThreadSanitizer sees whether a CPU that frees a frame is
/// done with it before the next begins.
pub struct Memory {
    first: u64,
    words: Vec<UnsafeCell<u64>>,
}

// SAFETY: as with all memory, a CPU that has a frame has it to itself. That this is so is what is tested here.
unsafe impl Sync for Memory {}

/// What is in a frame that nobody has.
const NOBODYS: u64 = u64::MAX;

impl Memory {
    /// Frames that nobody has.
    pub fn new(first: u64, frames: u64) -> Self {
        Self { first, words: (0..frames).map(|_| UnsafeCell::new(NOBODYS)).collect() }
    }

    fn each(&self, pfn: Pfn, order: Order) -> impl Iterator<Item = *mut u64> {
        let first = (pfn.number() - self.first) as usize;
        self.words[first..first + order.frames() as usize].iter().map(UnsafeCell::get)
    }

    /// Makes a block that was allocated just now somebody's.
    pub fn take(&self, pfn: Pfn, order: Order, owner: usize) {
        for word in self.each(pfn, order) {
            // SAFETY: the caller has the frame to himself.
            let before = unsafe { word.replace(owner as u64) };
            assert_eq!(before, NOBODYS, "{pfn} was handed out twice");
        }
    }

    /// Makes a block nobody's that is to be freed.
    pub fn give(&self, pfn: Pfn, order: Order) {
        for word in self.each(pfn, order) {
            // SAFETY: the caller has the frame to himself.
            let before = unsafe { word.replace(NOBODYS) };
            assert_ne!(before, NOBODYS, "{pfn} was not handed out");
        }
    }
}
