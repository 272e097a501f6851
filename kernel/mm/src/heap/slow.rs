//! What allocation does when the quick way does not lead there, and what a CPU finds that takes over what others have freed.

use crate::sync::atomic::Ordering;
use core::alloc::Layout;
use core::ptr::NonNull;

use super::diagnose::name;
use super::{Heap, HeapError, SizeClass};
use crate::cpu::Cpu;
use crate::slab::arena::{Arena, ArenaId, CpuArena, Emptied};
use crate::slab::class::Geometry;
use crate::slab::debug::Site;
use crate::slab::descriptor::Slab;
use crate::slab::list::Meta;
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
    pub(super) fn of(slab: Meta<Slab>, slot: usize) -> Self {
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

    /// Allocates an object of a class of which nothing is in hand. Both ways are called last, so that no register is saved before it is
    /// known which it is.
    #[cold]
    pub(super) fn allocate_of(&self, class: SizeClass, size: usize, site: Site) -> Option<NonNull<u8>> {
        match self.debugging.is_on(class.number()) {
            true => self.allocate_closed(class, size, site),
            false => self.allocate_next(class),
        }
    }

    /// [`allocate_of`](Self::allocate_of) for a class that is not watched: so nothing of it is recorded, and the size that was asked for does
    /// not matter.
    #[cold]
    #[inline(never)]
    fn allocate_next(&self, class: SizeClass) -> Option<NonNull<u8>> {
        let object = self.inside(|own| own.arena().bin(class.number()).take_any());
        if object.is_some() { object } else { self.allocate_plain_of_class(class) }
    }

    /// [`allocate_plain`](Self::allocate_plain) for a class.
    #[cold]
    #[inline(never)]
    fn allocate_plain_of_class(&self, class: SizeClass) -> Option<NonNull<u8>> {
        self.allocate_plain(Kind::of(class), class.size())
    }

    /// [`allocate_slowly`](Self::allocate_slowly) for a class.
    #[cold]
    #[inline(never)]
    pub(super) fn allocate_of_class(&self, class: SizeClass, size: usize, site: Site) -> Option<NonNull<u8>> {
        self.allocate_slowly(Kind::of(class), size, site)
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
    pub(super) fn hand_over(&self, slab: Meta<Slab>, to: ArenaId) {
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
    pub(super) fn double_free(&self, SlotId { address, cache, slot }: SlotId) -> HeapError {
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
}
