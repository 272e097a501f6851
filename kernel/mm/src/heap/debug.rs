//! Debugging the use of objects: switched on class by class, and asked for what it has found. How it works is told in
//! `slab::debug`.

use crate::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use core::panic::Location;
use core::ptr::NonNull;

use super::diagnose::Wanted;
use super::numbers::Numbers;
use super::slow::Kind;
use super::{CacheStats, Heap, HeapError, SizeClass};
use crate::allocator::HeapCall;
use crate::cpu::Cpu;
use crate::frame::Order;
use crate::hardening::Hardening;
use crate::slab::arena::{Arena, ArenaId};
use crate::slab::debug::{Freed, Record, Records, Shape, Site, SlabDebug, Slot, State};
use crate::slab::descriptor::{Slab, Slots};
use crate::slab::list::Meta;
use crate::slab::source::PageSource;
use crate::sync::Mutex;

/// Which caches are debugged, and what is known of them.
pub(super) struct Debugging<C> {
    /// Each cache of which whatever finds nothing in hand is to come by, since an object is to be debugged or it is watched.
    on: Numbers,
    /// A bit for each cache behind the classes of which objects are freed as its constructor left them.
    pub(super) constructed: AtomicU32,
    /// Every cache is, so that [samples](Heap::sample) can be taken, or what is in hand be [recorded](Heap::record).
    is_watched: AtomicBool,
    /// Whether there is any record.
    pub(super) is_used: AtomicBool,
    pub(super) records: Mutex<Records, C>,
}

impl<C: Cpu> Debugging<C> {
    pub(super) const fn new() -> Self {
        Self {
            on: Numbers::none(),
            constructed: AtomicU32::new(0),
            is_watched: AtomicBool::new(false),
            is_used: AtomicBool::new(false),
            records: Mutex::new("heap: records", Records::new()),
        }
    }

    /// Whether a request for an object of this cache that finds nothing in hand is to come by.
    pub(super) fn is_on(&self, number: u16) -> bool {
        self.on.has(number)
    }

    pub(super) fn set_on(&self, record: &Record) {
        self.on.set(record.number, record.is_on() || self.is_watched.load(Relaxed));
    }

    /// Has every cache come by, or those alone that are debugged.
    pub(super) fn watch_all(&self, is_watched: bool) {
        self.records.with(|records| {
            self.is_watched.store(is_watched, Relaxed);
            (0..Arena::BINS as u16).for_each(|number| self.on.set(number, is_watched));
            records.iter().for_each(|record| self.set_on(record));
        });
    }
}

/// A live object of a cache that is debugged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct LiveObject {
    /// The object's first byte.
    pub address: usize,
    /// The size that was asked for, in bytes.
    pub size: usize,
    /// The CPU that allocated it, if its cache was debugged then.
    pub cpu: Option<usize>,
    /// Where in the program it was allocated, if the cache keeps that ([`SlabDebug::STORE_USER`]).
    pub allocated: Option<&'static Location<'static>>,
}

pub(super) fn object_of(slot: Slot, shape: &Shape) -> LiveObject {
    let track = slot.track(shape);
    LiveObject {
        address: slot.object(shape).as_ptr().addr(),
        size: track.requested.get() as usize,
        cpu: Some(track.cpu.get() as usize),
        allocated: track.allocated.get(),
    }
}

/// Adds what is debugged of a cache to its figures.
pub(super) fn count(record: &Record, stats: &mut CacheStats) {
    for slab in record.slabs() {
        let used = slab.slots() - slab.free();
        stats.objects += usize::from(slab.slots());
        stats.active_slabs += usize::from(used > 0);
        stats.slabs += 1;
        stats.frames += slab.order().frames();
    }
    stats.active_objects += record.live;
}

/// What an attempt to allocate in a cache that is debugged has come to.
enum Attempt {
    /// The cache is not debugged any more.
    Plain,
    /// This is the allocation that is to fail.
    Refused,
    Allocated(NonNull<u8>),
    /// There is no free slot.
    Exhausted(Shape),
    /// The slot that was to be used holds what it should not.
    Corrupt(HeapError),
}

impl<S: PageSource, C: Cpu, const CPUS: usize> Heap<S, C, CPUS> {
    /// Chooses how objects of a class are debugged that are allocated from now on (on other CPUs: a moment later). `false`,
    /// and nothing changed, if there is no frame for what must be kept of them.
    ///
    /// Objects above the classes are not debugged.
    #[must_use = "there may be no memory for it"]
    pub fn set_debug(&self, class: SizeClass, flags: SlabDebug) -> bool {
        self.change_record(Kind::of(class), |record| record.flags = flags)
    }

    /// Lets an allocation of a class fail: the next one after `successes` that do not; `None` for none. `false`, and nothing
    /// changed, if there is no frame to keep that in.
    ///
    /// What a program does without memory is seldom tried otherwise.
    #[must_use = "there may be no memory for it"]
    pub fn set_fail_after(&self, class: SizeClass, successes: Option<u64>) -> bool {
        self.change_record(Kind::of(class), |record| record.fail_after = successes)
    }

    /// Changes what is kept of a cache, which from then on has a record.
    pub(super) fn change_record(&self, kind: Kind<'_>, mut change: impl FnMut(&mut Record)) -> bool {
        let mut try_to = || {
            self.debugging.records.with(|records| {
                let record = records.get(kind.number)?;
                change(record);
                self.debugging.set_on(record);
                Some(record.is_on())
            })
        };
        let is_on = try_to().or_else(|| {
            let frame = self.registry.source.allocate(Order::ZERO)?;
            let spare = self.debugging.records.with(|records| {
                if records.get(kind.number).is_some() {
                    return Some(frame);
                }
                let (name, size) = (kind.geometry.name, kind.geometry.size as usize);
                let record = Record::new(kind.number, name, Shape::new(size, 1 << size.trailing_zeros()));
                // SAFETY: the frame came from the source for this alone.
                unsafe { records.add(frame, record) };
                self.debugging.is_used.store(true, Relaxed);
                None
            });
            if let Some(frame) = spare {
                // SAFETY: it came from the source a moment ago, and nothing was made of it.
                unsafe { self.registry.give_back(frame, Order::ZERO) };
            }
            try_to()
        });
        if is_on == Some(true) {
            // With nothing laid open, every allocation comes by here.
            let set_aside = || self.set_aside(kind.number);
            self.recorded(HeapCall::SetAside { cache: kind.number }, |()| Some(0), set_aside);
        }
        is_on.is_some()
    }

    /// Has no arena have slots of a cache in hand.
    pub(super) fn set_aside(&self, cache: u16) {
        self.stopped(|all| all.arenas().for_each(|arena| arena.bin(cache).set_aside()));
    }

    /// Allocates in a cache that is debugged: `None` if it is not, `Some(None)` if there is no memory, or should be none.
    pub(super) fn allocate_debugged(&self, kind: Kind<'_>, size: usize, site: Site) -> Option<Option<NonNull<u8>>> {
        let mut is_first = true;
        let mut has_shrunk = false;
        let is_zeroed = self.inits(kind.number, Hardening::INIT_ON_ALLOC);
        loop {
            let attempt = self.debugging.records.with(|records| {
                let Some(record) = records.get(kind.number) else { return Attempt::Plain };
                if core::mem::take(&mut is_first) && record.is_to_fail() {
                    self.debugging.set_on(record);
                    return Attempt::Refused;
                }
                if record.is_on() { take(record, size, C::current(), site, is_zeroed) } else { Attempt::Plain }
            });
            match attempt {
                Attempt::Plain => return None,
                Attempt::Refused => return Some(None),
                Attempt::Allocated(object) => return Some(Some(object)),
                Attempt::Corrupt(error) => self.registry.report(&error),
                Attempt::Exhausted(shape) => {
                    if self.open_debugged(kind.number, &shape) || self.wake(kind.number) {
                        continue;
                    }
                    if core::mem::replace(&mut has_shrunk, true) || self.shrink() == 0 {
                        return Some(None);
                    }
                }
            }
        }
    }

    /// Fetches a slab for a cache that is debugged.
    fn open_debugged(&self, number: u16, shape: &Shape) -> bool {
        let slots = Slots {
            cache: Slab::debugged(number),
            count: shape.slots() as u16,
            size: shape.stride as u32,
            divider: shape.divider,
        };
        let Some(slab) = self.opened(|| self.registry.open(shape.order, slots)) else { return false };
        let adopted = self.debugging.records.with(|records| {
            slab.set_arena(ArenaId::NONE);
            let adopted = records.get(number).map(|record| record.adopt(slab));
            if adopted.is_none() {
                slab.set_arena(ArenaId::TRANSIT);
            }
            adopted
        });
        if adopted.is_none() {
            self.registry.close(slab);
        }
        true
    }

    /// Ends the rest of the slot that has rested longest. `false` if none rests.
    fn wake(&self, number: u16) -> bool {
        let freed = self.debugging.records.with(|records| {
            let record = records.get(number)?;
            let slot = record.wake()?;
            let freed = record.release(slot);
            Some(settle(record, freed))
        });
        let is_awake = freed.is_some();
        self.dispose(freed.unwrap_or(Ok(None)));
        is_awake
    }

    /// Closes a slab that no record has any more, or reports why it is still there. Returns how many frames it had.
    pub(super) fn dispose(&self, freed: Settled) -> u64 {
        match freed {
            Ok(None) => 0,
            Ok(Some(slab)) => self.registry.close(slab),
            Err(error) => {
                self.registry.report(&error);
                0
            }
        }
    }

    /// Runs `f` on the slot that is debugged and that `object` lies in, and says what is wrong with freeing that, if
    /// anything is. `None` if it lies in no slab that is debugged.
    fn with_debugged<R>(
        &self,
        object: NonNull<u8>,
        wanted: Option<Wanted>,
        f: impl FnOnce(&mut Record, Slot) -> Result<R, HeapError>,
    ) -> Option<Result<R, HeapError>> {
        if !self.debugging.is_used.load(Relaxed) {
            return None;
        }
        let address = object.as_ptr().addr();
        self.debugging.records.with(|records| {
            // SAFETY: we hold the records' lock, which is one of the heap's.
            let slab = unsafe { self.registry.map.find(address) };
            let record = records.get(slab.debugged_cache()?)?;
            Some(judge(record, record.slot_around(slab, address), address, wanted).and_then(|slot| f(record, slot)))
        })
    }

    /// What is wrong with freeing an object that is debugged, if anything is: else its cache and slot.
    pub(super) fn judge_debugged(
        &self,
        object: NonNull<u8>,
        wanted: Option<Wanted>,
    ) -> Option<Result<(&'static str, u16), HeapError>> {
        self.with_debugged(object, wanted, |record, slot| Ok((record.name, slot.number)))
    }

    /// Whether the object is debugged.
    pub(super) fn is_debugged(&self, object: NonNull<u8>) -> bool {
        matches!(self.judge_debugged(object, None), Some(Ok(_)))
    }

    /// The size that was asked for, if the object is debugged.
    pub(super) fn debugged_size(&self, object: NonNull<u8>) -> Option<usize> {
        let size = |record: &mut Record, slot: Slot| Ok(slot.track(&record.shape).requested.get() as usize);
        self.with_debugged(object, None, size)?.ok()
    }

    /// Frees an object, if it is in a slab that is debugged.
    pub(super) fn free_debugged(
        &self,
        object: NonNull<u8>,
        wanted: Option<Wanted>,
        site: Site,
    ) -> Option<Result<(), HeapError>> {
        let freed = self.with_debugged(object, wanted, |record, slot| {
            if let Err(wrong) = slot.check_live(&record.shape) {
                record.freeze(slot.slab);
                return Err(record.overwritten(slot, wrong));
            }
            if !record.flags.contains(SlabDebug::POISON) && self.inits(record.number, Hardening::INIT_ON_FREE) {
                slot.clear(&record.shape, record.shape.size);
            }
            let freed = record.give(slot, site);
            Ok(settle(record, freed))
        })?;
        Some(freed.map(|freed| {
            self.dispose(freed);
        }))
    }

    /// Gives back what caches that are or were debugged do not need. Returns how many frames it was.
    pub(super) fn shrink_debugged(&self) -> u64 {
        let mut frames = 0;
        if !self.debugging.is_used.load(Relaxed) {
            return frames;
        }
        while let Some(freed) = self.debugging.records.with(|records| {
            records.iter_mut().find_map(|record| {
                let freed = match record.wake() {
                    Some(slot) => record.release(slot),
                    None => record.pop_empty()?,
                };
                Some(settle(record, freed))
            })
        }) {
            frames += self.dispose(freed);
        }
        frames + self.give_back_records()
    }

    /// Gives back the records that nobody needs. Returns how many frames it was.
    pub(super) fn give_back_records(&self) -> u64 {
        let mut frames = 0;
        while let Some(frame) = self.debugging.records.with(|records| {
            let frame = records.pop_idle();
            self.debugging.is_used.store(records.iter().next().is_some(), Relaxed);
            frame
        }) {
            // SAFETY: the frame was a record's, from the source, and is nobody's now.
            frames += unsafe { self.registry.give_back(frame, Order::ZERO) };
        }
        frames
    }

    /// Looks at every slot of every cache that is debugged, free or not.
    ///
    /// # Errors
    /// The first [`HeapError::Overwritten`] in a slab that was not frozen yet. It is now: called again, this finds the next.
    pub fn check_objects(&self) -> Result<(), HeapError> {
        self.debugging.records.with(|records| {
            for record in records.iter_mut() {
                let mut slots = record.slots().filter(|slot| !record.is_frozen(slot.slab));
                let wrong = slots.find_map(|slot| Some((slot, slot.check(&record.shape).err()?)));
                if let Some((slot, wrong)) = wrong {
                    record.freeze(slot.slab);
                    return Err(record.overwritten(slot, wrong));
                }
            }
            Ok(())
        })
    }

    /// How many slabs are frozen, because a byte of them was overwritten.
    pub fn frozen_slabs(&self) -> usize {
        self.debugging.records.with(|records| records.iter().map(Record::frozen).sum())
    }

    /// Shows every live object of a class that was allocated while that was debugged.
    ///
    /// What is debugged is locked meanwhile: `visit` must not allocate or free.
    pub fn for_each_live(&self, class: SizeClass, mut visit: impl FnMut(LiveObject)) {
        self.debugging.records.with(|records| {
            if let Some(record) = records.get(class.number()) {
                live(record).for_each(|slot| visit(object_of(slot, &record.shape)));
            }
        });
    }
}

/// A slab that is to be closed, or what is wrong with it.
type Settled = Result<Option<Meta<Slab>>, HeapError>;

/// Makes of a slab that a record has let go of one that can be closed.
pub(super) fn settle(record: &Record, freed: Freed) -> Settled {
    match freed {
        Freed::Kept => Ok(None),
        Freed::Emptied(slab) => {
            slab.set_arena(ArenaId::TRANSIT);
            Ok(Some(slab))
        }
        Freed::Corrupt(slot, wrong) => Err(record.overwritten(slot, wrong)),
    }
}

/// The slots with an object.
pub(super) fn live(record: &Record) -> impl Iterator<Item = Slot> {
    record.slots().filter(|slot| slot.track(&record.shape).state.get() == State::Live)
}

/// Takes a slot and makes an object of it.
fn take(record: &mut Record, size: usize, cpu: usize, site: Site, is_zeroed: bool) -> Attempt {
    let Some(slot) = record.take() else { return Attempt::Exhausted(record.shape) };
    if let Err(wrong) = slot.check_free(&record.shape) {
        // Free, but in a slab that nothing is allocated from.
        slot.slab.put_any(slot.number.into());
        record.freeze(slot.slab);
        return Attempt::Corrupt(record.overwritten(slot, wrong));
    }
    let track = slot.track(&record.shape);
    track.state.set(State::Live);
    track.cpu.set(cpu as u32);
    track.allocated.set(record.flags.contains(SlabDebug::STORE_USER).then_some(site));
    track.freed.set(None);
    slot.write_live(&record.shape, record.flags, size);
    if is_zeroed && !record.flags.contains(SlabDebug::POISON) {
        slot.clear(&record.shape, size);
    }
    record.live += 1;
    Attempt::Allocated(slot.object(&record.shape))
}

/// The slot whose object is to be freed, or what is wrong with that.
fn judge(
    record: &Record,
    around: Option<(Slot, usize)>,
    address: usize,
    wanted: Option<Wanted>,
) -> Result<Slot, HeapError> {
    let (slot, offset) = around.ok_or(HeapError::Foreign { address })?;
    let (cache, number) = (record.name, slot.number);
    if offset != 0 {
        return Err(HeapError::Interior { address, cache, slot: number, offset });
    }
    if slot.track(&record.shape).state.get() != State::Live {
        return Err(HeapError::DoubleFree { address, cache, slot: number });
    }
    match wanted {
        _ if record.is_destroyed => Err(HeapError::Destroyed { address, cache, slot: number }),
        Some(wanted) if !wanted.is_of(record.number) => {
            let (given, actual) = (wanted.given(), record.shape.size);
            Err(HeapError::WrongLayout { address, cache, slot: number, given, actual })
        }
        _ => Ok(slot),
    }
}
