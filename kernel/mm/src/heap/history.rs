//! What is known of a slot: who allocated and who freed it last, and its neighbours. Reports of bad frees and of overwritten bytes have it,
//! as those of Linux's SLUB do (`print_trailer`).

use core::fmt;
use core::panic::Location;

use super::debug::{LiveObject, object_of};
use super::{Heap, HeapError};
use crate::cpu::Cpu;
use crate::report::History;
use crate::slab::debug::{Record, Slot, State};
use crate::slab::source::PageSource;
use crate::sync::atomic::Ordering::Relaxed;

/// What a slot of a cache that is debugged was last used for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct SlotHistory {
    /// The cache's name.
    pub cache: &'static str,
    /// The slot's number in its slab.
    pub slot: u16,
    /// Whether there is an object in it.
    pub is_live: bool,
    /// That object, or the last one.
    pub object: LiveObject,
    /// Where in the program the last one was freed.
    pub freed: Option<&'static Location<'static>>,
}

impl SlotHistory {
    fn of(slot: Slot, record: &Record) -> Self {
        let track = slot.track(&record.shape);
        Self {
            cache: record.name,
            slot: slot.number,
            is_live: track.state.get() == State::Live,
            object: object_of(slot, &record.shape),
            freed: track.freed.get(),
        }
    }
}

/// Such as `slot 3 of kmalloc-64 is free; 50 bytes at 0x7f40, allocated on CPU 1 at src/a.rs:5:9, freed at src/b.rs:7:5`.
impl fmt::Display for SlotHistory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cache, slot, is_live, object, freed } = self;
        let state = if *is_live { "in use" } else { "free" };
        write!(f, "slot {slot} of {cache} is {state}")?;
        let Some(site) = object.allocated else { return f.write_str("; its last object was not noted") };
        write!(f, "; {} bytes at {:#x}, allocated", object.size, object.address)?;
        object.cpu.map_or(Ok(()), |cpu| write!(f, " on CPU {cpu}"))?;
        write!(f, " at {site}")?;
        freed.map_or(Ok(()), |site| write!(f, ", freed at {site}"))
    }
}

/// An error with what is known of the slot that it is about, of the two on either side of that, and of what was done there last. As text,
/// it is a line for each.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct HeapReport<'e> {
    /// What is wrong.
    pub error: &'e HeapError,
    /// The slot that it is about, if its cache is debugged.
    pub slot: Option<SlotHistory>,
    /// The slots before and behind it in the slab.
    pub neighbours: [Option<SlotHistory>; 2],
    /// The last operations on the object, and on the frame that it lies in, if they are [recorded](Heap::record). Of what is debugged, those
    /// on the frame alone.
    pub last: History,
}

impl fmt::Display for HeapReport<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { error, slot, neighbours: [before, behind], last } = self;
        write!(f, "{error}")?;
        slot.map_or(Ok(()), |slot| write!(f, "\n  {slot}"))?;
        before.map_or(Ok(()), |slot| write!(f, "\n  before it: {slot}"))?;
        behind.map_or(Ok(()), |slot| write!(f, "\n  behind it: {slot}"))?;
        last.fmt(f)
    }
}

impl<S: PageSource, C: Cpu, const CPUS: usize> Heap<S, C, CPUS> {
    /// What is known of the slot that `address` lies in, if it is debugged.
    pub fn slot_history(&self, address: usize) -> Option<SlotHistory> {
        self.around(address, SlotHistory::of)
    }

    /// An error with all that is known of who brought it about: for [error hooks](Self::set_error_hook). Where the cache keeps call sites
    /// ([`SlabDebug::STORE_USER`](crate::slab::SlabDebug::STORE_USER)), that is who allocated and who freed the object and its neighbours.
    pub fn report<'e>(&self, error: &'e HeapError) -> HeapReport<'e> {
        let mut report = HeapReport { error, slot: None, neighbours: [None; 2], last: self.history(error) };
        self.around(error.address(), |slot, record| {
            let Slot { slab, number } = slot;
            let other = |number: Option<u16>| {
                let number = number.filter(|number| *number < slab.slots())?;
                Some(SlotHistory::of(Slot { slab, number }, record))
            };
            report.slot = Some(SlotHistory::of(slot, record));
            report.neighbours = [other(number.checked_sub(1)), other(number.checked_add(1))];
        });
        report
    }

    /// The last operations on what an error is about.
    fn history(&self, error: &HeapError) -> History {
        let Some(recording) = self.registry.recording.get() else { return History::default() };
        let offset = if let HeapError::Interior { offset, .. } = *error { offset } else { 0 };
        let start = self.registry.source.number_of(error.address() - offset);
        recording.history::<C>(&(start..start.saturating_add(1)))
    }

    /// Looks at the slot that an address lies in, if it is debugged.
    fn around<T>(&self, address: usize, look: impl FnOnce(Slot, &Record) -> T) -> Option<T> {
        if !self.debugging.is_used.load(Relaxed) {
            return None;
        }
        self.debugging.records.with(|records| {
            // SAFETY: we hold the records' lock, which is one of the heap's.
            let slab = unsafe { self.registry.map.find(address) };
            let record = records.get(slab.debugged_cache()?)?;
            let slot = record.slot_containing(slab, address)?;
            Some(look(slot, record))
        })
    }
}
