//! What is kept of a cache that is debugged.

use core::ptr::NonNull;

use super::slot::Site;
use super::slot::Wrong;
use super::{Shape, SlabDebug, Slot, State};
use crate::frame::FRAME_SIZE;
use crate::slab::class::Geometry;
use crate::slab::descriptor::Slab;
use crate::slab::error::HeapError;
use crate::slab::list::{List, Meta};

/// How many freed slots rest in a cache before the first of them is used again.
const QUARANTINE: usize = 256;

/// The lists that a slab can be on.
const PARTIAL: usize = 0;
const FULL: usize = 1;
const FROZEN: usize = 2;

/// One cache: what is kept of it, and its slabs that are debugged. A class has a record only if it is debugged. It lives in a frame of its own, and is touched under the records' lock.
pub(crate) struct Record {
    next: Option<NonNull<Record>>,
    /// The number of the cache.
    pub(crate) number: u16,
    pub(crate) name: &'static str,
    /// The slabs that are not debugged, if this is no class.
    pub(crate) geometry: Option<Geometry>,
    pub(crate) shape: Shape,
    pub(crate) is_destroyed: bool,
    /// Slabs that are not debugged, and had live objects when the cache was destroyed.
    pub(crate) leaked: List<Slab>,
    pub(crate) flags: SlabDebug,
    /// So many allocations succeed before one fails; `None` if none is to fail.
    pub(crate) fail_after: Option<u64>,
    lists: [List<Slab>; 3],
    /// The slot that has rested longest, and the one that was freed last.
    resting: Option<(Slot, Slot)>,
    rests: usize,
    random: u64,
    /// Live objects.
    pub(crate) live: usize,
    pub(crate) slabs: usize,
}

const _: () = assert!(size_of::<Record>() as u64 <= FRAME_SIZE);

/// What became of a slab with a slot that was freed.
pub(crate) enum Freed {
    /// It stays.
    Kept,
    /// It is empty and of no record any more.
    Emptied(Meta<Slab>),
    /// It would be, had it not a byte in this slot that is wrong. It is frozen.
    Corrupt(Slot, Wrong),
}

impl Record {
    pub(crate) fn new(number: u16, name: &'static str, shape: Shape) -> Self {
        Self {
            next: None,
            number,
            name,
            geometry: None,
            shape,
            is_destroyed: false,
            leaked: List::new(),
            flags: SlabDebug::empty(),
            fail_after: None,
            lists: [const { List::new() }; 3],
            resting: None,
            rests: 0,
            random: 0x9e37_79b9_7f4a_7c15 ^ u64::from(number),
            live: 0,
            slabs: 0,
        }
    }

    /// Whether new objects are to be debugged, or refused.
    pub(crate) fn is_on(&self) -> bool {
        !self.flags.is_empty() || self.fail_after.is_some()
    }

    /// Whether nobody needs the record any more.
    fn is_idle(&self) -> bool {
        let is_there = self.geometry.is_some() && !self.is_destroyed;
        self.slabs == 0 && !self.is_on() && !is_there && self.leaked.front().is_none()
    }

    /// Counts an allocation; true if it is the one that is to fail.
    pub(crate) fn is_to_fail(&mut self) -> bool {
        match self.fail_after {
            None => false,
            Some(0) => {
                self.fail_after = None;
                true
            }
            Some(left) => {
                self.fail_after = Some(left - 1);
                false
            }
        }
    }

    /// Takes in a new slab of its shape.
    pub(crate) fn adopt(&mut self, slab: Meta<Slab>) {
        for number in 0..slab.slots() {
            Slot { slab, number }.initialise(&self.shape, self.flags);
        }
        slab.set_list(PARTIAL);
        self.lists[PARTIAL].push_front(slab);
        self.slabs += 1;
    }

    fn move_to(&self, slab: Meta<Slab>, list: usize) {
        self.lists[slab.list()].remove(slab);
        slab.set_list(list);
        self.lists[list].push_front(slab);
    }

    /// Nothing is allocated from this slab any more.
    pub(crate) fn freeze(&self, slab: Meta<Slab>) {
        self.move_to(slab, FROZEN);
    }

    /// Takes a free slot. It has not been looked at.
    pub(crate) fn take(&mut self) -> Option<Slot> {
        let slab = self.lists[PARTIAL].front()?;
        let number = if self.flags.contains(SlabDebug::RANDOM) {
            // xorshift
            self.random ^= self.random << 13;
            self.random ^= self.random >> 7;
            self.random ^= self.random << 17;
            slab.take_nth((self.random % u64::from(slab.free())) as u16)
        } else {
            slab.take_nth(0)
        };
        if slab.free() == 0 {
            self.move_to(slab, FULL);
        }
        Some(Slot { slab, number: number? as u16 })
    }

    /// Takes the slot that has rested longest out of quarantine, even if it should rest longer.
    pub(crate) fn wake(&mut self) -> Option<Slot> {
        let (slot, last) = self.resting?;
        self.resting = slot.track(&self.shape).next.take().map(|next| (next, last));
        self.rests -= 1;
        Some(slot)
    }

    /// An object is no more. Its slot is free, or rests, and another that has rested long enough is free.
    pub(crate) fn give(&mut self, slot: Slot, site: Site) -> Freed {
        let track = slot.track(&self.shape);
        let stores = self.flags.contains(SlabDebug::STORE_USER);
        track.freed.set(stores.then_some(site));
        slot.write_free(&self.shape, self.flags);
        self.live -= 1;
        if !self.flags.contains(SlabDebug::QUARANTINE) {
            return self.release(slot);
        }
        track.state.set(State::Resting);
        track.next.set(None);
        match &mut self.resting {
            None => self.resting = Some((slot, slot)),
            Some((_, last)) => {
                last.track(&self.shape).next.set(Some(slot));
                *last = slot;
            }
        }
        self.rests += 1;
        let woken = if self.rests > QUARANTINE { self.wake() } else { None };
        woken.map_or(Freed::Kept, |slot| self.release(slot))
    }

    /// Makes a slot free, and lets go of its slab if that is empty and another one is not full.
    pub(crate) fn release(&mut self, slot: Slot) -> Freed {
        let slab = slot.slab;
        slot.track(&self.shape).state.set(State::Free);
        slab.put_any(slot.number.into());
        match slab.list() {
            FROZEN => return Freed::Kept,
            FULL => self.move_to(slab, PARTIAL),
            _ => {}
        }
        let is_only = self.lists[PARTIAL].front() == self.lists[PARTIAL].back();
        if slab.is_empty() && !is_only { self.let_go(slab) } else { Freed::Kept }
    }

    /// Lets go of an empty slab, once it has been looked at for the last time.
    fn let_go(&mut self, slab: Meta<Slab>) -> Freed {
        for number in 0..slab.slots() {
            let slot = Slot { slab, number };
            if let Err(wrong) = slot.check(&self.shape) {
                self.freeze(slab);
                return Freed::Corrupt(slot, wrong);
            }
        }
        self.lists[slab.list()].remove(slab);
        self.slabs -= 1;
        Freed::Emptied(slab)
    }

    /// Lets go of an empty slab, if there is one that is not frozen.
    pub(crate) fn pop_empty(&mut self) -> Option<Freed> {
        let slab = self.lists[PARTIAL].iter().find(|slab| slab.is_empty())?;
        Some(self.let_go(slab))
    }

    /// Slabs that nothing is allocated from any more.
    pub(crate) fn frozen(&self) -> usize {
        self.lists[FROZEN].iter().count()
    }

    /// Whether the slab is one of these.
    pub(crate) fn is_frozen(&self, slab: Meta<Slab>) -> bool {
        slab.list() == FROZEN
    }

    /// What is to be said of a byte that is wrong.
    pub(crate) fn overwritten(&self, slot: Slot, wrong: Wrong) -> HeapError {
        let Wrong { part, offset, found, expected } = wrong;
        let address = slot.object(&self.shape).as_ptr().addr().wrapping_add_signed(offset);
        HeapError::Overwritten { address, cache: self.name, slot: slot.number, part, offset, found, expected }
    }

    /// All slabs.
    pub(crate) fn slabs(&self) -> impl Iterator<Item = Meta<Slab>> {
        self.lists.iter().flat_map(List::iter)
    }

    /// All slots, with or without an object.
    pub(crate) fn slots(&self) -> impl Iterator<Item = Slot> {
        self.slabs().flat_map(|slab| (0..slab.slots()).map(move |number| Slot { slab, number }))
    }

    /// The slot whose object starts at `address`, or has it inside; `None` if it is none of the slab's objects.
    pub(crate) fn slot_around(&self, slab: Meta<Slab>, address: usize) -> Option<(Slot, usize)> {
        // The page map knows the lower 48 bits of an address: with others above them it lies far away.
        let offset = address.checked_sub(slab.base().addr())?.checked_sub(self.shape.left)?;
        let (number, inside) = (offset / self.shape.stride, offset % self.shape.stride);
        (number < usize::from(slab.slots()) && inside < self.shape.size)
            .then_some((Slot { slab, number: number as u16 }, inside))
    }

    /// The slot that `address` lies in, redzones and all.
    pub(crate) fn slot_containing(&self, slab: Meta<Slab>, address: usize) -> Option<Slot> {
        let number = address.checked_sub(slab.base().addr())? / self.shape.stride;
        (number < usize::from(slab.slots())).then_some(Slot { slab, number: number as u16 })
    }

    /// Whether slab lists and counts agree.
    pub(crate) fn is_consistent(&self) -> bool {
        let live = self.slots().filter(|slot| slot.track(&self.shape).state.get() == State::Live).count();
        let resting = self.slots().filter(|slot| slot.track(&self.shape).state.get() == State::Resting).count();
        let placed = self.slabs().all(|slab| match slab.list() {
            PARTIAL => slab.free() > 0,
            FULL => slab.free() == 0,
            _ => true,
        });
        let counted = self.slabs().map(|slab| usize::from(slab.slots() - slab.free())).sum::<usize>();
        placed
            && counted == live + resting
            && (live, resting) == (self.live, self.rests)
            && self.slabs().count() == self.slabs
    }
}

/// The records of all caches that are or were debugged.
pub(crate) struct Records {
    first: Option<NonNull<Record>>,
}

// SAFETY: records are bound to no thread; a CPU that has the records has each of them to itself.
unsafe impl Send for Records {}

impl Records {
    pub(crate) const fn new() -> Self {
        Self { first: None }
    }

    /// Gives a cache a record.
    ///
    /// # Safety
    /// The frame is the records' from now on.
    pub(crate) unsafe fn add(&mut self, frame: NonNull<u8>, mut record: Record) {
        record.next = self.first;
        let place = frame.cast::<Record>();
        // SAFETY: the frame is ours, aligned, and has room for a record.
        unsafe { place.write(record) };
        self.first = Some(place);
    }

    /// The record of a cache.
    pub(crate) fn get(&mut self, number: u16) -> Option<&mut Record> {
        self.iter_mut().find(|record| record.number == number)
    }

    /// All records, to be looked at.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Record> {
        let mut next = self.first;
        core::iter::from_fn(move || {
            // SAFETY: records live until they are removed, for which all of them are borrowed mutably.
            let record = unsafe { next?.as_ref() };
            next = record.next;
            Some(record)
        })
    }

    /// All records.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Record> {
        let mut next = self.first;
        core::iter::from_fn(move || {
            // SAFETY: records live until they are removed, and the iterator yields each once, for as long as all of them
            // are borrowed mutably.
            let record = unsafe { next?.as_mut() };
            next = record.next;
            Some(record)
        })
    }

    /// Removes a record without a slab that is not on, and returns its frame.
    pub(crate) fn pop_idle(&mut self) -> Option<NonNull<u8>> {
        let mut link = &mut self.first;
        while let Some(place) = *link {
            // SAFETY: records live until they are removed, and the list is borrowed mutably.
            let record = unsafe { &mut *place.as_ptr() };
            if record.is_idle() {
                *link = record.next;
                return Some(place.cast());
            }
            link = &mut record.next;
        }
        None
    }
}
