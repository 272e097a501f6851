//! One slot of a slab that is debugged: what is written into it, and what must still be there.

use core::cell::Cell;
use core::ops::Range;
use core::panic::Location;
use core::ptr::NonNull;

use super::{Shape, SlabDebug, SlotPart};
use crate::slab::descriptor::Slab;
use crate::slab::list::Meta;

/// Linux's bytes.
const FREE: u8 = 0x6b;
const IN_USE: u8 = 0x5a;
const END: u8 = 0xa5;
const INACTIVE: u8 = 0xbb;
const ACTIVE: u8 = 0xcc;

/// What a slot is used for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum State {
    /// It can be allocated.
    Free,
    /// There is an object in it.
    Live,
    /// It was freed, and rests.
    Resting,
}

/// The place in the program, and the CPU, that did something.
pub(crate) type Site = &'static Location<'static>;

/// What is known of a slot. It lies behind all slots of its slab.
pub(crate) struct Track {
    pub(crate) state: Cell<State>,
    /// What was written into the slot: that can be checked, whatever was switched on or off since.
    written: Cell<SlabDebug>,
    /// The size that was asked for.
    pub(crate) requested: Cell<u32>,
    /// The CPU that allocated.
    pub(crate) cpu: Cell<u32>,
    pub(crate) allocated: Cell<Option<Site>>,
    pub(crate) freed: Cell<Option<Site>>,
    /// The next slot that rests.
    pub(super) next: Cell<Option<Slot>>,
}

/// A byte that is not what it should be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wrong {
    pub(crate) part: SlotPart,
    /// Bytes from the object's first to this one.
    pub(crate) offset: isize,
    pub(crate) found: u8,
    pub(crate) expected: u8,
}

/// A slot, by its slab and number.
#[derive(Clone, Copy)]
pub(crate) struct Slot {
    pub(crate) slab: Meta<Slab>,
    pub(crate) number: u16,
}

impl Slot {
    /// The slot's first byte.
    fn start(self) -> *mut u8 {
        self.slab.base().wrapping_add(usize::from(self.number) * self.slab.size())
    }

    /// The object's first byte.
    pub(crate) fn object(self, shape: &Shape) -> NonNull<u8> {
        // SAFETY: a slot lies in its slab's block, which is not at address zero.
        unsafe { NonNull::new_unchecked(self.start().wrapping_add(shape.left)) }
    }

    fn track_ptr(self, shape: &Shape) -> *mut Track {
        self.slab.base().wrapping_add(shape.tracks()).cast::<Track>().wrapping_add(self.number.into())
    }

    /// What is known of the slot.
    pub(crate) fn track(self, shape: &Shape) -> &'static Track {
        // SAFETY: the tracks of an open slab of this shape are initialised, and live as long as it is open; only who holds
        // the records' lock looks at them, and lets go of them before a slab is closed.
        unsafe { &*self.track_ptr(shape) }
    }

    /// Makes the slot of a new slab a free one.
    pub(crate) fn initialise(self, shape: &Shape, flags: SlabDebug) {
        // SAFETY: the slab is new, and has room for the tracks behind its slots.
        unsafe {
            self.track_ptr(shape).write(Track {
                state: Cell::new(State::Free),
                written: Cell::new(SlabDebug::empty()),
                requested: Cell::new(0),
                cpu: Cell::new(0),
                allocated: Cell::new(None),
                freed: Cell::new(None),
                next: Cell::new(None),
            });
        }
        self.write_free(shape, flags);
    }

    fn fill(self, range: Range<usize>, byte: u8) {
        // SAFETY: the range lies in the slot, which is nobody else's: it is free, or the range is redzone.
        unsafe { self.start().add(range.start).write_bytes(byte, range.len()) };
    }

    fn find_wrong(self, range: Range<usize>, byte: u8, part: SlotPart, shape: &Shape) -> Result<(), Wrong> {
        for at in range {
            // SAFETY: the byte lies in the slot, and was filled. A stray write may come at any time, hence volatile.
            let found = unsafe { self.start().add(at).read_volatile() };
            if found != byte {
                let offset = at as isize - shape.left as isize;
                return Err(Wrong { part, offset, found, expected: byte });
            }
        }
        Ok(())
    }

    /// Where the object ends that was asked for, in bytes from the slot's start.
    fn end(self, shape: &Shape) -> usize {
        shape.left + self.track(shape).requested.get() as usize
    }

    /// Writes what belongs into a slot that is free.
    pub(crate) fn write_free(self, shape: &Shape, flags: SlabDebug) {
        let (left, end) = (shape.left, shape.left + shape.size);
        if flags.contains(SlabDebug::POISON) {
            self.fill(left..end - 1, FREE);
            self.fill(end - 1..end, END);
        }
        if flags.contains(SlabDebug::RED_ZONE) {
            self.fill(0..left, INACTIVE);
            self.fill(end..shape.stride, INACTIVE);
        }
        self.track(shape).written.set(flags);
    }

    /// Fills the object, of `size` bytes, with zeros.
    pub(crate) fn clear(self, shape: &Shape, size: usize) {
        self.fill(shape.left..shape.left + size, 0);
    }

    /// Checks that a free slot holds what was written into it.
    pub(crate) fn check_free(self, shape: &Shape) -> Result<(), Wrong> {
        let written = self.track(shape).written.get();
        let (left, end) = (shape.left, shape.left + shape.size);
        if written.contains(SlabDebug::POISON) {
            self.find_wrong(left..end - 1, FREE, SlotPart::Freed, shape)?;
            self.find_wrong(end - 1..end, END, SlotPart::Freed, shape)?;
        }
        if written.contains(SlabDebug::RED_ZONE) {
            self.find_wrong(0..left, INACTIVE, SlotPart::LeftRedZone, shape)?;
            self.find_wrong(end..shape.stride, INACTIVE, SlotPart::RightRedZone, shape)?;
        }
        Ok(())
    }

    /// Writes what belongs into and around an object of `size` bytes.
    pub(crate) fn write_live(self, shape: &Shape, flags: SlabDebug, size: usize) {
        self.track(shape).requested.set(size as u32);
        let end = self.end(shape);
        if flags.contains(SlabDebug::POISON) {
            self.fill(shape.left..end, IN_USE);
        }
        if flags.contains(SlabDebug::RED_ZONE) {
            self.fill(0..shape.left, ACTIVE);
            self.fill(end..shape.stride, ACTIVE);
        }
        self.track(shape).written.set(flags);
    }

    /// Checks the redzones of a live object.
    pub(crate) fn check_live(self, shape: &Shape) -> Result<(), Wrong> {
        if self.track(shape).written.get().contains(SlabDebug::RED_ZONE) {
            // From the object outwards on the right: the first byte there is the first that was written.
            self.find_wrong(self.end(shape)..shape.stride, ACTIVE, SlotPart::RightRedZone, shape)?;
            self.find_wrong(0..shape.left, ACTIVE, SlotPart::LeftRedZone, shape)?;
        }
        Ok(())
    }

    /// Checks whatever the slot must hold.
    pub(crate) fn check(self, shape: &Shape) -> Result<(), Wrong> {
        if self.track(shape).state.get() == State::Live { self.check_live(shape) } else { self.check_free(shape) }
    }
}
