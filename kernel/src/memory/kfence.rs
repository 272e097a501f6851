//! KFENCE: single objects of the heap on pages of their own, each between two that are not mapped, so that code that goes beyond one or uses
//! it after it was freed is caught at the instruction (Linux: `mm/kfence`).
//!
//! ```text
//!   | guard | object 0 | guard | object 1 | guard | ...          all of it one unit of address space, of which every second page is mapped
//! ```
//!
//! An object lies at the start of its page or at its end, in turn, as near as its alignment lets it. The rest of the page holds a
//! pattern that is looked at when it is freed. A page is not mapped while its object is not live, and that which was freed longest ago is
//! the next to be used. (Where a free may not wait, other CPUs may still reach the page by what their TLBs remember, as in Linux.)

use super::{paging, vmalloc};
use crate::arch::backtrace;
use crate::arch::local;
use crate::sync::{self, Mutex};
use alloc::vec::Vec;
use bifolio::heap::{HeapError, Sample, Sampler, SlotPart};
use core::cell::Cell;
use core::fmt;
use core::ptr::NonNull;
use protocol::backtrace::Line;
use spin::Once;
use x86_64::VirtAddr;
use x86_64::structures::paging::{Mapper, Page, PageTableFlags, Size4KiB};

/// Objects that there can be at once (Linux: `CONFIG_KFENCE_NUM_OBJECTS`).
pub const OBJECTS: usize = 255;
const PAGE: usize = 4096;
/// Calls that are kept of an allocation, and of a free.
const DEPTH: usize = 8;

static POOL: Once<Pool> = Once::new();

struct Pool {
    /// The first guard page.
    start: VirtAddr,
    slots: Mutex<Slots>,
}

struct Slots {
    all: Vec<Slot>,
    /// Where the search for a page begins: behind the one that was taken last.
    next: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Unused,
    Live,
    Freed,
}

/// An object's page.
#[derive(Clone, Copy)]
struct Slot {
    state: State,
    sample: Sample,
    /// The object's first byte.
    object: usize,
    allocated: Track,
    freed: Track,
}

/// Where something was done: on which CPU, and by which calls, innermost first.
#[derive(Clone, Copy)]
struct Track {
    cpu: usize,
    calls: [u64; DEPTH],
    count: usize,
}

impl Track {
    const NONE: Self = Self { cpu: 0, calls: [0; DEPTH], count: 0 };

    /// The CPU and the calls that lead here.
    #[inline(always)]
    fn here() -> Self {
        let mut calls = [0; DEPTH];
        backtrace::callers(Cell::from_mut(&mut calls[..]).as_slice_of_cells());
        let count = calls.iter().position(|&address| address == 0).unwrap_or(DEPTH);
        Self { cpu: local::current(), calls, count }
    }

    fn write(&self, what: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "  {what} by CPU {}:", self.cpu)?;
        let calls = self.calls[..self.count].iter().enumerate();
        calls.map(|(nth, &address)| Line { number: nth + 1, address }).try_for_each(|line| writeln!(f, "{line}"))
    }
}

/// Makes room for objects, if there is none yet. Whether there is.
pub(super) fn prepare() -> bool {
    if POOL.get().is_none() {
        let mut all = Vec::new();
        if all.try_reserve_exact(OBJECTS).is_err() {
            return false;
        }
        let sample = Sample { cache: "", number: 0, size: 0 };
        let slot = Slot { state: State::Unused, sample, object: 0, allocated: Track::NONE, freed: Track::NONE };
        all.resize(OBJECTS, slot);
        let Some(start) = vmalloc::allocate_spaced(OBJECTS as u64) else { return false };
        let start = VirtAddr::from_ptr(start.as_ptr());
        (0..OBJECTS).for_each(|nth| map(start, nth, false));
        POOL.call_once(|| Pool { start, slots: Mutex::new("kfence", Slots { all, next: 0 }) });
    }
    true
}

/// Whether an address lies where objects, and the guards between them, are.
pub fn contains(address: usize) -> bool {
    POOL.get().is_some_and(|pool| pool.slot_near(address).is_some())
}

/// The page of an object.
fn page(start: VirtAddr, nth: usize) -> Page<Size4KiB> {
    Page::containing_address(start) + (2 * nth as u64 + 1)
}

/// Lets an object's page be reached, or keeps everybody from it: on this CPU, and from what other CPUs remember as well once
/// [flushed](paging::flush).
fn map(start: VirtAddr, nth: usize, is_mapped: bool) {
    let mut flags = PageTableFlags::WRITABLE | PageTableFlags::NO_EXECUTE;
    flags.set(PageTableFlags::PRESENT, is_mapped);
    // SAFETY: the page is of this pool alone; nobody uses it before an object is given out there, or once that was freed.
    let changed = unsafe { paging::table().update_flags(page(start, nth), flags) };
    changed.expect("the pool's pages are there").flush();
}

/// What the byte at an address holds where there is no object (Linux: `KFENCE_CANARY_PATTERN_U8`).
fn pattern(address: usize) -> u8 {
    0xaa ^ (address % 8) as u8
}

impl Pool {
    /// Which of the pool's pages an address lies in, and whether that is an object's: by the number of the object, or of the one before
    /// which the guard page is.
    fn slot_near(&self, address: usize) -> Option<(usize, bool)> {
        let page = address.checked_sub(self.start.as_u64() as usize)? / PAGE;
        (page <= 2 * OBJECTS).then_some((page / 2, page % 2 == 1))
    }

    fn base(&self, nth: usize) -> usize {
        page(self.start, nth).start_address().as_u64() as usize
    }
}

impl Slot {
    /// The first byte around a live object that does not hold the pattern.
    fn find_wrong(&self, base: usize) -> Option<(usize, u8)> {
        let object = self.object..self.object + self.sample.size;
        (base..base + PAGE).filter(|address| !object.contains(address)).find_map(|address| {
            // SAFETY: the page is mapped, since its object is live; a stray write may come at any time, hence volatile.
            let found = unsafe { (address as *const u8).read_volatile() };
            (found != pattern(address)).then_some((address, found))
        })
    }

    /// What is wrong around a live object.
    fn check(&self, nth: usize, base: usize) -> Result<(), HeapError> {
        let Some((address, found)) = self.find_wrong(base) else { return Ok(()) };
        let part = if address < self.object { SlotPart::LeftRedZone } else { SlotPart::RightRedZone };
        let (cache, slot, expected) = (self.sample.cache, nth as u16, pattern(address));
        let offset = address.wrapping_sub(self.object) as isize;
        Err(HeapError::Overwritten { address, cache, slot, part, offset, found, expected })
    }

    /// What is known of the slot, if it was ever used.
    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.state == State::Unused {
            return Ok(());
        }
        let last = self.object + self.sample.size - 1;
        writeln!(
            f,
            "  object {:#018x}-{last:#018x}, size={}, cache={}",
            self.object, self.sample.size, self.sample.cache
        )?;
        self.allocated.write("allocated", f)?;
        if self.state == State::Freed { self.freed.write("freed", f) } else { Ok(()) }
    }
}

/// The heap's sampler.
pub(super) struct Kfence;

// SAFETY: a page is given to one object at a time, and mapped while that is live; the object lies in it as it was asked for. The pool is
// nobody else's.
unsafe impl Sampler for Kfence {
    fn allocate(&self, sample: Sample, align: usize) -> Option<NonNull<u8>> {
        let room = PAGE.checked_sub(sample.size)?;
        let pool = POOL.get()?;
        let track = Track::here();
        let mut slots = pool.slots.lock();
        let first = slots.next;
        let nth = (first..first + OBJECTS).map(|nth| nth % OBJECTS).find(|&nth| slots.all[nth].state != State::Live)?;
        slots.next = nth + 1;
        let base = pool.base(nth);
        // The next object that is here lies at the other end.
        let is_at_end = slots.all[nth].object == base || slots.all[nth].state == State::Unused && nth % 2 == 0;
        let object = base + if is_at_end { room / align * align } else { 0 };
        map(pool.start, nth, true);
        let around = (base..object).chain(object + sample.size..base + PAGE);
        // SAFETY: the page was mapped just now, and nobody else uses it.
        around.for_each(|address| unsafe { (address as *mut u8).write(pattern(address)) });
        slots.all[nth] = Slot { state: State::Live, sample, object, allocated: track, freed: Track::NONE };
        NonNull::new(core::ptr::with_exposed_provenance_mut(object))
    }

    fn look(&self, object: NonNull<u8>) -> Option<Result<Sample, HeapError>> {
        let (pool, address) = (POOL.get()?, object.as_ptr().addr());
        let (nth, is_object) = pool.slot_near(address)?;
        let slot =
            if is_object { pool.slots.lock().all[nth] } else { return Some(Err(HeapError::Foreign { address })) };
        let (cache, number, inside) = (slot.sample.cache, nth as u16, address.wrapping_sub(slot.object));
        Some(match slot.state {
            State::Live if inside == 0 => Ok(slot.sample),
            _ if inside != 0 && inside < slot.sample.size => {
                Err(HeapError::Interior { address, cache, slot: number, offset: inside })
            }
            State::Freed if inside == 0 => Err(HeapError::DoubleFree { address, cache, slot: number }),
            _ => Err(HeapError::Foreign { address }),
        })
    }

    unsafe fn free(&self, object: NonNull<u8>) -> Result<(), HeapError> {
        let address = object.as_ptr().addr();
        let pool = POOL.get().ok_or(HeapError::Foreign { address })?;
        let (nth, _) = pool.slot_near(address).ok_or(HeapError::Foreign { address })?;
        let track = Track::here();
        let mut slots = pool.slots.lock();
        let slot = &mut slots.all[nth];
        if slot.state != State::Live || slot.object != address {
            // Another CPU was quicker.
            return Err(HeapError::DoubleFree { address, cache: slot.sample.cache, slot: nth as u16 });
        }
        slot.check(nth, pool.base(nth))?;
        // SAFETY: the object is live, and by this function's contract nobody uses it.
        unsafe { object.write_bytes(0, slot.sample.size) };
        (slot.state, slot.freed) = (State::Freed, track);
        map(pool.start, nth, false);
        drop(slots);
        if sync::may_sleep() {
            paging::flush(page(pool.start, nth), 1);
        }
        Ok(())
    }
}

/// What a page fault at this address means, if that is about an object here; where a lock is held, no more than that it is.
pub(super) fn place_of(address: u64) -> Option<&'static str> {
    let pool = POOL.get()?;
    let (nth, is_object) = pool.slot_near(address as usize)?;
    let state = pool.slots.try_lock().and_then(|slots| Some(slots.all.get(nth)?.state));
    Some(match (is_object, state) {
        (false, _) => "a guard page of KFENCE: out of an object's bounds",
        (true, Some(State::Freed)) => "a page of KFENCE whose object was freed: a use after free",
        (true, _) => "a page of KFENCE without an object",
    })
}

/// What is known of the object that a fault at this address is about, if there is one.
pub(super) fn explain(address: u64, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let Some(pool) = POOL.get() else { return Ok(()) };
    let Some((nth, is_object)) = pool.slot_near(address as usize) else { return Ok(()) };
    let Some(slots) = pool.slots.try_lock() else { return Ok(()) };
    writeln!(f, "KFENCE:")?;
    // Of the two objects beside a guard page, that in whose half of the page it is.
    let is_behind = !is_object && address as usize % PAGE < PAGE / 2;
    let nth = if is_behind { nth.checked_sub(1) } else { Some(nth) };
    nth.and_then(|nth| slots.all.get(nth)).map_or(Ok(()), |slot| slot.write(f))
}
