//! What can be wrong with a free, or with an object, as values that say what and where.

use core::fmt;
use core::panic::Location;

use super::debug::SlotPart;
use crate::error::{FreeError, table::errors};

errors! {
    /// Why memory was not freed. Nothing was changed.
    pub enum HeapError {
        /// No object of the heap is at this address, or inside it: it never was one, or its slab has been given back.
        Foreign {
            /// What was to be freed.
            address: usize,
        } => "bad free of {address:#x}: no object of this heap",
        /// The address lies inside a slot, not at its start.
        Interior {
            /// What was to be freed.
            address: usize,
            /// The cache that the slot belongs to.
            cache: &'static str,
            /// The slot's number in its slab.
            slot: u16,
            /// Bytes from the slot's start to the address.
            offset: usize,
        } => "bad free of {address:#x}: {offset} bytes inside slot {slot} of {cache}",
        /// The slot is free already.
        DoubleFree {
            /// What was to be freed.
            address: usize,
            /// The cache that the slot belongs to.
            cache: &'static str,
            /// The slot's number in its slab.
            slot: u16,
        } => "bad free of {address:#x}: slot {slot} of {cache} is free already (double free)",
        /// A live object starts here, but it was not allocated with a layout like the one that was given.
        WrongLayout {
            /// What was to be freed.
            address: usize,
            /// The cache that the object belongs to.
            cache: &'static str,
            /// The slot's number in its slab.
            slot: u16,
            /// The size of the layout that was given, in bytes.
            given: usize,
            /// The size of the object's slot, in bytes.
            actual: usize,
        } => "bad free of {address:#x}: a layout of {given} bytes given for slot {slot} of {cache}, which has {actual}",
        /// A byte was overwritten that nobody had any business with. It was found when an object of the slot was freed or to be
        /// allocated; the slab is frozen: what was to be freed stays allocated, and nothing is allocated from the slab any more.
        Overwritten {
            /// The first byte that is wrong.
            address: usize,
            /// The cache that the slot belongs to.
            cache: &'static str,
            /// The slot's number in its slab.
            slot: u16,
            /// What the byte is part of.
            part: SlotPart,
            /// Bytes from the start of the slot's object to the byte.
            offset: isize,
            /// The byte that is there.
            found: u8,
            /// The byte that should be there.
            expected: u8,
        } => "{part} of slot {slot} of {cache} was overwritten: {found:#04x} instead of {expected:#04x} at {address:#x}, \
                    {offset:+} bytes from the object's start",
        /// The object's cache was [destroyed](crate::heap::Cache::destroy) while it lived. It stays allocated for ever.
        Destroyed {
            /// What was to be freed.
            address: usize,
            /// The cache that there was.
            cache: &'static str,
            /// The slot's number in its slab.
            slot: u16,
        } => "bad free of {address:#x}: slot {slot} of {cache}, which has been destroyed",
        /// A cache was dropped, and this object of it still lived. It stays allocated for ever.
        Leaked {
            /// The object's first byte.
            address: usize,
            /// The cache that there was.
            cache: &'static str,
            /// The object's size, in bytes.
            size: usize,
            /// Where in the program it was allocated, if that was kept.
            allocated: Option<&'static Location<'static>>,
        } => ("{size} bytes at {address:#x} were still allocated when {cache} was destroyed{}", Since(*allocated)),
        /// The page source did not take back frames that the heap had from it. They are lost.
        Refused {
            /// The first byte of the frames.
            address: usize,
            /// How many they are.
            frames: u64,
            /// What the page source says.
            error: FreeError,
        } => "the page source did not take back {frames} frames at {address:#x}: {error}" because error,
    }
}

/// Where an object was allocated, if that was kept: the end of a sentence.
struct Since(Option<&'static Location<'static>>);

impl fmt::Display for Since {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |site| write!(f, ", since {site}"))
    }
}

impl HeapError {
    /// What it is about: what was to be freed, or the first byte that is wrong.
    pub fn address(&self) -> usize {
        match *self {
            Self::Foreign { address }
            | Self::Interior { address, .. }
            | Self::DoubleFree { address, .. }
            | Self::WrongLayout { address, .. }
            | Self::Overwritten { address, .. }
            | Self::Destroyed { address, .. }
            | Self::Leaked { address, .. }
            | Self::Refused { address, .. } => address,
        }
    }

    /// Panics with the error: what a heap does with the errors of its `GlobalAlloc` face unless told otherwise.
    #[track_caller]
    pub fn panic(&self) {
        panic!("{self}");
    }
}
