//! The same with debugging switched on, other classes in other ways from phase to phase, and with stray writes: each must be
//! reported by its first byte, with the right cache and slot.

use std::alloc::Layout;
use std::collections::BTreeSet;
use std::ptr::NonNull;

use bifolio::heap::{HeapError, SizeClass, SlabDebug, SlotPart};

use super::bad_frees::HEARD;
use super::{Object, Round, group};

/// Each stray write freezes a slab for good: more would use up a round's memory.
const STRAY_WRITES: usize = 24;

impl Round<'_> {
    /// How objects of this layout are debugged now.
    pub(super) fn debug_of(&self, layout: Layout) -> SlabDebug {
        let class = SizeClass::of(layout).and_then(|class| SizeClass::all().position(|other| other == class));
        class.map_or(SlabDebug::empty(), |class| self.debug[class])
    }

    /// Switches debugging on and off.
    pub(super) fn debug_others(&mut self) {
        let chance = self.random.one_of(&[0, 300, 1000]);
        for (number, class) in SizeClass::all().enumerate() {
            let all = u64::from(SlabDebug::all().bits()) + 1;
            let is_debugged = chance > 0 && self.random.per_mille(chance);
            let flags = if is_debugged { self.random.below(all) } else { 0 };
            let flags = SlabDebug::from_bits_retain(flags as u16);
            if self.heap.set_debug(class, flags) {
                self.debug[number] = flags;
            } else {
                self.tally.count(group::REFUSALS, "set_debug");
            }
        }
    }

    /// Switches it off.
    pub(super) fn end_debugging(&mut self) {
        assert_eq!(self.heap.check_objects(), Ok(()), "a stray write that nobody has planted");
        for class in SizeClass::all().filter(|_| self.debugs) {
            assert!(self.heap.set_debug(class, SlabDebug::empty()));
        }
        self.debug = [SlabDebug::empty(); SizeClass::COUNT];
    }

    /// The objects of a class that are debugged are listed, each, and nothing else.
    pub(super) fn check_live(&self, class: SizeClass) {
        if !self.debugs {
            return;
        }
        let is_one = |object: &&Object| !object.debug.is_empty() && SizeClass::of(object.layout) == Some(class);
        let expected: BTreeSet<_> = self
            .live
            .iter()
            .filter(is_one)
            .map(|object| {
                let stores = object.debug.contains(SlabDebug::STORE_USER);
                (object.start(), object.layout.size(), Some(object.cpu), stores)
            })
            .collect();
        let mut listed = BTreeSet::new();
        self.heap.for_each_live(class, |object| {
            listed.insert((object.address, object.size, object.cpu, object.allocated.is_some()));
        });
        assert_eq!(listed, expected, "live objects of {} bytes", class.size());
    }

    /// Does what debugging is there to find.
    pub(super) fn plant_in_debugged(&mut self) {
        match self.random.below(8) {
            0 => self.fail_the_nth(),
            _ if self.overwritten >= STRAY_WRITES || !self.random.per_mille(300) => {}
            1..3 => self.write_outside(true),
            3..5 => self.write_outside(false),
            _ => self.write_after_free(),
        }
    }

    /// One of the live objects that are so, if there is any.
    fn nth_that(&mut self, is_so: impl Fn(&Self, &Object) -> bool) -> Option<usize> {
        let first = self.nth()?;
        (first..self.live.len()).chain(0..first).find(|&index| is_so(self, &self.live[index]))
    }

    /// Writes over the end of an object, or before its start, and frees it.
    fn write_outside(&mut self, behind: bool) {
        let Some(index) = self.nth_that(|_, object| object.debug.contains(SlabDebug::RED_ZONE)) else { return };
        let object = self.live[index];
        let distance = self.random.below(16) as isize;
        let (kind, part, offset) = if behind {
            ("overflow", SlotPart::RightRedZone, object.layout.size() as isize + distance)
        } else {
            ("underflow", SlotPart::LeftRedZone, -1 - distance)
        };
        // SAFETY: there are 16 bytes of redzone at least on both sides of every object.
        let byte = unsafe { object.address.offset(offset) };
        let (found, expected) = (self.random.below(0xcc) as u8, 0xcc);
        // SAFETY: likewise.
        unsafe { byte.write(found) };
        let (cache, slot) = self.blocks().place(object.start());
        let address = byte.as_ptr().addr();
        let error = HeapError::Overwritten { address, cache, slot, part, offset, found, expected };
        // SAFETY: the object is ours; what is refused stays so.
        let freed = unsafe { self.heap.free(object.address, object.layout) };
        assert_eq!(freed, Err(error), "{kind} of {:p}", object.address);
        self.tally.count(group::PLANTED, kind);
        self.overwritten = self.heap.frozen_slabs();
        // Mended, it can be freed.
        // SAFETY: likewise.
        unsafe { byte.write(expected) };
        self.free_nth(index);
    }

    /// Writes to an object that was freed.
    fn write_after_free(&mut self) {
        let quarantined = |object: &Object| object.debug.contains(SlabDebug::QUARANTINE);
        // It must stay when it is freed, and be poisoned then.
        let stays = |round: &Self, object: &Object| {
            let poisons = round.debug_of(object.layout).contains(SlabDebug::POISON);
            poisons && !object.debug.is_empty() && round.blocks().live_around(object.start()) > 1
        };
        let Some(index) = self.nth_that(stays) else { return };
        let object = self.live[index];
        let size = SizeClass::of(object.layout).expect("it is debugged").size();
        self.free_nth(index);
        let offset = self.random.below(size as u64) as usize;
        let expected = if offset == size - 1 { 0xa5 } else { 0x6b };
        let found = self.random.below(0x6b) as u8;
        // SAFETY: the byte lies in a free slot of a slab that has other objects.
        unsafe { object.address.add(offset).write(found) };
        let (cache, slot) = self.blocks().place(object.start());
        let (address, part) = (object.start() + offset, SlotPart::Freed);
        let error = HeapError::Overwritten { address, cache, slot, part, offset: offset as isize, found, expected };
        let before = self.heap.frozen_slabs();
        let by_allocating = self.random.per_mille(500) && !quarantined(&object);
        let reported = if by_allocating { self.allocate_until_reported(object.layout) } else { None };
        let reported = reported.or_else(|| self.heap.check_objects().err());
        if reported.is_none() && self.heap.frozen_slabs() == before {
            // The slab was frozen already: nobody looks there any more.
            assert!(before > 0);
            // SAFETY: likewise.
            unsafe { object.address.add(offset).write(expected) };
            return;
        }
        assert_eq!(reported, Some(error), "a write to {:p}, which was freed", object.address);
        self.tally.count(group::PLANTED, "write after free");
        self.overwritten = self.heap.frozen_slabs();
        // SAFETY: likewise.
        unsafe { object.address.add(offset).write(expected) };
    }

    /// Allocates objects until an error is reported, and frees them again.
    fn allocate_until_reported(&mut self, layout: Layout) -> Option<HeapError> {
        self.heap.set_error_hook(|error| HEARD.set(Some(*error)));
        let before = self.live.len();
        let mut reported = None;
        while reported.is_none() && self.live.len() < before + 300 {
            let object = self.heap.allocate(layout);
            reported = HEARD.take();
            let Some(address) = object else { break };
            self.took(address, layout);
        }
        while self.live.len() > before {
            self.free_nth(self.live.len() - 1);
        }
        self.heap.set_error_hook(HeapError::panic);
        reported
    }

    /// Lets one allocation fail, and no other.
    fn fail_the_nth(&mut self) {
        let layout = self.layout();
        let Some(class) = SizeClass::of(layout) else { return };
        self.have_enough();
        let successes = self.random.below(4);
        if !self.heap.set_fail_after(class, Some(successes)) {
            return;
        }
        for nth in 0..=successes {
            let refusals = self.heap.source().refusals.get();
            let object: Option<NonNull<u8>> = self.heap.allocate(layout);
            if self.heap.source().refusals.get() != refusals {
                // There was too little memory as it is.
                assert!(self.heap.set_fail_after(class, None));
                if let Some(address) = object {
                    self.took_while_failing(address, layout);
                }
                return;
            }
            assert_eq!(object.is_none(), nth == successes, "allocation {nth} of {layout:?}, after {successes}");
            if let Some(address) = object {
                self.took_while_failing(address, layout);
            }
        }
        self.tally.count(group::PLANTED, "fail the nth");
    }

    /// Takes note of an object that was allocated while a later one was to fail: such objects are in slabs that are debugged,
    /// whether anything else is switched on or not. It is freed at once.
    fn took_while_failing(&mut self, address: NonNull<u8>, layout: Layout) {
        self.took_as(address, layout, self.debug_of(layout) | SlabDebug::from_bits_retain(1 << 15));
        self.free_nth(self.live.len() - 1);
    }
}
