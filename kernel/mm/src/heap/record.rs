//! Recording: every operation that changes the heap, told in one order for all CPUs, and with those on page frames, so that it can
//! be repeated elsewhere and come to the same state.
//!
//! While it is on, the gates to arenas that fast paths know are closed, as they are for [hardening](super::harden). So fast paths test
//! nothing that they did not test before, and every request comes to where those end. There it waits for its turn, and does slowly what
//! would have been done.
//!
//! The state is that of arenas, slabs and large objects. What the heap needs to keep it (descriptors, tables, arenas' own
//! memory) is none of it, so whoever repeats the operations may have that elsewhere, and as little as it likes. Objects that are
//! debugged are not recorded, nor is what a cache's constructor writes.

use core::alloc::Layout;
use core::ptr::{self, NonNull};

use super::slow::{Freed, Kind};
use super::{Entered, Heap, HeapError, SizeClass, SlabDebug};
use crate::allocator::{At, Call, HeapCall, Recording, mixed};
use crate::cpu::Cpu;
use crate::slab::arena::{Arena, ArenaId};
use crate::slab::class::Geometry;
use crate::slab::debug::{Shape, Site};
use crate::slab::descriptor::Slab;
use crate::slab::list::Meta;
use crate::slab::page_map::PageMap;
use crate::slab::source::PageSource;
use crate::sync::atomic::Ordering::{Acquire, Release};

impl<S: PageSource, C: Cpu, const CPUS: usize> Heap<S, C, CPUS> {
    /// Has every operation that changes the heap recorded from now on, for good; before its first allocation. `recording` is that of the
    /// page frames which its source has.
    ///
    /// It costs nothing where it is off. Where it is on, one operation is at work at a time, of these and of those on page frames,
    /// with interrupts masked; but not while a large object's memory is got, given back or resized.
    pub fn record(&'static self, recording: &'static Recording<'static>)
    where
        Self: Sync,
    {
        self.registry.recording.call_once(|| recording);
        self.record_at_once();
        self.debugging.watch_all(true);
        self.per_cpu.iter().for_each(|place| place.set_slow(true));
    }

    /// Whether what is here is part of an operation that is being recorded, which masks interrupts, and may [wait](Recording::may_wait) all
    /// the same: for a source that looks at interrupts to tell.
    pub fn may_wait_recorded(&self) -> bool {
        self.registry.recording.get().is_some_and(|recording| recording.may_wait::<C>())
    }

    /// Does an operation, which is recorded if that is on, unless it is part of one that is.
    #[inline(always)]
    pub(super) fn recorded<R>(
        &self,
        call: HeapCall,
        returned: impl FnOnce(&R) -> Option<u64>,
        operation: impl FnOnce() -> R,
    ) -> R {
        let recording = self.registry.recording.get().copied();
        Recording::recorded::<C, R>(recording, Call::Heap(call), At::Heap, returned, operation)
    }

    /// Allocates an object of a cache that has no free slot at hand, or may have some where fast paths are closed.
    pub(super) fn allocate_more(&self, kind: Kind<'_>, size: usize) -> Option<NonNull<u8>> {
        if self.registry.recording.is_completed() {
            self.allocate_recorded(kind, size)
        } else {
            self.allocate_any(kind)
        }
    }

    #[cold]
    #[inline(never)]
    pub(super) fn prepare_recorded(&self) -> bool {
        self.recorded(HeapCall::Prepare, |&is_prepared: &bool| Some(is_prepared.into()), || self.make_arena())
    }

    #[cold]
    #[inline(never)]
    fn allocate_recorded(&self, kind: Kind<'_>, size: usize) -> Option<NonNull<u8>> {
        let call = HeapCall::Allocate { cache: kind.number, size: size as u64 };
        let at_hand = || self.in_own(|arena| arena.bin(kind.number).take_any()).flatten();
        self.recorded(call, |object| self.number_of_result(object), || at_hand().or_else(|| self.allocate_any(kind)))
    }

    /// Allocates an object of a class that is watched, mostly since that is to be recorded.
    #[cold]
    #[inline(never)]
    pub(super) fn allocate_closed(&self, class: SizeClass, size: usize, site: Site) -> Option<NonNull<u8>> {
        let object = self.take_recorded(class.number(), size);
        if object.is_some() { object } else { self.allocate_of_class(class, size, site) }
    }

    /// [`take_recorded`](Self::take_recorded) for a cache that is watched, mostly since that is to be recorded.
    #[cold]
    #[inline(never)]
    pub(super) fn take_closed(&self, cache: u16, size: usize) -> Option<NonNull<u8>> {
        self.take_recorded(cache, size)
    }

    /// Takes a slot that this CPU has in hand, where that is to be recorded. It need not go through its gate for that: in its turn nobody
    /// else is in any arena. `None` if nothing is in hand, or is to be done beside.
    #[inline(always)]
    pub(super) fn take_recorded(&self, cache: u16, size: usize) -> Option<NonNull<u8>> {
        let recording = self.recording_at_once()?;
        let call = HeapCall::Allocate { cache, size: size as u64 };
        let mut taken = None;
        let take = |cpu: usize| {
            // SAFETY: a CPU is in an arena in its turn alone, and this is ours: so they stand still.
            let arena = unsafe { self.per_cpu.get(cpu)?.arena() }?;
            taken = arena.hand(cache).take_ready();
            taken.map(|slot| self.registry.source.number_in_slab(slot.as_ptr().addr()))
        };
        recording.at_once::<C>(Call::Heap(call), take)?;
        taken
    }

    /// Frees the slot that starts at `address` in a slab of this CPU's, if it is of the right cache, where one is said, and that is to be
    /// recorded. It need not go through its gate for that either: in its turn nobody else is in any arena. Leaves the one that is closed.
    /// Whether that was done.
    #[inline(always)]
    fn put_recorded(&self, entered: Entered<'_, C>, address: usize, cache: Option<u16>) -> bool {
        let Some(recording) = self.recording_at_once() else { return false };
        let put = |_| {
            // SAFETY: a CPU is in an arena in its turn alone, and this is ours: so they stand still.
            let own = unsafe { entered.place.cpu_arena() }?;
            let mut slab = own.remembered(address);
            if slab.slot_at(address).is_none() {
                // SAFETY: tables are given back at a standstill alone, which is a turn too.
                slab = unsafe { self.registry.map.find(address) };
                if slab.arena() != own.arena().id() {
                    return None;
                }
                own.remember(address, slab);
            }
            let slot = slab.slot_at(address).filter(|_| cache.is_none_or(|cache| slab.cache() == cache))?;
            // Where this is the free that the slab counts down to, not even the count changes: a hash may be taken before its turn.
            (slab.until.get() > 0 && slab.put(slot)).then_some(0)
        };
        // If there is no such object, this comes to nothing, whatever the number.
        let call = HeapCall::Free { address: self.registry.source.number_in_slab(address), cache };
        recording.at_once::<C>(Call::Heap(call), put).is_some()
    }

    /// [`free_by_map`](Self::free_by_map) where fast paths are closed.
    #[cold]
    #[inline(never)]
    pub(super) fn put_closed(&self, entered: Entered<'_, C>, address: usize, cache: Option<u16>) -> bool {
        self.put_recorded(entered, address, cache)
    }

    /// [`free_slowly`](Self::free_slowly) where fast paths are closed.
    #[cold]
    #[inline(never)]
    pub(super) fn free_closed_of(
        &self,
        object: NonNull<u8>,
        layout: Layout,
        site: Site,
        entered: Entered<'_, C>,
    ) -> Result<(), HeapError> {
        let class = SizeClass::of_sized(layout.size(), layout.align());
        let put = |class: SizeClass| self.put_recorded(entered, object.as_ptr().addr(), Some(class.number()));
        if class.is_some_and(put) { Ok(()) } else { self.free_otherwise(object, layout, site) }
    }

    /// The recording, where what is at hand is taken and put in a turn of its own: not where hardening is on.
    #[inline(always)]
    fn recording_at_once(&self) -> Option<&'static Recording<'static>> {
        // SAFETY: what is put there is from a reference that is valid for ever.
        unsafe { self.recorded_at_once.load(Acquire).as_ref() }
    }

    /// Sees what [`recording_at_once`](Self::recording_at_once) is now.
    pub(super) fn record_at_once(&self) {
        let recording = self.registry.recording.get().filter(|_| self.hardening().is_empty());
        let recording = recording.map_or(ptr::null_mut(), |recording| ptr::from_ref(*recording).cast_mut());
        self.recorded_at_once.store(recording, Release);
    }

    /// Looks into the arena that this CPU is to use, for what is no operation.
    pub(super) fn look_in_arena<R>(&self, mut look: impl FnMut(&Arena) -> R) -> R {
        let seen = self.inside(|own| (own.arena().id() != ArenaId::NOBODY).then(|| look(own.arena())));
        seen.unwrap_or_else(|| match self.registry.recording.get() {
            // Whoever stops all arenas in its turn does not wait for others to come out.
            Some(recording) => recording.undisturbed::<C, _>(|| self.in_arena(look)),
            None => self.in_arena(look),
        })
    }

    /// An address as a recorder is told of it.
    pub(super) fn number_of(&self, address: NonNull<u8>) -> u64 {
        self.registry.source.number_of(address.as_ptr().addr())
    }

    /// [`number_of`](Self::number_of) what an operation returned, if it was not refused.
    pub(super) fn number_of_result(&self, result: &Option<NonNull<u8>>) -> Option<u64> {
        result.map(|object| self.number_of(object))
    }

    /// A hash of the heap's state: arenas, slabs, large objects. The same state has the same hash on any machine whose source
    /// [numbers](PageSource::number_of) addresses alike.
    ///
    /// It means something only while no CPU is at work. That of a heap that has nothing is 0.
    pub fn hash(&self) -> u64 {
        let number = |slab: Meta<Slab>| self.registry.source.number_of(slab.base().addr());
        let mut hash = 0;
        let mut mix = |word: u64| hash = mixed(hash, word);
        // SAFETY: no CPU is at work, and whoever breaks that promise has a hash that means nothing.
        for arena in self.per_cpu.iter().filter_map(|place| unsafe { place.arena() }).chain([&self.shared]) {
            let arena_number = arena.id().index() as u64;
            for (cache, bin) in arena.bins().filter(|(_, bin)| !bin.is_vacant()) {
                mix(arena_number << 16 | u64::from(cache));
                bin.hand_words().into_iter().for_each(&mut mix);
                bin.slabs().map(number).for_each(&mut mix);
            }
            self.per_cpu(arena.id().index()).incoming.0.slabs().map(number).for_each(&mut mix);
        }
        // In whatever order addresses are.
        let mut sum = 0_u64;
        self.for_each_block(|slab| {
            let mut hash = mixed(0, number(slab));
            slab.for_each_word(|word| hash = mixed(hash, word));
            sum = sum.wrapping_add(hash);
        });
        mix(sum);
        hash
    }

    /// Shows each slab, and each large object, that is part of what is recorded. Only while no CPU is at work but with what is not.
    fn for_each_block(&self, mut visit: impl FnMut(Meta<Slab>)) {
        let (mut cursor, mut last) = (Some(0), None);
        // The memory of a large object comes and goes outside of operations that are recorded, and so do slabs that are debugged.
        self.registry.books.with(|_| {
            // SAFETY: we hold the registry's lock.
            while let Some(table) = unsafe { self.registry.map.next_table(0, cursor) } {
                cursor = PageMap::behind(0, table);
                // SAFETY: likewise.
                for (_, slab) in unsafe { self.registry.map.slabs(table) } {
                    let is_state = slab.arena() != ArenaId::TRANSIT && !slab.is_debugged();
                    if last.replace(slab) != Some(slab) && is_state {
                        visit(slab);
                    }
                }
            }
        });
    }

    /// Does again what a recorder was told of, on the CPU that this runs on, and returns what is to be what was returned then. `at` has
    /// the address of each number.
    ///
    /// # Safety
    /// Objects that are freed, and runs that are closed or resized, are used by nobody.
    pub unsafe fn perform(&self, call: HeapCall, at: impl Fn(u64) -> Option<NonNull<u8>>) -> Option<u64> {
        match call {
            HeapCall::Allocate { cache, size } => {
                let geometry = self.geometry(cache)?;
                let kind = Kind { number: cache, geometry: &geometry, construct: None };
                let object = self.inside(|own| own.arena().bin(cache).take_any());
                let object = object.or_else(|| self.allocate_more(kind, size as usize));
                self.number_of_result(&object)
            }
            HeapCall::Free { address, cache } => {
                matches!(self.put_and_close(at(address)?.as_ptr().addr(), cache), Freed::Done).then_some(0)
            }
            HeapCall::OpenRun { bytes, align, .. } => {
                let run = Layout::from_size_align(bytes as usize, align as usize).ok()?;
                self.allocate_large(run).map(|_| 0)
            }
            HeapCall::CloseRun { address, bytes } => {
                self.registry.close_run(self.take_large(at(address)?, Some(bytes as usize))?);
                Some(0)
            }
            HeapCall::TakeRun { address } => self.take_large(at(address)?, None).map(|_| 0),
            HeapCall::PutRun { address, bytes } => {
                self.put_large(self.taken(at(address)?)?, bytes.map(|bytes| bytes as usize));
                Some(0)
            }
            call => self.perform_on_all(call),
        }
    }

    /// [`perform`](Self::perform) for what is about no object.
    fn perform_on_all(&self, call: HeapCall) -> Option<u64> {
        match call {
            HeapCall::Shrink => _ = self.shrink(),
            HeapCall::Retire => self.retire_cpu(),
            HeapCall::Prepare => return Some(self.prepare_cpu().into()),
            HeapCall::SetAside { cache } => self.set_aside(cache),
            HeapCall::Settle => self.settled(|_| ()),
            HeapCall::NewCache { size } => {
                let (geometry, shape) = (Geometry::new("cache", size.try_into().ok()?), Shape::new(size as usize, 8));
                return self.add_cache(geometry, shape, SlabDebug::empty()).ok().map(u64::from);
            }
            HeapCall::EndCache { cache } => {
                self.end_cache(cache);
                self.give_back_records();
            }
            _ => return None,
        }
        Some(0)
    }

    /// The shape of the slabs of the cache with this number.
    fn geometry(&self, cache: u16) -> Option<Geometry> {
        if let Some(class) = SizeClass::all().nth(cache.into()) {
            return Some(*class.geometry());
        }
        self.debugging.records.with(|records| records.get(cache)?.geometry)
    }

    /// The large object that was taken away to be resized.
    fn taken(&self, object: NonNull<u8>) -> Option<Meta<Slab>> {
        self.large.with(|_| {
            // SAFETY: we hold a lock.
            let slab = unsafe { self.registry.map.find(object.as_ptr().addr()) };
            let is_taken = slab.is_run() && slab.arena() == ArenaId::TRANSIT && slab.base() == object.as_ptr();
            is_taken.then_some(slab)
        })
    }
}
