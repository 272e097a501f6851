//! What allocation and free do when the quick way does not lead there.

use crate::sync::atomic::Ordering;
use core::alloc::Layout;
use core::ptr::NonNull;

use super::diagnose::{Wanted, name};
use super::{Entered, Heap, HeapError, SizeClass};
use crate::allocator::HeapCall;
use crate::cpu::Cpu;
use crate::hardening::Hardening;
use crate::slab::arena::{Arena, ArenaId, CpuArena, Emptied};
use crate::slab::class::Geometry;
use crate::slab::debug::Site;
use crate::slab::descriptor::Slab;
use crate::slab::list::Meta;
use crate::slab::per_cpu::PerCpu;
use crate::slab::registry::Lack;
use crate::slab::source::PageSource;

/// A cache: its number, and the shape of its slabs.
#[derive(Clone, Copy)]
pub(super) struct Kind<'a> {
    pub(super) number: u16,
    pub(super) geometry: &'a Geometry,
    /// What is run on each new slot, if anything is.
    pub(super) construct: Option<&'a dyn Fn(NonNull<u8>)>,
}

impl Kind<'static> {
    pub(super) fn of(class: SizeClass) -> Self {
        Self { number: class.number(), geometry: class.geometry(), construct: None }
    }
}

/// What a free did.
pub(super) enum Freed {
    /// The slot is free.
    Done,
    /// Likewise, and this slab is one more than the cache keeps.
    Surplus(Emptied),
    /// Nothing was changed: the slot is free already.
    Twice(SlotId),
    /// Nothing was changed: no object of a right cache starts there that an arena has.
    Refused,
}

/// A slot, by what its slab was when it was looked at.
#[derive(Clone, Copy)]
pub(super) struct SlotId {
    pub(super) address: usize,
    cache: u16,
    slot: u16,
}

impl SlotId {
    fn of(slab: Meta<Slab>, slot: usize) -> Self {
        Self { address: slab.slot(slot).addr(), cache: slab.cache(), slot: slot as u16 }
    }
}

/// What an owner found when it took over what others have freed.
pub(super) enum Found {
    /// Nothing but that.
    Nothing,
    /// A slab that is one more than its cache keeps.
    Surplus(Emptied),
    /// A slot that was freed twice at the same moment. There may be more.
    Twice(SlotId),
}

impl<S: PageSource, C: Cpu, const CPUS: usize> Heap<S, C, CPUS> {
    /// Runs `f` in this CPU's own arena. `None` if it has none, or if all stand still.
    pub(super) fn in_own<R>(&self, f: impl FnOnce(&Arena) -> R) -> Option<R> {
        let (entered, own) = self.enter();
        if own.arena().id() != ArenaId::NOBODY {
            return Some(f(own.arena()));
        }
        entered.place.inside_slowly(|own| (own.arena().id() != ArenaId::NOBODY).then(|| f(own.arena())))
    }

    /// Runs `f` in the arena that this CPU is to use: its own, or the shared one.
    pub(super) fn in_arena<R>(&self, mut f: impl FnMut(&Arena) -> R) -> R {
        self.in_own(&mut f).unwrap_or_else(|| self.in_shared(f))
    }

    fn in_shared<R>(&self, f: impl FnOnce(&Arena) -> R) -> R {
        self.shared_lock.with(|()| f(&self.shared))
    }

    /// Allocates what has no size class, or no size.
    #[cold]
    pub(super) fn allocate_otherwise(&self, layout: Layout, site: Site) -> Option<NonNull<u8>> {
        match SizeClass::of(layout) {
            Some(class) => self.allocate_of(class, layout.size(), site),
            None => self.allocate_large(layout),
        }
    }

    /// Allocates an object of a class of which nothing is in hand.
    #[cold]
    pub(super) fn allocate_of(&self, class: SizeClass, size: usize, site: Site) -> Option<NonNull<u8>> {
        if self.debugging.is_on(class.number()) {
            return self.allocate_closed(class, size, site);
        }
        let object = self.inside(|own| own.arena().bin(class.number()).take_any());
        if object.is_some() { object } else { self.allocate_slowly(Kind::of(class), size, site) }
    }

    /// Allocates an object of a cache of which nothing is in hand: mostly other slots of this CPU's slabs are free, as far as is known.
    #[inline(always)]
    pub(super) fn refill(&self, cache: u16, size: usize) -> Option<NonNull<u8>> {
        if self.debugging.is_on(cache) {
            return self.take_closed(cache, size);
        }
        self.inside(|own| own.arena().bin(cache).take_any())
    }

    /// Allocates an object of `size` bytes, at most those of a slot. `site` is where in the program it is asked for.
    #[cold]
    pub(super) fn allocate_slowly(&self, kind: Kind<'_>, size: usize, site: Site) -> Option<NonNull<u8>> {
        let is_watched = self.debugging.is_on(kind.number);
        let watched = is_watched.then(|| self.allocate_watched(kind, size, site)).flatten();
        watched.unwrap_or_else(|| self.allocate_plain(kind, size))
    }

    /// Allocates an object of a cache, whatever it takes.
    pub(super) fn allocate_any(&self, kind: Kind<'_>) -> Option<NonNull<u8>> {
        self.prepare_cpu();
        self.take_any(kind).or_else(|| self.grow(kind)).or_else(|| {
            // Empty slabs of other caches and CPUs may make room; or else others have a free slot.
            self.shrink();
            self.grow(kind).or_else(|| {
                self.try_stopped(|all| {
                    let slab = all.arenas().find_map(|arena| arena.pop_with_room(kind.number))?;
                    all.shared.adopt(slab);
                    Some(())
                })
                .flatten()?;
                self.take_any(kind)
            })
        })
    }

    /// Takes a slot of the arena, which becomes free where others freed it if need be, or of a slab that the shared arena
    /// has to spare.
    pub(super) fn take_any(&self, kind: Kind<'_>) -> Option<NonNull<u8>> {
        if let Some(object) = self.in_arena(|arena| {
            let object = arena.bin(kind.number).take_any();
            if object.is_none() {
                self.per_cpu(arena.id().index()).refills.increment();
            }
            object
        }) {
            return Some(object);
        }
        let has_come = self.collect_own();
        self.in_arena(|arena| {
            let bin = arena.bin(kind.number);
            let come = if has_come { bin.take_any() } else { None };
            come.or_else(|| {
                if arena.id() == ArenaId::SHARED {
                    return None;
                }
                let _guard = self.shared_lock.lock();
                arena.adopt(self.shared.pop_partial(kind.number)?);
                bin.take_any()
            })
        })
    }

    /// Takes over what others have freed in this CPU's arena, and in the shared one, whose lock is not taken where that is nothing.
    /// Whether there was anything in this CPU's.
    fn collect_own(&self) -> bool {
        let mut has_come = false;
        let mut collect = |arena: &Arena| {
            has_come |= !self.per_cpu(arena.id().index()).incoming.0.is_empty();
            self.collect(arena)
        };
        loop {
            match self.in_arena(&mut collect) {
                Found::Nothing => break,
                found => _ = self.settle(found),
            }
        }
        while !self.per_cpu(ArenaId::SHARED.index()).incoming.0.is_empty() {
            match self.in_shared(|shared| self.collect(shared)) {
                Found::Nothing => break,
                found => _ = self.settle(found),
            }
        }
        has_come
    }

    /// Takes over what others have freed in the arena's slabs, as long as nothing else is to be done, and passes on what is
    /// not the arena's any more.
    pub(super) fn collect(&self, arena: &Arena) -> Found {
        let incoming = &self.per_cpu(arena.id().index()).incoming.0;
        let mut slabs = incoming.take();
        while let Some(slab) = slabs.next() {
            let found = if slab.arena() == arena.id() {
                self.take_over(arena, slab)
            } else {
                self.hand_over(slab, slab.arena());
                Found::Nothing
            };
            if !matches!(found, Found::Nothing) {
                slabs.for_each(|slab| incoming.push(slab));
                return found;
            }
        }
        Found::Nothing
    }

    /// Takes over what others have freed in a slab of the arena, and puts it where it belongs.
    pub(super) fn take_over(&self, arena: &Arena, slab: Meta<Slab>) -> Found {
        let twice = slab.collect();
        let surplus = arena.refile(slab, false);
        match (twice, surplus) {
            (Some((slot, to)), _) => {
                // It is announced once more, so it stays in the arena.
                let twice = SlotId::of(slab, slot);
                self.hand_over(slab, to);
                Found::Twice(twice)
            }
            (None, Some(surplus)) => Found::Surplus(surplus),
            (None, None) => Found::Nothing,
        }
    }

    /// Hands a slab that was announced to an arena.
    #[inline]
    fn hand_over(&self, slab: Meta<Slab>, to: ArenaId) {
        if to.is_there() {
            self.per_cpu(to.index()).incoming.0.push(slab);
        }
    }

    /// Does what is left to do once no arena is used any more. Returns how many frames were given back.
    pub(super) fn settle(&self, found: Found) -> u64 {
        match found {
            Found::Nothing => 0,
            Found::Surplus(slab) => self.close(slab),
            Found::Twice(slot) => {
                self.registry.report(&self.double_free(slot));
                0
            }
        }
    }

    /// What is to be said of a slot that was freed twice.
    #[cold]
    fn double_free(&self, SlotId { address, cache, slot }: SlotId) -> HeapError {
        let cache = self.debugging.records.with(|records| name(records, cache)).unwrap_or("?");
        HeapError::DoubleFree { address, cache, slot }
    }

    /// Closes a slab, and reports what of it was freed for a second time. Returns how many frames it had.
    pub(super) fn close(&self, emptied: Emptied) -> u64 {
        let slab = emptied.slab();
        slab.seal(|slot| self.registry.report(&self.double_free(SlotId::of(slab, slot))));
        self.registry.close(slab)
    }

    /// Gives this CPU an arena of its own now, instead of when it first finds no free slot: for kernels, before a CPU that comes
    /// up is to be quick. Whether it has one: not if there is no memory for it, or if memory is [scarce](PageSource::is_scarce),
    /// or if the CPU has no place among those of the heap.
    pub fn prepare_cpu(&self) -> bool {
        let cpu = C::without_interrupts(C::current);
        match self.per_cpu.get(cpu) {
            None => return false,
            Some(place) if place.has_arena() => return true,
            _ if self.registry.source.is_scarce() => return false,
            _ => {}
        }
        self.prepare_recorded()
    }

    pub(super) fn make_arena(&self) -> bool {
        let Some(block) = self.registry.source.allocate(CpuArena::ORDER) else {
            return false;
        };
        let mut spare = Some(block);
        let has_arena = self.in_shared(|_| {
            let cpu = C::current();
            let (Some(id), Some(place)) = (ArenaId::of(cpu), self.per_cpu.get(cpu)) else { return false };
            // A CPU that stops all arenas says so before it takes the lock that we hold; an arena that came into being now would
            // not be stopped.
            if !place.has_arena() && !self.stopped.load(Ordering::Relaxed) {
                spare = None;
                self.per_cpu.use_place(cpu);
                // SAFETY: the block is ours, of the right order, and becomes the arena's; the lock is held.
                unsafe { place.set_arena(CpuArena::new_in(block, id).as_ptr()) };
                place.open();
            }
            place.has_arena()
        });
        if let Some(block) = spare {
            // SAFETY: the block came from the source a moment ago, and nothing was made of it.
            unsafe { self.registry.give_back(block, CpuArena::ORDER) };
        }
        has_arena
    }

    /// Fetches a slab for a cache that has no free slot, and takes one. Tries a smaller slab where there is no block of the
    /// usual order.
    fn grow(&self, kind: Kind<'_>) -> Option<NonNull<u8>> {
        let geometry = kind.geometry;
        let slots = |order| geometry.slots(kind.number, order);
        let open = |order| self.registry.recorded(order, || self.opened(|| self.registry.open(order, slots(order))));
        let usual = if self.registry.source.is_scarce() { geometry.least_order } else { geometry.order };
        let slab = open(usual).or_else(|| if geometry.least_order < usual { open(geometry.least_order) } else { None });
        if let (Some(slab), Some(construct)) = (slab, kind.construct) {
            for slot in 0..slab.slots() {
                let start = slab.base().wrapping_add(usize::from(slot) * slab.size());
                NonNull::new(start).into_iter().for_each(construct);
            }
        }
        let mut slab = slab;
        self.in_arena(|arena| {
            if let Some(slab) = slab.take() {
                arena.adopt(slab);
            }
            // Without a new slab there may still be a slot that was freed meanwhile.
            arena.bin(kind.number).take_any()
        })
    }

    /// Opens a block, once descriptors that were closed may be opened again.
    pub(super) fn opened(&self, open: impl Fn() -> Result<Meta<Slab>, Lack>) -> Option<Meta<Slab>> {
        if self.registry.is_grace_due.load(Ordering::Relaxed) {
            self.pass_grace_period();
        }
        match open() {
            Err(Lack::Descriptor) if self.pass_grace_period() => open().ok(),
            opened => opened.ok(),
        }
    }

    /// Frees the slot that starts at `address`, if it is of the right cache: where the slab is not remembered, belongs elsewhere then,
    /// or is another's. Leaves the arena. Whether that was done: if not, nothing was.
    #[inline(always)]
    pub(super) fn free_by_map(&self, entered: Entered<'_, C>, address: usize, cache: Option<u16>) -> bool {
        let Some(own) = entered.own() else {
            drop(entered);
            return self.put_recorded(address, cache);
        };
        let arena = own.arena();
        // SAFETY: we are inside an arena.
        let slab = unsafe { self.registry.map.find(address) };
        let is_right = cache.is_none_or(|cache| slab.cache() == cache);
        let Some(slot) = slab.slot_at(address).filter(|_| is_right) else { return false };
        if slab.arena() != arena.id() {
            return self.put_remotely(entered.place, slab, slot).is_ok();
        }
        own.remember(address, slab);
        let freed = self.put_own(arena, slab, slot);
        drop(entered);
        match freed {
            Freed::Done => true,
            Freed::Surplus(emptied) => {
                self.close(emptied);
                true
            }
            _ => false,
        }
    }

    /// Frees a slot of a slab of this arena.
    #[inline(always)]
    fn put_own(&self, arena: &Arena, slab: Meta<Slab>, slot: usize) -> Freed {
        // The quick way may have counted this free already.
        if slab.until.get() >= 0 && slab.put(slot) {
            return Freed::Done;
        }
        // Still less where an interrupt handler was quicker than the code that it interrupted.
        let is_due = slab.until.get() == -1;
        if !slab.put_any(slot) {
            return Freed::Twice(SlotId::of(slab, slot));
        }
        arena.refile(slab, is_due).map_or(Freed::Done, Freed::Surplus)
    }

    /// Frees a slot of another arena than that of the CPU in this place. `Err`, and nothing changed, if it is free already, or in none.
    #[inline(always)]
    pub(super) fn put_remotely(&self, place: &PerCpu, slab: Meta<Slab>, slot: usize) -> Result<(), ()> {
        let owner = slab.arena();
        if !owner.is_there() {
            return Err(());
        }
        let to = slab.put_remotely(slot)?;
        self.hand_over(slab, to);
        // Of the shared arena they are nobody's.
        if owner != ArenaId::SHARED {
            place.remote_frees.increment();
        }
        Ok(())
    }

    /// Frees an object of a size class or of frames, where the quick way did not.
    #[cold]
    pub(super) fn free_slowly(
        &self,
        entered: Option<Entered<'_, C>>,
        object: NonNull<u8>,
        layout: Layout,
        site: Site,
    ) -> Result<(), HeapError> {
        let further =
            |class: SizeClass| self.free_by_map(entered?, object.as_ptr().addr(), Some(class.number())).then_some(());
        match SizeClass::of(layout).and_then(further) {
            Some(()) => Ok(()),
            None => self.free_otherwise(object, layout, site),
        }
    }

    #[cold]
    fn free_otherwise(&self, object: NonNull<u8>, layout: Layout, site: Site) -> Result<(), HeapError> {
        match SizeClass::of(layout) {
            None => self.free_large(object, layout),
            Some(class) => self.free_any(object, Some(Wanted::Layout(layout)), Some(class.number()), site),
        }
    }

    /// As [`free_slowly`](Self::free_slowly), where no layout was said.
    #[cold]
    pub(super) fn free_unsized_slowly(
        &self,
        entered: Entered<'_, C>,
        object: NonNull<u8>,
        site: Site,
    ) -> Result<(), HeapError> {
        if self.free_by_map(entered, object.as_ptr().addr(), None) {
            return Ok(());
        }
        match self.object_layout(object) {
            Some(layout) => self.free_large(object, layout),
            None => self.free_any(object, None, None, site),
        }
    }

    /// Frees the slot that starts at `object`, if it is of the right cache, where one is said.
    pub(super) fn free_any(
        &self,
        object: NonNull<u8>,
        wanted: Option<Wanted>,
        cache: Option<u16>,
        site: Site,
    ) -> Result<(), HeapError> {
        let address = object.as_ptr().addr();
        let call = HeapCall::Free { address: self.number_of(object), cache };
        let done = |freed: &Freed| matches!(freed, Freed::Done).then_some(0);
        match self.recorded(call, done, || self.put_and_close(address, cache)) {
            Freed::Done => Ok(()),
            Freed::Twice(slot) => Err(self.double_free(slot)),
            Freed::Refused | Freed::Surplus(_) => {
                self.free_watched(object, wanted, site).unwrap_or_else(|| Err(self.diagnose(object, wanted)))
            }
        }
    }

    /// Frees a slot, and closes the slab that is too many then.
    pub(super) fn put_and_close(&self, address: usize, cache: Option<u16>) -> Freed {
        match self.in_arena(|arena| self.put_slowly(arena, address, cache)) {
            Freed::Surplus(slab) => {
                self.close(slab);
                Freed::Done
            }
            freed => freed,
        }
    }

    fn put_slowly(&self, arena: &Arena, address: usize, cache: Option<u16>) -> Freed {
        // SAFETY: we are inside an arena.
        let slab = unsafe { self.registry.map.find(address) };
        let is_right = cache.is_none_or(|cache| slab.cache() == cache) && slab.arena().is_there();
        let Some(slot) = slab.slot_at(address).filter(|_| is_right) else {
            return Freed::Refused;
        };
        if slab.arena() != arena.id() {
            if !slab.is_free(slot) {
                // SAFETY: the object is live, and by the contract of `free` nobody uses it.
                unsafe { self.init(slab.cache(), slab.slot(slot), slab.size(), Hardening::INIT_ON_FREE) };
            }
            let freed = self.put_remotely(self.per_cpu(arena.id().index()), slab, slot);
            return freed.map_or_else(|()| Freed::Twice(SlotId::of(slab, slot)), |()| Freed::Done);
        }
        let freed = self.put_own(arena, slab, slot);
        if matches!(freed, Freed::Done | Freed::Surplus(_)) {
            // SAFETY: the slot is free, and nobody is given it before this CPU leaves the arena.
            unsafe { self.init(slab.cache(), slab.slot(slot), slab.size(), Hardening::INIT_ON_FREE) };
        }
        freed
    }
}
