//! What learners of later labs build on: blocks of frames, split and merged.
//!
//! It does what lab 2 asks for and is slow, so that it gives nothing away of how that is done.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::ops::Range;

use crate::{BadFree, Frame, MAX_ORDER};

/// An allocator of blocks over some memory.
#[derive(Debug)]
pub struct Buddies {
    ranges: Vec<Range<Frame>>,
    /// By order: the first frames of the free blocks.
    free: [BTreeSet<Frame>; MAX_ORDER as usize + 1],
    owned: BTreeMap<Frame, u8>,
    free_frames: u64,
}

impl Buddies {
    /// Takes charge of these frames, all of which are free.
    pub fn new(ranges: impl Iterator<Item = Range<Frame>>) -> Self {
        let ranges: Vec<Range<Frame>> = ranges.collect();
        let mut buddies = Self { ranges, free: Default::default(), owned: BTreeMap::new(), free_frames: 0 };
        for frame in buddies.ranges.clone().into_iter().flatten() {
            buddies.release(frame, 0);
        }
        buddies
    }

    /// How many frames are free.
    pub fn free_frames(&self) -> u64 {
        self.free_frames
    }

    /// How many blocks of an order are free, each as large as it can be.
    pub fn free_blocks(&self, order: u8) -> u64 {
        self.free.get(usize::from(order)).map_or(0, |blocks| blocks.len() as u64)
    }

    /// A block of this order, split from a larger one if need be. `None` if no free block is large enough.
    pub fn allocate(&mut self, order: u8) -> Option<Frame> {
        let found = (order..=MAX_ORDER).find(|of| !self.free[usize::from(*of)].is_empty())?;
        let frame = self.free[usize::from(found)].pop_first()?;
        for half in order..found {
            self.free[usize::from(half)].insert(frame + (1 << half));
        }
        self.owned.insert(frame, order);
        self.free_frames -= 1 << order;
        Some(frame)
    }

    /// Takes back the block of this order at a frame, and merges it with what is free around it.
    ///
    /// # Errors
    /// There is no such block. Then nothing changes.
    pub fn free(&mut self, frame: Frame, order: u8) -> Result<(), BadFree> {
        if !self.ranges.iter().any(|range| range.contains(&frame)) {
            return Err(BadFree::NotMemory);
        }
        match self.owned.range(..=frame).next_back() {
            Some((start, of)) if *start == frame && *of == order => {
                self.owned.remove(&frame);
                self.release(frame, order);
                Ok(())
            }
            Some((start, _)) if *start == frame => Err(BadFree::WrongOrder),
            Some((start, of)) if frame < *start + (1 << of) => Err(BadFree::Inside),
            _ => Err(BadFree::AlreadyFree),
        }
    }

    fn release(&mut self, frame: Frame, order: u8) {
        self.free_frames += 1 << order;
        let (mut frame, mut order) = (frame, order);
        while order < MAX_ORDER && self.free[usize::from(order)].remove(&(frame ^ 1 << order)) {
            frame &= !(1 << order);
            order += 1;
        }
        self.free[usize::from(order)].insert(frame);
    }
}

/// Sets of frames by a number: for lab 4, which slabs of each class have a free slot.
#[derive(Debug)]
pub struct Sets {
    sets: Vec<BTreeSet<Frame>>,
}

impl Sets {
    /// So many sets, without a frame.
    pub fn new(count: usize) -> Self {
        Self { sets: (0..count).map(|_| BTreeSet::new()).collect() }
    }

    /// Puts a frame into a set, if it is not in that.
    pub fn insert(&mut self, set: usize, frame: Frame) {
        self.sets[set].insert(frame);
    }

    /// Takes a frame out of a set, if it is in that.
    pub fn remove(&mut self, set: usize, frame: Frame) {
        self.sets[set].remove(&frame);
    }

    /// The lowest frame of a set.
    pub fn first(&self, set: usize) -> Option<Frame> {
        self.sets[set].first().copied()
    }
}
